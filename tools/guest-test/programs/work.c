// SPDX-License-Identifier: MIT OR Apache-2.0
// Work for a block device, in the guest.
//
//   work check DEVICE THREADS SECONDS SEED   random writes and reads, every block read compared with what was last written there
//   work code DEVICE ROUNDS   reads two little programs into one page in turn, and runs what was read
//   work files FOLDER COUNT   writes files, and says of each that it is on stable storage when it is
//   work verify FOLDER COUNT   looks whether all files up to that number are there, with their bytes
//   work bench DEVICE DEPTH SECONDS BYTES seq|random read|write   prints "bytes per second" and "operations per second"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>

#define BLOCK 4096

static const char *device;
static double seconds;
static uint64_t device_bytes;
static int failed;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int open_device(int flags)
{
    int fd = open(device, flags | O_DIRECT);
    if (fd < 0) {
        printf("work: cannot open %s: %s\n", device, strerror(errno));
        exit(1);
    }
    return fd;
}

struct part {
    int number, count;
    uint64_t seed, done;
    // Bench.
    size_t bytes;
    int sequential, writes;
};

static void fill(uint64_t *block, uint64_t where, uint64_t version)
{
    uint64_t state = (where + 1) * 0x9E3779B97F4A7C15ull ^ (version + 1) * 0xC2B2AE3D27D4EB4Full;
    for (int i = 0; i < BLOCK / 8; i++)
        block[i] = next(&state);
}

// Each thread has blocks of its own, interleaved with those of the others.
static void *check(void *argument)
{
    struct part *part = argument;
    uint64_t blocks = device_bytes / BLOCK / part->count, state = part->seed * 2654435761u + part->number + 1;
    if (blocks > 2048)
        blocks = 2048;
    uint32_t *versions = calloc(blocks, sizeof *versions);
    uint64_t *block = aligned_alloc(BLOCK, BLOCK), *expected = aligned_alloc(BLOCK, BLOCK);
    int fd = open_device(O_RDWR);
    double end = now() + seconds;
    while (now() < end && !failed) {
        uint64_t mine = next(&state) % blocks, where = mine * part->count + part->number;
        int reads = next(&state) % 2 && versions[mine];
        if (!reads)
            fill(block, where, ++versions[mine]);
        ssize_t moved = reads ? pread(fd, block, BLOCK, where * BLOCK) : pwrite(fd, block, BLOCK, where * BLOCK);
        if (moved != BLOCK) {
            printf("work: block %llu: %s: %s\n", (unsigned long long)where, reads ? "read" : "write", strerror(errno));
            failed = 1;
        }
        if (reads) {
            fill(expected, where, versions[mine]);
            if (memcmp(block, expected, BLOCK)) {
                printf("work: block %llu has other bytes than were written\n", (unsigned long long)where);
                failed = 1;
            }
        }
        part->done++;
    }
    for (uint64_t mine = 0; mine < blocks && !failed; mine++) {
        uint64_t where = mine * part->count + part->number;
        if (!versions[mine])
            continue;
        fill(expected, where, versions[mine]);
        if (pread(fd, block, BLOCK, where * BLOCK) != BLOCK || memcmp(block, expected, BLOCK)) {
            printf("work: block %llu is wrong at the end\n", (unsigned long long)where);
            failed = 1;
        }
    }
    return NULL;
}

// lghi %r2,NUMBER; br %r14
static const unsigned char program[] = { 0xA7, 0x29, 0, 0, 0x07, 0xFE };

static int code(int rounds)
{
    int fd = open_device(O_RDWR), wrong = 0;
    unsigned char *page = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int number = 0; number < 2; number++) {
        memcpy(page, program, sizeof program);
        page[3] = number + 1;
        if (pwrite(fd, page, BLOCK, number * BLOCK) != BLOCK)
            return 1;
    }
    // The device stores into the page itself: no instruction of this processor does.
    for (int round = 0; round < rounds; round++) {
        if (pread(fd, page, BLOCK, round % 2 * BLOCK) != BLOCK)
            return 1;
        wrong += ((long (*)(void))page)() != round % 2 + 1;
    }
    printf("work: %d of %d runs were of a program that is not there any more\n", wrong, rounds);
    return wrong != 0;
}

#define FILE_BYTES 12288

static int one_file(const char *folder, int number, int writes)
{
    char name[256];
    uint64_t block[BLOCK / 8], found[BLOCK / 8];
    snprintf(name, sizeof name, "%s/%d", folder, number);
    int fd = open(name, writes ? O_WRONLY | O_CREAT | O_EXCL : O_RDONLY, 0600), good = fd >= 0;
    for (int i = 0; good && i < FILE_BYTES / BLOCK; i++) {
        fill(block, number, i);
        good = writes ? write(fd, block, BLOCK) == BLOCK : read(fd, found, BLOCK) == BLOCK && !memcmp(block, found, BLOCK);
    }
    good = good && (!writes || !fsync(fd));
    close(fd);
    if (!good)
        printf("work: file %s: %s\n", name, errno ? strerror(errno) : "other bytes than were written");
    return good;
}

static int files(const char *folder, int count, int writes)
{
    // Also the name of a file is stable only when its folder is.
    int fd = open(folder, O_RDONLY | O_DIRECTORY);
    for (int number = 0; number < count; number++) {
        if (!one_file(folder, number, writes) || (writes && fsync(fd)))
            return 1;
        if (writes)
            printf("stable %d\n", number);
    }
    printf("work: %d files\n", count);
    return 0;
}

static void *bench(void *argument)
{
    struct part *part = argument;
    uint64_t places = device_bytes / part->bytes, state = part->seed + part->number * 7919 + 1;
    // One sequential stream for each thread.
    uint64_t place = places / part->count * part->number;
    char *buffer = aligned_alloc(BLOCK, part->bytes);
    memset(buffer, part->number + 1, part->bytes);
    int fd = open_device(part->writes ? O_RDWR : O_RDONLY);
    double end = now() + seconds;
    while (now() < end && !failed) {
        place = part->sequential ? (place + 1) % places : next(&state) % places;
        ssize_t moved = part->writes ? pwrite(fd, buffer, part->bytes, place * part->bytes) : pread(fd, buffer, part->bytes, place * part->bytes);
        if (moved != (ssize_t)part->bytes)
            failed = 1;
        part->done++;
    }
    return NULL;
}

int main(int count, char **words)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count == 4 && !strcmp(words[1], "code")) {
        device = words[2];
        return code(atoi(words[3]));
    }
    if (count == 4 && (!strcmp(words[1], "files") || !strcmp(words[1], "verify")))
        return files(words[2], atoi(words[3]), !strcmp(words[1], "files"));
    int checks = count == 6 && !strcmp(words[1], "check");
    if (!checks && !(count == 8 && !strcmp(words[1], "bench")))
        return 2;
    device = words[2];
    int threads = atoi(words[3]);
    seconds = atof(words[4]);
    int fd = open_device(O_RDONLY);
    if (ioctl(fd, BLKGETSIZE64, &device_bytes))
        return 1;
    close(fd);
    struct part *parts = calloc(threads, sizeof *parts);
    pthread_t *running = calloc(threads, sizeof *running);
    double began = now();
    for (int i = 0; i < threads; i++) {
        parts[i] = (struct part){ .number = i, .count = threads, .seed = checks ? strtoull(words[5], NULL, 0) : 1 };
        if (!checks) {
            parts[i].bytes = strtoull(words[5], NULL, 0);
            parts[i].sequential = !strcmp(words[6], "seq");
            parts[i].writes = !strcmp(words[7], "write");
        }
        pthread_create(&running[i], NULL, checks ? check : bench, &parts[i]);
    }
    uint64_t done = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(running[i], NULL);
        done += parts[i].done;
    }
    double took = now() - began;
    if (checks)
        printf("work: %llu operations, %s\n", (unsigned long long)done, failed ? "WRONG" : "all bytes as written");
    else
        printf("work: %.0f operations per second, %.0f bytes per second\n", done / took, done * parts[0].bytes / took);
    return failed;
}
