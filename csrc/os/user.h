/* SPDX-License-Identifier: Apache-2.0 */
/* Whose process this is. */
#ifndef IPS_OS_USER_H
#define IPS_OS_USER_H

#include <stdint.h>

uint32_t ips_user_id(void); /* the effective one: it decides on files */

#endif
