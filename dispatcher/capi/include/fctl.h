/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libfctl: the fctl dispatcher for hypervisors written in C. Guide: docs/c-api.md.
 * generated: do not edit (source: dispatcher/capi/src; made by tools/header.sh).
 *
 * Functions that can fail return 0 (or what they say) or a negative FCTL_E_ code; fctl_last_error has the message.
 * Structs that begin with `size` are set to zero and `size` to their sizeof: what is zero has its default.
 */

#ifndef FCTL_H
#define FCTL_H

#include <stddef.h>
#include <stdint.h>
#include "fctl_ring.h"

// Version of this interface: major (bits 16-31), minor (bits 0-15). While major is 0, each minor is another interface.
#define FCTL_API_VERSION 1

// Option: pin the dispatcher's thread to `cpu`.
#define FCTL_OPTION_CPU 1

// Wait policy: poll for about the price of a sleep, then sleep.
#define FCTL_WAIT_DEFAULT 0

// Wait policy: poll for at most `polling` nanoseconds, then sleep.
#define FCTL_WAIT_POLLING 1

// Wait policy: sleep at once.
#define FCTL_WAIT_SLEEPING 2

// Wait policy: never sleep.
#define FCTL_WAIT_BUSY 3

// An argument: null, misaligned, or a value that is not accepted.
#define FCTL_E_ARGUMENT -1

// A struct or program of another version of this interface.
#define FCTL_E_VERSION -2

// The dispatcher has stopped, or serves this ring no more.
#define FCTL_E_STOPPED -3

// No guest, ring or subchannel has this number (any more).
#define FCTL_E_NOT_FOUND -4

// It is in use, exists already, or is going.
#define FCTL_E_BUSY -5

// The deadline came first.
#define FCTL_E_DEADLINE -6

// The kernel refused something.
#define FCTL_E_SYSTEM -7

// The volume cannot be opened.
#define FCTL_E_VOLUME -8

// The memory, or the ring in it, is not as it must be.
#define FCTL_E_MEMORY -9

// Called from a callback: only the library's own thread is there to answer.
#define FCTL_E_THREAD -10

// A fault of the library. Free what you have and report it.
#define FCTL_E_PANIC -11

// There is no room: completions must be taken first.
#define FCTL_E_FULL -12

// The instruction was refused: it would have ended with a program interruption, or is none.
#define FCTL_E_REFUSED -13

// Host option: `notification` is the eventfd to be written; else one is made, see fctl_host_notification.
#define FCTL_HOST_NOTIFICATION 1

// Ring option: the ring lies in the guest's own memory, at `guest_address`; else in the memory file `memory_file`, at `offset`.
#define FCTL_RING_IN_GUEST 1

// Series: START SUBCHANNEL that ran.
#define FCTL_SERIES_START 0

// Series: START SUBCHANNEL that was overtaken.
#define FCTL_SERIES_OVERTAKEN 1

// Series: HALT SUBCHANNEL.
#define FCTL_SERIES_HALT 2

// Series: CLEAR SUBCHANNEL.
#define FCTL_SERIES_CLEAR 3

// Series: all that end at acceptance.
#define FCTL_SERIES_IMMEDIATE 4

// Stage: from posted until taken.
#define FCTL_STAGE_POSTED 0

// Stage: from taken until issued.
#define FCTL_STAGE_TAKEN 1

// Stage: from issued until the device had ended it.
#define FCTL_STAGE_ISSUED 2

// Stage: from ended until the completion was stored.
#define FCTL_STAGE_COMPLETED 3

// Stage: from posted until the completion was stored.
#define FCTL_STAGE_TOTAL 4

// Subchannel option: not enabled from the beginning; the guest enables it by MODIFY SUBCHANNEL.
#define FCTL_SUBCHANNEL_DISABLED 1

// Subchannel option: status is held until the guest takes it by TEST SUBCHANNEL; else it is delivered with the final completion.
#define FCTL_SUBCHANNEL_HELD 2

// Device: ends every start at once.
#define FCTL_DEVICE_NULL 0

// Device: a fixed-block disk (9336) on a volume.
#define FCTL_DEVICE_FBA 1

// Delay: never answers.
#define FCTL_DELAY_FOREVER 18446744073709551615ull

// Volume option: commands that write get a unit check, and others may read the volume too.
#define FCTL_VOLUME_READ_ONLY 1

// Durability: a write is on stable storage before it counts as done.
#define FCTL_DURABILITY_WRITETHROUGH 0

// Durability: the host's cache is enough; a crash of the host loses writes that were told done.
#define FCTL_DURABILITY_WRITEBACK 1

// Cache: the host's page cache is used.
#define FCTL_CACHE_BUFFERED 0

// Cache: it is not (O_DIRECT) for operations that are aligned.
#define FCTL_CACHE_DIRECT 1

// A running dispatcher.
struct fctl;

// A ring whose guest end the hypervisor holds. Any thread may use it; one at a time gets at it.
struct fctl_host;

// Latency histograms, as they were when they were taken.
struct fctl_latencies;

// An open, locked volume.
struct fctl_volume;

// Settings of a dispatcher.
struct fctl_options {
    // sizeof(struct fctl_options).
    size_t size;
    // FCTL_API_VERSION.
    uint32_t api_version;
    // FCTL_OPTION_*.
    uint32_t flags;
    // The CPU for FCTL_OPTION_CPU.
    uint32_t cpu;
    // How many channel programs can use the engine at once: 1 to 4096; 0: 256.
    uint32_t engine_slots;
    // FCTL_WAIT_*.
    uint32_t wait;
    // Zero.
    uint32_t reserved;
    // Nanoseconds for FCTL_WAIT_POLLING.
    uint64_t polling;
    // Milliseconds an operation may be in the kernel before its volume is declared stuck; 0: 30,000.
    uint64_t stuck_after;
};

// A piece of this process's memory that a guest sees as its memory.
struct fctl_memory_range {
    // Guest address of the first byte.
    uint64_t guest_address;
    // That byte in this process, at the beginning of a page.
    void *host_address;
    // Length in bytes.
    uint64_t size;
};

// A guest's memory. The callbacks may be NULL; each gets `context`. They may call nothing of this library but fctl_last_error.
struct fctl_guest_options {
    // sizeof(struct fctl_guest_options).
    size_t size;
    // The ranges: mapped, readable and writable until `release` is called, and nobody can make a file behind them shorter. The table itself is
    // copied.
    const struct fctl_memory_range *ranges;
    // How many.
    size_t range_count;
    // For the callbacks.
    void *context;
    // Called once after the guest was attached, when the library no longer needs the ranges nor the callbacks; on whatever thread that happens. Not
    // called if attaching fails.
    void (*release)(void *context);
    // If set, all that the library has for the guest (but its ring) goes through this: it stores `length` bytes from guest address `address` on, and
    // returns 0; not 0 if the range is no memory any more. On the dispatcher's thread.
    int (*store)(void *context, uint64_t address, const void *bytes, size_t length);
    // If set (and `store` is not), told after each change of guest memory and before the guest can see the completion. On the dispatcher's thread.
    void (*dirty)(void *context, uint64_t address, uint64_t length);
};

// How a host's ring is set up. All zero: all defaults.
struct fctl_host_options {
    // sizeof(struct fctl_host_options).
    size_t size;
    // FCTL_HOST_*.
    uint32_t flags;
    // Submission entries: a power of two, at least 8; 0: 64.
    uint32_t entries;
    // Milliseconds an instruction may wait to be accepted; 0: 5,000.
    uint64_t limit;
    // The eventfd for FCTL_HOST_NOTIFICATION, for instance the one that injects the guest's interrupt. It stays the caller's, who may close it.
    int notification;
    // Zero.
    uint32_t reserved;
};

// A ring pair and its ends.
struct fctl_ring_options {
    // sizeof(struct fctl_ring_options).
    size_t size;
    // The guest's number.
    uint64_t guest;
    // FCTL_RING_*.
    uint32_t flags;
    // If not 0: format the ring first, with so many submission entries (a power of two, 8 to 65,536), four times as many completion entries, and the host's
    // monotonic clock. If 0 it is formatted already.
    uint32_t entries;
    // Length of the region in bytes: at least fctl_ring_bytes(entries).
    uint64_t bytes;
    // Guest address, for FCTL_RING_IN_GUEST: a multiple of FCTL_ALIGNMENT.
    uint64_t guest_address;
    // Without FCTL_RING_IN_GUEST: offset in the memory file, a multiple of the page size.
    uint64_t offset;
    // Without FCTL_RING_IN_GUEST: a memory file that can neither shrink nor grow, as fctl_memory_file makes.
    int memory_file;
    // An eventfd that the guest rings when the dispatcher sleeps (an ioeventfd, for KVM).
    int doorbell;
    // An eventfd that the dispatcher writes when the guest sleeps (an irqfd, for KVM). All three descriptors stay the caller's, who may close them.
    int notification;
    // Zero.
    uint32_t reserved;
};

// Where a ring stands.
struct fctl_ring_status {
    // sizeof(struct fctl_ring_status).
    size_t size;
    // Completions owed to descriptors that were taken.
    uint64_t owed;
    // Not 0 while descriptors are being taken.
    uint32_t serving;
    // FCTL_FENCE_* if the guest broke the protocol, else 0.
    uint32_t fenced;
};

// What became of the descriptors, and what the dispatcher and its engine did.
struct fctl_counters {
    // sizeof(struct fctl_counters).
    size_t size;
    // Descriptors taken.
    uint64_t taken;
    // Descriptors that came to their end.
    uint64_t finals;
    // Of these, finals that could not be stored because their ring was fenced or gone.
    uint64_t unstored;
    // Starts taken.
    uint64_t starts;
    // Starts that ran.
    uint64_t ran;
    // Starts merged away before issue by a halt or clear.
    uint64_t merged_away;
    // Starts stopped by a halt or clear after issue.
    uint64_t stopped_active;
    // Starts cancelled.
    uint64_t cancelled;
    // Starts refused.
    uint64_t refused;
    // Functions issued to devices.
    uint64_t issued;
    // Other completions stored.
    uint64_t others;
    // Times a ring had to wait because its guest owed itself more completions than fit.
    uint64_t stalls;
    // Rings fenced.
    uint64_t fenced;
    // Notifications sent.
    uint64_t notifications;
    // Turns of the loop that did something.
    uint64_t productive_turns;
    // Times the dispatcher slept.
    uint64_t sleeps;
    // Operations given to the kernel.
    uint64_t operations;
    // Operations in the kernel now.
    uint64_t in_flight;
    // Volumes that do not answer now.
    uint64_t stuck;
};

// A subchannel and its device.
struct fctl_subchannel_options {
    // sizeof(struct fctl_subchannel_options).
    size_t size;
    // Number of its home ring.
    uint64_t ring;
    // Subsystem-identification word, as fctl_subsystem makes.
    uint32_t subsystem;
    // FCTL_SUBCHANNEL_*.
    uint32_t flags;
    // FCTL_DEVICE_*.
    uint32_t device;
    // Device number.
    uint16_t device_number;
    // Zero.
    uint16_t reserved;
    // Nanoseconds for which the device's answer to a start is held back; FCTL_DELAY_FOREVER.
    uint64_t delay;
    // The volume, for FCTL_DEVICE_FBA. Several subchannels may have the same one.
    const struct fctl_volume *volume;
    // Who reserves the volume: subchannels of one initiator share reservations. 0 is 1.
    uint32_t initiator;
    // Zero.
    uint32_t reserved2;
};

// How to open a volume. All zero is the safest.
struct fctl_volume_options {
    // sizeof(struct fctl_volume_options).
    size_t size;
    // FCTL_VOLUME_*.
    uint32_t flags;
    // FCTL_DURABILITY_*.
    uint32_t durability;
    // FCTL_CACHE_*.
    uint32_t cache;
    // Zero.
    uint32_t reserved;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version that the library has: equal to FCTL_API_VERSION of the header that fits it.
uint32_t fctl_api_version(void);

// Begins a dispatcher on a thread of its own. `*dispatcher` is the caller's, to be given to fctl_free; NULL if this fails.
int fctl_spawn(const struct fctl_options *options,
               struct fctl **dispatcher);

// Stops in order: detaches every ring, waits for everything in flight. Then every other function but fctl_free gives FCTL_E_STOPPED.
int fctl_stop(struct fctl *dispatcher);

// Stops the dispatcher, if it has not stopped, and gives up all that belongs to it. NULL is nothing to do.
int fctl_free(struct fctl *dispatcher);

// What went wrong in the last call of this thread that failed; empty if none has. Valid until the next call that fails, on this thread.
const char *fctl_last_error(void);

// Attaches a guest: its memory, and subchannel numbers of its own. `*guest` is its number, 0 if this fails.
int fctl_attach_guest(struct fctl *dispatcher,
                      const struct fctl_guest_options *options,
                      uint64_t *guest);

// Replaces a guest's memory while it runs: to add, remove or move some of it. From now on channel programs are found in the new memory, and one that needs a
// range that is not there any more gets a program check. Waits until the kernel does not use the old memory any more, at most `timeout`
// milliseconds; FCTL_E_DEADLINE: the new memory is there, the old is kept until then. The old memory's `release` is called before this returns 0, unless a
// ring lies in it: then when that is detached.
int fctl_replace_memory(struct fctl *dispatcher,
                        uint64_t guest,
                        const struct fctl_guest_options *options,
                        uint64_t timeout);

// Takes a guest away that has no rings any more. Its memory's `release` is called as soon as nothing uses the memory: usually before this returns.
int fctl_detach_guest(struct fctl *dispatcher,
                      uint64_t guest);

// Attaches a ring of the host's own to a guest. `options` NULL: all defaults. `*host` is the caller's, to be given to fctl_free_host, NULL if this fails;
// `*ring` is the ring's number, for subchannels and for fctl_detach_ring.
int fctl_attach_host(struct fctl *dispatcher,
                     uint64_t guest,
                     const struct fctl_host_options *options,
                     struct fctl_host **host,
                     uint64_t *ring);

// Executes an instruction: returns its condition code, 0 to 3. FCTL_E_REFUSED: it would have ended with a program interruption, whose code is in
// `ended->code`, or is no instruction (FCTL_ERROR_* there). What ended with its condition code is in `*ended` and `*extension` (the SCHIB of STORE, the
// status of TEST); START, HALT and CLEAR that were accepted come by fctl_host_take: then `ended->kind` is 0. Both may be NULL.
// Waits for the dispatcher's next turn, at most the limit of the options.
int fctl_host_execute(struct fctl_host *host,
                      const struct fctl_descriptor *descriptor,
                      struct fctl_completion *ended,
                      union fctl_extension *extension);

// Takes the next completion: 1, or 0 if there is none now. Both places may be NULL; without a completion they are zero.
int fctl_host_take(struct fctl_host *host, struct fctl_completion *completion, union fctl_extension *extension);

// Asks for one notification as soon as there is something to take, or the ring has gone: 1. If there is something already: 0, and no notification comes.
int fctl_host_arm(struct fctl_host *host);

// Takes the wish for a notification back: 1. 0: none is wished for, or it is on its way and comes for certain.
int fctl_host_disarm(struct fctl_host *host);

// The descriptor of the notification's eventfd, which is the library's until the ring is freed.
int fctl_host_notification(struct fctl_host *host);

// Gives the host's end of a ring up. The ring itself is detached by fctl_detach_ring, before or after this. NULL is nothing to do.
int fctl_free_host(struct fctl_host *host);

// Resets a subchannel within `timeout` milliseconds: what runs is stopped, status, sense and reservation are withdrawn, what was taken gets its final.
// FCTL_E_DEADLINE: it becomes reset as soon as it can.
int fctl_reset_subchannel(struct fctl *dispatcher,
                          uint64_t guest,
                          uint32_t subsystem,
                          uint64_t timeout);

// Resets all subchannels of a guest, as fctl_reset_subchannel.
int fctl_reset_guest(struct fctl *dispatcher, uint64_t guest, uint64_t timeout);

// Resets all subchannels of all guests, as fctl_reset_subchannel.
int fctl_reset_all(struct fctl *dispatcher, uint64_t timeout);

// Stops what runs on a subchannel and takes it away, within `timeout` milliseconds; its ring goes on. FCTL_E_DEADLINE: it goes by itself as soon as it can.
int fctl_detach_subchannel(struct fctl *dispatcher,
                           uint64_t guest,
                           uint32_t subsystem,
                           uint64_t timeout);

// Bytes that a ring pair with so many submission entries needs; 0 if there is no such ring pair.
uint64_t fctl_ring_bytes(uint32_t entries);

// Makes a memory file of `bytes` bytes that can neither shrink nor grow, for a ring or a guest's memory. Returns its descriptor, which is the caller's.
int fctl_memory_file(const char *name,
                     uint64_t bytes);

// Attaches a ring pair of a guest. `*ring` is its number, 0 if this fails.
int fctl_attach_ring(struct fctl *dispatcher,
                     const struct fctl_ring_options *options,
                     uint64_t *ring);

// Where a ring stands.
int fctl_read_ring_status(struct fctl *dispatcher, uint64_t ring, struct fctl_ring_status *status);

// Stops taking descriptors from a ring and waits until what runs has ended by itself, at most `timeout` milliseconds. The ring stays attached, and takes
// nothing more. FCTL_E_DEADLINE: the message names the subchannels that are still busy.
int fctl_drain_ring(struct fctl *dispatcher,
                    uint64_t ring,
                    uint64_t timeout);

// Stops what runs on a ring and takes the ring and its subchannels away, within `timeout` milliseconds. FCTL_E_DEADLINE: it goes by itself as soon as it
// can. In both cases the number is no ring's any more.
int fctl_detach_ring(struct fctl *dispatcher,
                     uint64_t ring,
                     uint64_t timeout);

// Reads the counters.
int fctl_read_counters(struct fctl *dispatcher, struct fctl_counters *counters);

// Takes the latencies since the last call. `*latencies` is the caller's, to be given to fctl_free_latencies; NULL if this fails.
int fctl_take_latencies(struct fctl *dispatcher,
                        struct fctl_latencies **latencies);

// Quantile (0 to 1; 1 is the greatest) of a series (FCTL_SERIES_*) and stage (FCTL_STAGE_*). `*nanoseconds` is 0 and `*count` 0 if there were none.
// `count` may be NULL.
int fctl_latency(const struct fctl_latencies *latencies,
                 uint32_t series,
                 uint32_t stage,
                 double quantile,
                 uint64_t *nanoseconds,
                 uint64_t *count);

// Gives latencies up. NULL is nothing to do.
int fctl_free_latencies(struct fctl_latencies *latencies);

// Attaches a subchannel with its device to its home ring. It goes with the ring.
int fctl_attach_subchannel(struct fctl *dispatcher,
                           const struct fctl_subchannel_options *options);

// Opens and locks a plain file or a block device. `options` NULL: all defaults. `*volume` is the caller's, to be given to fctl_close_volume; NULL if this
// fails.
int fctl_open_volume(const char *path,
                     const struct fctl_volume_options *options,
                     struct fctl_volume **volume);

// Gives a volume up. It is closed when no subchannel needs it any more, so this may follow fctl_attach_subchannel at once. NULL is nothing to do.
int fctl_close_volume(struct fctl_volume *volume);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FCTL_H */
