/* SPDX-License-Identifier: Apache-2.0 */
/* One table of outcomes: it feeds this enum, the texts of status.c and the
 * exception classes of bind/errors.c, so none of the three can drift.
 *
 * Every core function that can fail returns int: 0, or a negative IPS_E*.
 * Before it returns a negative value it calls ips_fail(), which notes, for
 * this thread, which object failed, how, and errno; bind/ turns that note
 * into the exception.  Positive values are successes with news (below). */
#ifndef IPS_BASE_STATUS_H
#define IPS_BASE_STATUS_H

#define IPS_MUST_CHECK __attribute__((warn_unused_result))

/*  name        Python class          text, which the note's detail completes */
#define IPS_STATUS_TABLE(X)                                                    \
    X(AGAIN,    Busy,                 "would have to wait")                    \
    X(TIMEOUT,  Timeout,              "timed out")                             \
    X(INTR,     Error,                "interrupted by a signal")               \
    X(SYS,      OperatingSystemError, "the operating system refused")          \
    X(NOENT,    NotFound,             "no such object")                        \
    X(EXIST,    AlreadyExists,        "the name is taken")                     \
    X(MISMATCH, MismatchError,        "the object is of another kind or shape")\
    X(FORMAT,   FormatError,          "not a file this version can read")      \
    X(CORRUPT,  CorruptionError,      "shared bytes are damaged")              \
    X(ACCESS,   AccessDenied,         "access denied")                         \
    X(NAME,     InvalidName,          "not a usable name")                     \
    X(NOSPACE,  NoSpace,              "shared memory is full")                 \
    X(NOMEM,    OutOfMemory,          "out of private memory")                 \
    X(SEGFULL,  SegmentFull,          "the segment is full")                   \
    X(FULL,     Full,                 "the queue is full")                     \
    X(EMPTY,    Empty,                "the queue is empty")                    \
    X(TOOBIG,   TooLarge,             "larger than the limit")                 \
    X(SHUTDOWN, ShutDown,             "the queue was shut down")               \
    X(CLOSED,   Closed,               "the object is closed")                  \
    X(GONE,     ObjectGone,           "the object no longer exists")           \
    X(INUSE,    InUse,                "live members use it")                   \
    X(NOTHELD,  NotHeld,              "release of a lock that is not held")    \
    X(TX,       TransactionError,     "not allowed in this transaction")       \
    X(TXFULL,   TransactionTooLarge,  "the transaction outgrew its journal")   \
    X(MEMBERS,  TooManyMembers,       "the namespace has no free member slot") \
    X(PEERDIED, PeerDied,             "the peer died")                         \
    X(ENCODE,   EncodeError,          "the value cannot be encoded")           \
    X(DECODE,   DecodeError,          "the bytes cannot be decoded")           \
    X(DEADLOCK, DeadlockError,        "waiting would never end")               \
    X(BROKEN,   BrokenBarrierError,   "the barrier is broken")                 \
    X(SCHEMA,   SchemaError,          "the declaration does not fit what is stored") \
    X(CONFLICT, Conflict,             "somebody committed a change meanwhile")  \
    X(QUOTA,    QuotaExceeded,        "the quota of this process is used up")   \
    X(POOLFULL, PoolFull,             "the pool has no block for it")           \
    X(READONLY, ReadOnly,             "nothing can be changed here")

enum {
#define IPS_STATUS_ORDINAL(name, cls, text) IPS_ORDINAL_##name,
    IPS_STATUS_TABLE(IPS_STATUS_ORDINAL)
#undef IPS_STATUS_ORDINAL
    IPS_STATUS_COUNT
};

enum {
#define IPS_STATUS_CODE(name, cls, text) IPS_E##name = -(IPS_ORDINAL_##name + 1),
    IPS_STATUS_TABLE(IPS_STATUS_CODE)
#undef IPS_STATUS_CODE
    IPS_OK = 0,
    IPS_ABANDONED = 1, /* acquired, and its previous owner died holding it */
};

/* What went wrong last in this thread.  Valid after a negative return. */
typedef struct {
    int status;
    int sys_errno;      /* of the failing system call, or 0 */
    char detail[232];   /* names the object and what to do next */
} ips_note;

/* Record the failure and return `status`, so callers write
 * `return ips_fail(IPS_ENOENT, "queue '%s'", name);`. */
int ips_fail(int status, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));

/* As ips_fail(IPS_ESYS, ...) with errno, except that errno values which have
 * a status of their own (ENOENT, EEXIST, EACCES, ENOSPC, ENOMEM, ...) get it. */
int ips_fail_errno(const char *format, ...)
    __attribute__((format(printf, 1, 2), cold));

const ips_note *ips_last_note(void);
const char *ips_status_text(int status);

#endif
