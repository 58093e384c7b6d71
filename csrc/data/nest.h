/* SPDX-License-Identifier: Apache-2.0 */
/* Containers that stand in containers: a map's value, or a place of a row, that
 * is itself a map, a row, a text or a number.
 *
 * The value is of kind IPS_VALUE_REFERENCE, 24 bytes:
 *
 *   0   type         8  enum ips_type
 *   8   root         8  offset of the root block, or of the stable cell
 *   16  generation   8  of this construction, from the catalogue's own counter
 *
 * The outer one owns the inner one: it was made in the transaction that put the
 * value there, no other value ever refers to it, and it goes with the value.  So
 * they are trees, and never deeper than IPS_NEST_DEPTH.
 *
 * Each root block of such a type has a word `nest`:
 *
 *   while it lives     bits 0-7: how many containers it stands in; bit 8
 *                      (IPS_NEST_HOLDS): others may stand in it
 *   in the graves      the next root of the list at IPS_ANCHOR_NESTED
 *
 * The end of an inner container: the transaction that takes its value away sets
 * its generation to 0, so that every handle finds it gone, and hangs its root
 * into the list of graves, in a few stores however large it is.  Its memory is
 * given back by ips_nest_reap, a little in each transaction: whoever took it away
 * does it at once, and if they died the next writer does.  The root that is being
 * emptied is the first of the list, and what stands in it is hung in behind it.
 * (A stable cell, of a number, is given back when the transaction commits.)
 *
 * Who writes: under the segment's lock, inside a transaction, through the
 * journal; the depth the constructor, plainly.  A survivor of a killed
 * transaction finds value, generation and list as before it; one that dies
 * between two steps of the reaping leaves a shorter list. */
#ifndef IPS_DATA_NEST_H
#define IPS_DATA_NEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/types.h"
#include "segment/segment.h"

#define IPS_NEST_DEPTH 32u
#define IPS_NEST_HOLDS UINT64_C(0x100)

typedef struct {
    uint64_t type;
    uint64_t root;
    uint64_t generation;
} ips_reference;

_Static_assert(sizeof(ips_reference) == 24, "byte map above");

/* Can objects of the type stand in a container?  Can containers stand in it? */
bool ips_nest_can_stand(uint32_t type);
bool ips_nest_can_hold(uint32_t type);

/* The bytes of a value as a reference; false where their number is wrong. */
bool ips_nest_read(const void *bytes, size_t size, ips_reference *out);
/* Any depth will do. */
#define IPS_NEST_ANYWHERE UINT64_MAX
/* Does the object still live, in a container at depth `outer`?  0, or IPS_EGONE,
 * or IPS_ECORRUPT where it never can have.  Under the lock, where every value's
 * object lives, IPS_EGONE is damage too.  *depth (unless NULL) is its own. */
IPS_MUST_CHECK int ips_nest_look(ips_segment *segment, const ips_reference *at, uint64_t outer,
    uint64_t *depth);
/* How many containers the root stands in. */
uint64_t ips_nest_depth(ips_segment *segment, uint32_t type, ips_offset root);

/* May containers stand in it?  As far as a look tells that the caller validates. */
bool ips_nest_holds(ips_segment *segment, uint32_t type, ips_offset root);

/* --- inside a transaction; after an error the caller aborts it */

/* A new object, whose type and root are filled in and which nobody knows yet,
 * is about to become a value of `outer`: gives it its generation. */
IPS_MUST_CHECK int ips_nest_adopt(ips_segment *segment, const ips_reference *outer,
    ips_reference *inner);
/* The value with these bytes goes, and what it refers to. */
IPS_MUST_CHECK int ips_nest_drop(ips_segment *segment, const void *bytes, size_t size);
/* Has this thread dropped something since it last asked?  It sees to the reaping. */
bool ips_nest_has_dropped(void);
/* Give back a little of the memory of what was dropped.  1 where some remains,
 * else 0. */
IPS_MUST_CHECK int ips_nest_reap(ips_segment *segment);

/* Are these the bytes of a value of the container with this root, as they should be? */
bool ips_nest_is_sound(ips_segment *segment, uint32_t type, ips_offset root, const void *bytes,
    size_t size);
/* The invariants of the object and of all that stands in it; then of the graves.
 * One line for each problem; their number, or an error. */
IPS_MUST_CHECK int ips_nest_check(ips_segment *segment, const ips_reference *at,
    void (*report)(const char *line, void *context), void *context);
IPS_MUST_CHECK int ips_nest_check_graves(ips_segment *segment,
    void (*report)(const char *line, void *context), void *context);

/* The next of the graves, which are checked one by one; false where none can be. */
bool ips_nest_grave_next(ips_segment *segment, ips_offset grave, ips_offset *next);

/* Is there something to reap?  A look without the lock. */
static inline bool
ips_nest_has_graves(const ips_segment *segment)
{
    return ips_anchor_load(segment, IPS_ANCHOR_NESTED) != 0;
}

#endif
