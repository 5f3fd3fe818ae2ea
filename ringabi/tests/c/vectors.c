/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The frozen vectors of SPEC.md as C makes and reads them: vectors HEADER COMPLETION EXTENSION (hexadecimal)
 *
 * Opens a ring with that header, at position 64 on both sides; posts the descriptor of the specification and prints the bytes of
 * its slot; takes the completion from its slot, and prints its fields and the first extension bytes.
 */
#include "fctl_guest.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* 1024 + 64 * 64 + 256 * 64 + 256 * 64 */
#define REGION_BYTES 37888

static _Alignas(128) uint8_t region[REGION_BYTES];

static void put(size_t offset, const char *hex)
{
    for (; hex[0] && hex[1]; hex += 2, offset++) {
        char digits[3] = { hex[0], hex[1], 0 };
        region[offset] = (uint8_t)strtoul(digits, NULL, 16);
    }
}

static void print(const char *name, const uint8_t *bytes, size_t count)
{
    printf("%s ", name);
    for (size_t at = 0; at < count; at++)
        printf("%02x", bytes[at]);
    printf("\n");
}

int main(int argc, char **argv)
{
    static const uint8_t position_64[8] = { 64 };
    struct fctl_ring ring;
    struct fctl_poster poster;
    struct fctl_reader reader;
    struct fctl_completion completion;
    union fctl_extension extension;
    bool must_ring;

    if (argc != 4)
        return 2;
    put(0, argv[1]);
    put(1024 + 64 * 64, argv[2]);
    put(1024 + 64 * 64 + 256 * 64, argv[3]);
    memcpy(region + 8 * FCTL_WORD_SQ_HEAD, position_64, 8);
    memcpy(region + 8 * FCTL_WORD_SQ_TICKET, position_64, 8);
    enum fctl_result result = fctl_open(&ring, region, sizeof region);
    if (result != FCTL_OK) {
        fprintf(stderr, "the header does not open: %d\n", (int)result);
        return 1;
    }
    fctl_poster_open(&poster, &ring);
    struct fctl_descriptor start = fctl_start(fctl_subsystem(0, 7), 0xCAFE0001, 0x00808000, 0x00001000, UINT64_C(0x1122334455667788));
    start.flags = FCTL_FLAG_ACCEPTED;
    start.posted = UINT64_C(0x0102030405060708);
    if (fctl_post(&poster, &start, &must_ring) != FCTL_OK || must_ring)
        return 1;
    print("descriptor", region + 1024, 64);

    fctl_reader_open(&reader, &ring);
    if (fctl_take(&reader, &completion, &extension) != FCTL_OK)
        return 1;
    printf("lap %" PRIu32 "\nkind %u\ncc %u\ndisposition %u\nflags %02x\n", completion.lap, completion.kind, completion.cc,
           completion.disposition, completion.flags);
    printf("subsystem %08" PRIx32 "\nintparm %08" PRIx32 "\ntag %016" PRIx64 "\n", completion.subsystem, completion.intparm,
           completion.tag);
    print("scsw", completion.scsw, sizeof completion.scsw);
    printf("code %04x\ntaken %016" PRIx64 "\n", completion.code, completion.taken);
    printf("issued_after %" PRIu32 "\ncompleted_after %" PRIu32 "\ndelivered_after %" PRIu32 "\nturn %08" PRIx32 "\n",
           completion.issued_after, completion.completed_after, completion.delivered_after, completion.turn);
    print("esw", extension.irb.esw, 20);
    print("ecw", extension.irb.ecw, 32);
    return 0;
}
