/* SPDX-License-Identifier: Apache-2.0 */
#include "data/types.h"

const char *
ips_type_name(uint32_t type)
{
    switch (type) {
    case IPS_TYPE_ATOMIC_INT:
        return "AtomicInt";
    case IPS_TYPE_ATOMIC_FLOAT:
        return "AtomicFloat";
    case IPS_TYPE_ATOMIC_BOOL:
        return "AtomicBool";
    case IPS_TYPE_LOCK:
        return "Lock";
    case IPS_TYPE_EVENT:
        return "Event";
    case IPS_TYPE_RLOCK:
        return "RLock";
    case IPS_TYPE_SEMAPHORE:
        return "Semaphore";
    case IPS_TYPE_BOUNDED_SEMAPHORE:
        return "BoundedSemaphore";
    case IPS_TYPE_CONDITION:
        return "Condition";
    case IPS_TYPE_BARRIER:
        return "Barrier";
    case IPS_TYPE_ARRAY:
        return "SharedArray";
    case IPS_TYPE_RWLOCK:
        return "RWLock";
    case IPS_TYPE_MAP:
        return "SharedMap";
    case IPS_TYPE_DEQUE:
        return "SharedDeque";
    case IPS_TYPE_VECTOR:
    case IPS_TYPE_TYPED_VECTOR:
        return "SharedVector";
    case IPS_TYPE_CELL:
        return "SharedCell";
    case IPS_TYPE_STRING:
        return "SharedString";
    case IPS_TYPE_BYTES:
        return "SharedBytes";
    case IPS_TYPE_RECORD:
        return "Record";
    default:
        return NULL;
    }
}

ips_root_shm *
ips_root_at(ips_segment *segment, ips_offset root, uint32_t type, size_t size)
{
    if (root == 0 || root % 16 != 0) {
        return NULL;
    }
    ips_root_shm *at = ips_segment_at(segment, root, size);
    if (at == NULL) {
        return NULL;
    }
    /* relaxed: constant while the block is a root; a stale handle's look at a
     * block with new contents is decided by the generation. */
    return atomic_load_explicit(&at->type, memory_order_relaxed) == type ? at : NULL;
}

int
ips_root_christen(ips_segment *segment, ips_offset root, uint64_t generation)
{
    return ips_tx_store(segment, root + offsetof(ips_root_shm, generation), generation);
}

int
ips_root_retire(ips_segment *segment, ips_offset root)
{
    int status = ips_tx_touch(segment, root);
    if (status < 0) {
        return status;
    }
    return ips_tx_store(segment, root + offsetof(ips_root_shm, generation), 0);
}

int
ips_root_gone(uint32_t type)
{
    const char *name = ips_type_name(type);
    return ips_fail(IPS_EGONE, "this %s was destroyed", name != NULL ? name : "object");
}

int
ips_fresh_block(ips_segment *segment, size_t size, ips_offset *out, void **at)
{
    int status = ips_tx_alloc(segment, size, out);
    if (status < 0) {
        return status;
    }
    *at = ips_segment_at(segment, *out, size);
    if (*at == NULL) {
        return ips_fail(IPS_ECORRUPT, "the heap gave a block outside the segment");
    }
    /* The block may be one that a reader still walks, freed by an earlier
     * transaction which raised the version of the object it was part of:
     * whoever sees our bytes must see that version.  Pairs with the acquire
     * fence in ips_read_ok. */
    atomic_thread_fence(memory_order_release);
    return 0;
}
