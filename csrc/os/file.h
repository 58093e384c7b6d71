/* SPDX-License-Identifier: Apache-2.0 */
/* Files, folders and mappings.  Paths are relative to a folder's descriptor;
 * functions return 0 or a noted negative status unless they say otherwise. */
#ifndef IPS_OS_FILE_H
#define IPS_OS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

typedef struct {
    uint64_t dev;
    uint64_t inode;
    uint64_t size;
    uint64_t blocks; /* bytes really allocated */
    uint32_t links;
    uint32_t uid;
    uint32_t mode; /* permission bits */
    bool regular;
    bool directory;
} ips_file_facts;

IPS_MUST_CHECK int ips_file_facts_of(int fd, ips_file_facts *out);
/* Facts of a name, following no symlink. */
IPS_MUST_CHECK int ips_file_facts_at(int dir, const char *name, ips_file_facts *out);

/* Open a folder, making it (0700, parents too) where `create`.  Refuses a
 * symlink, another owner and permission bits for others. */
IPS_MUST_CHECK int ips_dir_open(const char *path, bool create, int *fd);
IPS_MUST_CHECK int ips_dir_open_at(int dir, const char *name, bool create, int *fd);

/* A file without a name in the folder's file system, mode 0600. */
IPS_MUST_CHECK int ips_file_make(int dir, int *fd);
/* A plain file that stays: opened, or made empty with mode 0600. */
IPS_MUST_CHECK int ips_file_keep(int dir, const char *name, int *fd);
/* Give an open file a (further) name; IPS_EEXIST where it is taken, IPS_ENOENT
 * where its last name is gone. */
IPS_MUST_CHECK int ips_file_name(int fd, int dir, const char *name);
IPS_MUST_CHECK int ips_file_link(int from_dir, const char *from, int to_dir, const char *to);
IPS_MUST_CHECK int ips_file_rename(int from_dir, const char *from, int to_dir, const char *to);
/* Removing what is already gone is success. */
IPS_MUST_CHECK int ips_file_unlink(int dir, const char *name);
IPS_MUST_CHECK int ips_dir_remove(int dir, const char *name);

/* Open an existing file read-write, O_NOFOLLOW, and check that it is a
 * regular file of this user without bits for others. */
IPS_MUST_CHECK int ips_file_open(int dir, const char *name, int *fd, ips_file_facts *facts);
/* Back [0, size) with memory: steps of at most 16 MiB, signals held off
 * during each, so that neither EINTR nor SIGBUS can follow.  Grows the file. */
IPS_MUST_CHECK int ips_file_back(int fd, uint64_t from, uint64_t size);
/* Give the memory of the whole pages in [from, to) back; reading them finds
 * zeros and takes memory again, which a full file system answers with SIGBUS. */
IPS_MUST_CHECK int ips_file_punch(int fd, uint64_t from, uint64_t to);
void ips_file_close(int fd);
IPS_MUST_CHECK int ips_file_read(int fd, void *to, size_t size, uint64_t offset); /* all or IPS_EFORMAT */

/* Map `size` bytes shared read-write; the file may be shorter than that. */
IPS_MUST_CHECK int ips_map_file(int fd, uint64_t size, void **base);
/* The same from `offset` on, a multiple of the page size. */
IPS_MUST_CHECK int ips_map_part(int fd, uint64_t offset, uint64_t size, void **base);
/* One shared page of the file with one private page right behind it. */
IPS_MUST_CHECK int ips_map_page_before_private(int fd, uint64_t offset, size_t page, void **base);
size_t ips_page_size(void);
/* Ask for huge pages behind a mapping of shared memory: true where the kernel
 * takes the advice and lets such memory have them.  Never noted. */
bool ips_map_huge(void *base, uint64_t size);
void ips_unmap(void *base, uint64_t size);

/* Bytes free in the folder's file system. */
IPS_MUST_CHECK int ips_dir_free_space(int dir, uint64_t *free_bytes);

/* Call `visit(name, context)` for each entry but "." and ".."; it stops at,
 * and returns, the first non-zero result. */
IPS_MUST_CHECK int ips_dir_each(int dir, int (*visit)(const char *name, void *context), void *context);

IPS_MUST_CHECK int ips_random(void *to, size_t size);

#endif
