/* SPDX-License-Identifier: Apache-2.0 */
/* Files that outlive the machine's power, anywhere the user puts them: what
 * os/file.h does not need for files in memory. */
#ifndef IPS_OS_DISK_H
#define IPS_OS_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Any folder, to name files in; it may be other people's too. */
IPS_MUST_CHECK int ips_disk_folder(const char *path, int *fd);

/* A regular file, to be read, that nobody can write to but us and the superuser;
 * IPS_EACCESS names it, and who could. */
IPS_MUST_CHECK int ips_disk_open_to_read(const char *path, int *fd);

/* A lock of the whole file that belongs to this opening of it: threads of one
 * process exclude each other too, and the kernel gives it back at death.  A
 * child that is forked meanwhile does not keep it.  IPS_ETIMEOUT (nothing
 * noted). */
IPS_MUST_CHECK int ips_disk_lock(int fd, int64_t deadline);
/* The same to read, beside others that do. */
IPS_MUST_CHECK int ips_disk_lock_to_read(int fd, int64_t deadline);
void ips_disk_unlock(int fd);

IPS_MUST_CHECK int ips_disk_write(int fd, const void *from, size_t size, uint64_t offset);
/* These bytes will be read soon, from the disk if they have to be: have it begin. */
void ips_disk_expect(int fd, uint64_t offset, uint64_t size);
/* What was written is there after a power cut, once this returns. */
IPS_MUST_CHECK int ips_disk_sync(int fd);
/* The same for a name that was given in the folder. */
IPS_MUST_CHECK int ips_disk_sync_folder(int dir);
IPS_MUST_CHECK int ips_disk_cut(int fd, uint64_t size);

/* What the kernel calls this boot, NUL-terminated; "" where it does not tell. */
void ips_boot_name(char out[40]);

/* Mapped pages that are about to be written, made present at once instead of at a
 * fault each; a hint. */
void ips_memory_prepare(void *base, uint64_t size);

/* Private memory, zeroed, which costs nothing before it is touched. */
IPS_MUST_CHECK int ips_memory_take(uint64_t size, void **base);

#endif
