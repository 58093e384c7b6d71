/* SPDX-License-Identifier: Apache-2.0 */
/* Where the check() of a container puts what it finds. */
#ifndef IPS_DATA_REPORT_H
#define IPS_DATA_REPORT_H

#include <stdarg.h>
#include <stdio.h>

#include "segment/segment.h"

typedef struct {
    void (*line)(const char *line, void *context);
    void *context;
    const char *type;
    ips_offset offset;
    int problems;
} ips_report;

/* One problem.  After many, only counts. */
__attribute__((format(printf, 2, 3))) static inline void
ips_report_problem(ips_report *report, const char *format, ...)
{
    if (++report->problems > 100) {
        return;
    }
    char text[200];
    char line[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)snprintf(line, sizeof line, "%s at offset %llu: %s", report->type,
        (unsigned long long)report->offset, text);
    report->line(line, report->context);
}

#endif
