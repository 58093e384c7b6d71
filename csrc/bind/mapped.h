/* SPDX-License-Identifier: Apache-2.0 */
/* What of ipcsys.Segment has to do with files. */
#ifndef IPS_BIND_MAPPED_H
#define IPS_BIND_MAPPED_H

#include "bind/options.h"
#include "bind/segment.h"

/* A path (str, bytes, os.PathLike) made absolute, as bytes: a new reference. */
PyObject *ips_path_of(PyObject *path);

/* Open the segment in the file `path`, a result of ips_path_of.  0, or -1 with
 * an exception set. */
int ips_mapped_init(ips_state *state, PyObject *path, const ips_options *options,
                    uint64_t size, uint64_t max_size, ips_segment **out);

/* The same to be looked at only: a copy of what its last flush brought there. */
int ips_mapped_init_readout(ips_state *state, PyObject *path, const ips_options *options,
                            ips_segment **out);

/* The thread of autoflush=, once the segment is open; `seconds` as given.
 * 0, or -1 with an exception set. */
int ips_autoflush_check(PyObject *seconds, PyObject *path);
int ips_autoflush_start(PyObject *segment, PyObject *seconds);

PyObject *ips_segment_flush(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ips_segment_snapshot(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ips_segment_path(PyObject *self, void *unused);
PyObject *ips_segment_remove(PyObject *type, PyObject *args, PyObject *kwargs);

#define IPS_SEGMENT_FILE_METHODS                                                              \
    {"flush", (PyCFunction)(void (*)(void))ips_segment_flush, METH_VARARGS | METH_KEYWORDS,   \
     "flush($self, /, timeout=None, max_age=0.0)\n--\n\n"                                     \
     "Bring the state of now to the segment's file, whole: after a power cut it is that of\n" \
     "the last flush() that returned, or of one that was under way.  Returns how many bytes\n" \
     "were written, 0 where the file had it already or somebody looked less than `max_age`\n" \
     "seconds ago.  Waits for others that flush, and for an open transaction, at most\n"      \
     "`timeout` seconds (Timeout).  Writers wait while changed memory is found and copied,\n" \
     "for some tenths of a second for each GiB in use, not while it is written.  NoSpace\n"  \
     "where the disk is full: the last image stays.  Killed at any moment, it leaves the old image or the new."}, \
    {"snapshot", (PyCFunction)(void (*)(void))ips_segment_snapshot,                           \
     METH_VARARGS | METH_KEYWORDS, "snapshot($self, /, path, timeout=None)\n--\n\n"           \
     "The state of now in a new file, which Segment(path=...) opens; with or without a file\n" \
     "of its own.  AlreadyExists where there is one; killed, it leaves none.  Returns its\n"  \
     "bytes."},                                                                               \
    {"remove", (PyCFunction)(void (*)(void))ips_segment_remove,                               \
     METH_VARARGS | METH_KEYWORDS | METH_CLASS,                                               \
     "remove($type, /, name=None, namespace=None, *, path=None)\n--\n\n"                      \
     "Remove the name; InUse while live members hold the object.  With `path`, remove that\n" \
     "file and the live memory that goes with it; a name alone never removes a file, and\n"   \
     "what was not flushed to it is lost."}

#endif
