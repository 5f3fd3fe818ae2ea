/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The host's own poster: condition codes at once, ends by notification. */
#include "check.h"

int main(void)
{
    struct fctl *dispatcher = spawned();
    uint64_t guest = guest_of(dispatcher, guest_memory()), ring;
    struct fctl_host *host;
    struct fctl_host_options bad = { .size = sizeof bad, .entries = 7 };

    FAILS(FCTL_E_ARGUMENT, "7", fctl_attach_host(dispatcher, guest, &bad, &host, &ring));
    bad = (struct fctl_host_options){ .size = sizeof bad, .flags = FCTL_HOST_NOTIFICATION };
    bad.notification = -1;
    FAILS(FCTL_E_ARGUMENT, "notification is -1", fctl_attach_host(dispatcher, guest, &bad, &host, &ring));
    FAILS(FCTL_E_NOT_FOUND, "guest 50", fctl_attach_host(dispatcher, 50, NULL, &host, &ring));
    CHECK(host == NULL && ring == 0, "something from nowhere");

    struct fctl_host_options options = { .size = sizeof options, .flags = FCTL_HOST_NOTIFICATION, .entries = 16 };
    options.notification = eventfd(0, 0);
    MUST(fctl_attach_host(dispatcher, guest, &options, &host, &ring));
    struct fctl_subchannel_options null = { .size = sizeof null, .ring = ring, .subsystem = SUBCHANNEL, .device_number = 0x555 };
    MUST(fctl_attach_subchannel(dispatcher, &null));

    /* A start: its condition code now, its end by the notification that was asked for. */
    struct fctl_completion completion;
    union fctl_extension extension;
    struct fctl_descriptor start = fctl_start(SUBCHANNEL, 0xCAFE, 0x00C0FF00, 0x1000, 42);
    int armed = fctl_host_arm(host);
    CHECK(armed == 1, "%d", armed);
    int cc = fctl_host_execute(host, &start, &completion, &extension);
    CHECK(cc == 0 && completion.kind == 0, "cc %d, kind %u", cc, completion.kind);
    int notification = fctl_host_notification(host);
    CHECK(notification >= 0, "%s", fctl_last_error());
    struct pollfd wake = { .fd = options.notification, .events = POLLIN };
    CHECK(poll(&wake, 1, 60000) == 1, "no notification within a minute");
    CHECK(fctl_wait_notification(notification), "the same eventfd, by another descriptor");
    int taken = fctl_host_take(host, &completion, &extension);
    CHECK(taken == 1 && completion.kind == FCTL_KIND_FINAL && completion.tag == 42 && completion.intparm == 0xCAFE, "%d, tag %llu", taken,
          (unsigned long long)completion.tag);
    CHECK(fctl_get_be32(completion.scsw + 8) == 0x0C000000, "status");
    taken = fctl_host_take(host, &completion, NULL);
    CHECK(taken == 0 && completion.kind == 0, "%d", taken);
    armed = fctl_host_arm(host);
    int disarmed = fctl_host_disarm(host);
    CHECK(armed == 1 && disarmed == 1, "%d, %d", armed, disarmed);

    /* STORE SUBCHANNEL: the SCHIB comes with the condition code. The device number is in the PMCW's third word. */
    struct fctl_descriptor store = fctl_instruction(FCTL_OPERATION_STORE, SUBCHANNEL, 43);
    cc = fctl_host_execute(host, &store, &completion, &extension);
    CHECK(cc == 0 && completion.kind == FCTL_KIND_FINAL && (completion.flags & FCTL_COMPLETION_SCHIB_EXTENSION), "cc %d", cc);
    CHECK((fctl_get_be32(extension.schib.schib + 4) & 0xFFFF) == 0x555, "device number");
    /* No such subchannel; no such instruction; an operand that is not in the guest's memory. */
    struct fctl_descriptor nobody = fctl_instruction(FCTL_OPERATION_CLEAR, fctl_subsystem(0, 77), 44);
    cc = fctl_host_execute(host, &nobody, NULL, NULL);
    CHECK(cc == 3, "cc %d", cc);
    struct fctl_descriptor unknown = fctl_instruction(99, SUBCHANNEL, 45);
    FAILS(FCTL_E_REFUSED, "refused", fctl_host_execute(host, &unknown, &completion, NULL));
    CHECK(completion.code == FCTL_ERROR_UNKNOWN_OPERATION, "code %u", completion.code);
    struct fctl_descriptor outside = fctl_by_address(FCTL_OPERATION_START, SUBCHANNEL, UINT64_C(1) << 40, 46);
    FAILS(FCTL_E_REFUSED, "refused", fctl_host_execute(host, &outside, &completion, NULL));

    MUST(fctl_detach_ring(dispatcher, ring, 10000));
    FAILS(FCTL_E_STOPPED, "does not serve", fctl_host_execute(host, &start, NULL, NULL));
    FAILS(FCTL_E_STOPPED, "does not serve", fctl_host_arm(host));
    MUST(fctl_free_host(host));
    MUST(fctl_detach_guest(dispatcher, guest));
    MUST(fctl_free(dispatcher));
    puts("PASS");
    return 0;
}
