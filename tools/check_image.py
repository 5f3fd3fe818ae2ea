#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks the volume that `fctl demo --volume PATH --seed SEED` leaves, from nothing but the seed and the block numbers.

usage: check_image.py PATH [SEED [BLOCKS]]

Every block of 512 bytes is either zeros (never written) or: the word FCTLBLOK, seed, block number, generation, and 60 words of a
SplitMix64 stream that starts from the three; all words are 64 bits, little-endian. BLOCKS limits the check to the first so many
("blocks_used" in the demo's JSON). Exit status: 0 all blocks are right and some are written, 1 not, 2 the image cannot be read.
"""
import struct
import sys

MASK = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15


def mix(z):
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
    return z ^ z >> 31


def block(seed, number, generation):
    state = mix((seed + number * GAMMA + generation * 0xD1B54A32D192ED03) & MASK)
    words = [int.from_bytes(b"FCTLBLOK", "little"), seed, number, generation]
    words += [mix((state + step * GAMMA) & MASK) for step in range(1, 61)]
    return struct.pack("<64Q", *words)


def main(path, seed=1, blocks=None):
    written = wrong = number = 0
    with open(path, "rb") as image:
        while blocks is None or number < blocks:
            found = image.read(512)
            if not found:
                break
            if any(found):
                generation = struct.unpack_from("<Q", found.ljust(32, b"\0"), 24)[0]
                written += 1
                if not 0 < generation < 2**32 or found != block(seed, number, generation):
                    wrong += 1
                    if wrong <= 5:
                        print(f"block {number} is not what seed {seed} makes of generation {generation}")
            number += 1
    print(f"{path}: {number} blocks, {written} written, {wrong} wrong")
    return 0 if written and not wrong else 1


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    try:
        sys.exit(main(sys.argv[1], *(int(number, 0) for number in sys.argv[2:])))
    except (OSError, ValueError) as error:
        print(f"check_image.py: {error}", file=sys.stderr)
        sys.exit(2)
