/* SPDX-License-Identifier: Apache-2.0 */
#include "os/user.h"

#include <unistd.h>

uint32_t
ips_user_id(void)
{
    return (uint32_t)geteuid();
}
