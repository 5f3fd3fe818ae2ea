// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file that is read: temporary, in the page cache, each 4 KiB of it stamped with its own number.

use crate::error::{Doing as _, Measured};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use tempfile::NamedTempFile;

/// Bytes in one read.
pub const PIECE_BYTES: usize = 4096;

/// A stamped file; it goes with this value.
#[derive(Debug)]
pub struct VolumeFile {
    file: NamedTempFile,
    pieces: u64,
}

impl VolumeFile {
    /// Writes a file of `bytes` bytes into `directory`, brings it to the medium, and reads it once.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn new(directory: &Path, bytes: u64) -> Measured<Self> {
        let pieces = bytes / PIECE_BYTES as u64;
        let mut file = tempfile::Builder::new().prefix("fctl-bench-").tempfile_in(directory).doing("make the volume")?;
        let mut chunk = Vec::with_capacity(256 * PIECE_BYTES);
        for piece in 0..pieces {
            for word in 0..PIECE_BYTES as u64 / 8 {
                chunk.extend(stamp(piece).wrapping_add(word).to_le_bytes());
            }
            if chunk.len() == chunk.capacity() || piece + 1 == pieces {
                file.write_all(&chunk).doing("write the volume")?;
                chunk.clear();
            }
        }
        // Dirty pages would be written back in the middle of a measurement.
        file.as_file().sync_all().doing("write the volume")?;
        let mut again = File::open(file.path()).doing("read the volume")?;
        let mut buffer = vec![0; 1 << 20];
        while again.read(&mut buffer).doing("read the volume")? > 0 {}
        Ok(Self { file, pieces })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// How many pieces of [`PIECE_BYTES`] it has.
    pub fn pieces(&self) -> u64 {
        self.pieces
    }
}

/// The first word of a piece. Never zero, and no two pieces share it.
#[inline(always)]
pub const fn stamp(piece: u64) -> u64 {
    (piece + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Random numbers (xorshift64*), the same for both sides.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins anew.
    pub const fn new() -> Self {
        Self(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`, which is below 2^32.
    #[inline(always)]
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) * bound) >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::{stamp, Random, VolumeFile, PIECE_BYTES};

    #[test]
    fn each_piece_carries_its_stamp() {
        let volume = VolumeFile::new(&std::env::temp_dir(), 3 * PIECE_BYTES as u64).unwrap();
        let bytes = std::fs::read(volume.path()).unwrap();
        assert_eq!((volume.pieces(), bytes.len()), (3, 3 * PIECE_BYTES));
        for (piece, chunk) in (0..).zip(bytes.chunks(PIECE_BYTES)) {
            assert_eq!(chunk[..8], stamp(piece).to_le_bytes());
        }
    }

    #[test]
    fn random_numbers_stay_below_their_bound_and_reach_it() {
        let mut random = Random::new();
        let mut seen = [false; 10];
        for _ in 0..1000 {
            seen[usize::try_from(random.below(10)).unwrap()] = true;
        }
        assert_eq!(seen, [true; 10]);
    }
}
