# SPDX-License-Identifier: Apache-2.0
"""Every order of events within the bounds, and whether the explorer sees a fault."""

import platform
import re

import core_in_c
import interleavings
import pytest

MEMORIES = [
    memory for memory in interleavings.MEMORIES
    if memory != "x86" or platform.machine() == "x86_64"
]  # fmt: skip


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("name", interleavings.PROGRAMS)
def test_every_interleaving_keeps_the_promises(name, memory, tmp_path):
    code, said = interleavings.explore(interleavings.build(name, memory, tmp_path), deadline=100)
    assert code == 0, said[-6000:]
    assert len(re.findall(r"^ok .*: [1-9]\d* executions", said, re.MULTILINE)) == len(
        said.splitlines()
    )


# (program, source, what stands there, what is planted, memory that shows it, what is seen)
ASLEEP = "everybody is parked"
PLANTED = {
    "the dead keep their notifications": (
        "condition", "condition.c", "    if (owed) {\n        give(w->c);\n    }\n", "", "weak", ASLEEP),
    "one that raises keeps its notification": (
        "condition", "condition.c", "        give(c);\n    }\n    stand_up", "    }\n    stand_up", "weak",
        ASLEEP),
    "a waiter parks without a look at notify_all": (
        "condition", "condition_wait.c", "    ips_fence_after_rmw(); /* pairs with the swap in ips_condition_notify_all */\n",
        "", "weak", ASLEEP),
    "a waiter that leaves wakes no other": (
        "condition", "condition.c", "    if (depart(c, seat, used)) {\n        wake_next(c, 1);\n    }\n",
        "    (void)depart(c, seat, used);\n", "weak", ASLEEP),
    "a release wakes one instead of two": (
        "lock", "lock.c", "futex_of(lock), 2)", "futex_of(lock), 1)", "weak", ASLEEP),
    "an heir wakes nobody to watch it": (
        "lock", "lock.c", "(void)ips_futex_wake(futex_of(lock), 1); /* somebody", "/* somebody",
        "weak", ASLEEP),
    "whoever gives up keeps the wake-up": (
        "lock", "lock.c", "    if (w->parked) {\n        (void)ips_futex_wake(futex_of(w->lock), 1);\n    }\n",
        "", "weak", ASLEEP),
    "a bell heard by one who leaves is lost": (
        "lock", "lock.c", "(void)ips_futex_wake(w->heard.word, 1);", "", "weak", ASLEEP),
    "one who parked takes the lock without the waiters bit": (
        "lock", "lock.c", "w->me | (w->parked ? IPS_LOCK_WAITERS : 0)", "w->me", "weak", ASLEEP),
    "the living are robbed": (
        "lock", "lock.c", "!ips_member_lives(w->space, word & ~IPS_OWNER_FLAGS, w->thorough) &&",
        "w->parked &&", "weak", "lock: "),
    "an heir is not told": (
        "lock", "lock.c", "        return IPS_ABANDONED;\n", "        return IPS_OK;\n", "weak",
        "abandoned: told 0"),
    "a late owner takes the lock without acquire": (
        "lock", "lock.c",
        "mine | (word & IPS_LOCK_WANTED),\n                                                  memory_order_acquire",
        "mine | (word & IPS_LOCK_WANTED),\n                                                  memory_order_relaxed",
        "weak", "of them seen"),
    "no fence before the waiter looks again": (
        "event", "eventcount.c", "    ips_fence_after_rmw();\n    return old | IPS_EC_SLEEPERS;",
        "    return old | IPS_EC_SLEEPERS;", "weak", ASLEEP),
    "no fence after set()": (
        "event", "event.c", "    ips_fence_after_rmw();\n", "", "weak", ASLEEP),
    "set() does not wait for its store": (
        "event", "event.c", "} while (!atomic_compare_exchange_weak_explicit(&event->state, &state, next,\n"
        "                                                    memory_order_seq_cst, memory_order_relaxed));",
        "    atomic_store_explicit(&event->state, next, memory_order_release);\n    } while (0);", "x86",
        ASLEEP),
    "the sleepers bit goes without a second wake": (
        "event", "eventcount.c", "        (void)ips_futex_wake(&event->word, INT_MAX);\n", "",
        "weak", ASLEEP),
    "a notification does not raise the epoch": (
        "event", "eventcount.c",
        "IPS_EC_EPOCH + atomic_fetch_add_explicit(&event->word, IPS_EC_EPOCH,",
        "atomic_fetch_add_explicit(&event->word, 0,", "weak", ASLEEP),
    "set() comes before what it announces": (
        "event", "event.c", "memory_order_seq_cst, memory_order_relaxed));",
        "memory_order_relaxed, memory_order_relaxed));", "weak", "does not see"),
    "a woken waiter wakes no other": (
        "event", "event.c", "            (void)ips_futex_wake(&event->changed.word, WAKE_AT_WAKING);\n",
        "", "weak", ASLEEP),
    "a writer does not wait for its shut gate": (
        "rwlock", "rwlock_writer.c",
        "(void)atomic_exchange_explicit(&lock->shm->gate, gate, memory_order_seq_cst);\n    ips_fence_after_rmw();",
        "atomic_store_explicit(&lock->shm->gate, gate, memory_order_release);", "x86", "while"),
    "a reader does not wait for its count": (
        "rwlock", "rwlock.c", "memory_order_seq_cst);\n    ips_fence_after_rmw();\n    /* acquire: what the last",
        "memory_order_acq_rel);\n    /* acquire: what the last", "weak", "rwlock: "),
    "a writer parks although the last reader is proven dead": (
        "rwlock", "rwlock_writer.c", "        if (is_clear(w)) { /* says whom",
        "        if (is_clear(w) && at_once) { /* says whom", "weak", ASLEEP),
    "a dead writer's gate is opened without a word": (
        "rwlock", "rwlock.c", "IPS_RWLOCK_ABANDONED,\n                                       memory_order_release",
        "0,\n                                       memory_order_release", "weak", "abandoned: told 0"),
    "a round ends and nobody is told": (
        "barrier", "barrier.c", "    ips_eventcount_notify(ips_barrier_event(barrier, round), WAKE_AT_END);\n",
        "    (void)round;\n", "weak", ASLEEP),
    "whoever comes does not publish": (
        "barrier", "barrier.c", "memory_order_seq_cst, memory_order_acquire);",
        "memory_order_relaxed, memory_order_relaxed);", "weak", "barrier: "),
    "a barrier waits for the dead": (
        "barrier", "barrier.c", "            break_round(barrier, visit->round);\n            break;\n        }\n        int status",
        "        }\n        int status", "weak", "barrier: "),
    "a permit wakes one, and nobody watches its next holder": (
        "semaphore", "semaphore_word.c", "semaphore->initial > 0 ? 1 : 0",
        "semaphore->initial > 0 ? 0 : 0",
        "weak", ASLEEP),
    "a change under the lock is watched by nobody": (
        "semaphore", "semaphore.c", "status = watch_lock(semaphore, &watch)\n",
        "status = (watch_lock(semaphore, &watch), ips_watch_clear(&watch), true)\n", "weak", ASLEEP),
    "a seat's lock is left before its count": (
        "semaphore", "semaphore.c", "    claim(semaphore->shm, seat);\n    leave_quickly(semaphore, word - IPS_SEMAPHORE_ONE);",
        "    leave_quickly(semaphore, word - IPS_SEMAPHORE_ONE);\n    claim(semaphore->shm, seat);", "x86",
        "semaphore: "),
    "a permit is taken in another's life": (
        "semaphore", "semaphore.c",
        "    if (ips_semaphore_is_over(semaphore, word)) {\n        return ips_semaphore_gone(semaphore);\n"
        "    }\n    if (ips_semaphore_value_in", "    if (ips_semaphore_value_in", "weak",
        "semaphore: another life"),
    "the next life has the same word": (
        "semaphore", "semaphore_word.c", "word_of(&semaphore) + IPS_SEMAPHORE_NEXT_LIFE",
        "word_of(&semaphore)", "weak", "semaphore: another life"),
    "a life begins while somebody is inside": (
        "semaphore", "semaphore_word.c",
        "        ips_member_lives(semaphore->space, owner, false)) {\n        return false;",
        "        false) {\n        return false;", "weak", "semaphore: another life"),
    "the dead give back what nobody misses": (
        "semaphore", "semaphore_word.c", "    if (count <= missing) {", "    if (true) {", "weak",
        "semaphore: "),
    "an heir does not add the claims up": (
        "semaphore", "semaphore_word.c", "ips_semaphore_word_of(word_of(semaphore), LOAD(shm->extra) - claims));",
        "word_of(semaphore) & ~IPS_SEMAPHORE_LOCK);", "weak",
        "semaphore: "),
    "a watcher that leaves keeps the bell": (
        "event", "watch.c", "(void)ips_futex_wake(looks[i].word, 1);", "", "weak", ASLEEP),
}  # fmt: skip


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault, tmp_path):
    name, source, old, new, memory, seen = PLANTED[fault]
    if memory not in MEMORIES:
        memory = "weak"
    text = (core_in_c.CSRC / "sync" / source).read_text()
    assert text.count(old) == 1, f"{source} no longer holds what is to be spoilt"
    changed = {source: text.replace(old, new)}
    program = interleavings.build(name, memory, tmp_path, changed)
    code, said = interleavings.explore(program, deadline=100)
    assert code == 1, said[-3000:]
    assert re.search(rf"^BAD .*{re.escape(seen)}", said, re.MULTILINE), said[-3000:]
