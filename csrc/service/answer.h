/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for an answer while watching the member that owes it. */
#ifndef IPS_SERVICE_ANSWER_H
#define IPS_SERVICE_ANSWER_H

#include "base/owner.h"
#include "base/status.h"
#include "message/queue.h"

/* Spin until `queue` holds a message, for the machine's spin budget. */
bool ips_answer_spin(ips_queue *queue, int64_t deadline);

/* Sleep until `queue` holds a message (0), `server` is proven dead and the
 * queue empty (IPS_EPEERDIED, nothing noted), or `deadline`; IPS_EINTR.
 * `server` may be IPS_NOBODY or this process itself: then nobody is watched. */
IPS_MUST_CHECK int ips_answer_park(ips_queue *queue, ips_owner server, int64_t deadline);

#endif
