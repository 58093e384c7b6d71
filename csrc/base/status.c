/* SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local ips_note last_note;

static const char *const status_texts[IPS_STATUS_COUNT] = {
#define IPS_STATUS_TEXT(name, cls, text) text,
    IPS_STATUS_TABLE(IPS_STATUS_TEXT)
#undef IPS_STATUS_TEXT
};

const ips_note *
ips_last_note(void)
{
    return &last_note;
}

const char *
ips_status_text(int status)
{
    if (status >= 0 || -status > IPS_STATUS_COUNT) {
        return "success";
    }
    return status_texts[-status - 1];
}

static int
note(int status, int sys_errno, const char *format, va_list args)
{
    last_note.status = status;
    last_note.sys_errno = sys_errno;
    (void)vsnprintf(last_note.detail, sizeof last_note.detail, format, args);
    return status;
}

int
ips_fail(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)note(status, 0, format, args);
    va_end(args);
    return status;
}

static int
status_of_errno(int sys_errno)
{
    switch (sys_errno) {
    case ENOENT:
        return IPS_ENOENT;
    case EEXIST:
        return IPS_EEXIST;
    case EACCES:
    case EPERM:
    case EROFS:
        return IPS_EACCESS;
    case ENOSPC:
    case EDQUOT:
        return IPS_ENOSPACE;
    case ENOMEM:
        return IPS_ENOMEM;
    case ENAMETOOLONG:
        return IPS_ENAME;
    case EINTR:
        return IPS_EINTR;
    default:
        return IPS_ESYS;
    }
}

int
ips_fail_errno(const char *format, ...)
{
    int sys_errno = errno;
    int status = status_of_errno(sys_errno);
    va_list args;
    va_start(args, format);
    (void)note(status, sys_errno, format, args);
    va_end(args);
    return status;
}
