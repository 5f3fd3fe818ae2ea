// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring header: what both sides must agree on before the first descriptor (SPEC, "Header").

use crate::lane::Lane;
use crate::memory::WordMemory;
use core::fmt;
use core::sync::atomic::Ordering;

/// The first eight bytes of a formatted ring: `FCTLRING`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"FCTLRING");
/// The major version of this ABI; another one is not understood.
pub const MAJOR: u16 = 1;
/// The minor version of this ABI; any is accepted, it only ever adds feature bits.
pub const MINOR: u16 = 0;
/// The length of the header in bytes.
pub const HEADER_BYTES: u32 = 1024;
/// The alignment of the region and of the areas in it, in bytes: two cache lines, because adjacent lines are fetched in pairs.
pub const ALIGNMENT: u64 = 128;
/// The size of a descriptor and of a completion, in bytes: the least stride.
pub const ENTRY_BYTES: u32 = 64;
/// The size of a completion's extension, in bytes: the least extension stride.
pub const EXTENSION_BYTES: u32 = 64;
/// The least number of submission entries.
pub const LEAST_ENTRIES: u32 = 8;
/// The greatest number of submission entries; the completion ring may have twice as many.
pub const MOST_ENTRIES: u32 = 1 << 16;
/// The least reserve for HSCH, CSCH and XSCH.
pub const LEAST_RESERVE: u32 = 8;
/// Required features that this version understands: none are defined yet.
pub const KNOWN_FEATURES: u64 = 0;

/// Word index of the epoch, the last word of the header's first line that is used.
const EPOCH: usize = 12;

/// Word indices of the header's shared words. Each side's words are on 128-byte lines of their own.
pub mod word {
    /// Dispatcher: submission entries consumed (lazily).
    pub const SQ_HEAD: usize = 16;
    /// Dispatcher: completion entries produced, written when the ring is detached.
    pub const CQ_TAIL: usize = 17;
    /// Dispatcher: sleep word; odd while a doorbell is wanted.
    pub const SQ_SLEEP: usize = 32;
    /// Dispatcher: fence reason; zero while the ring is served.
    pub const FENCE: usize = 33;
    /// Guest: completion entries consumed (lazily).
    pub const CQ_HEAD: usize = 48;
    /// Guest: sleep word; odd while a notification is wanted.
    pub const CQ_SLEEP: usize = 64;
    /// Guest only: the ticket of many posters; a single poster keeps its position here too when it stops.
    pub const SQ_TICKET: usize = 80;
    /// Guest only: completion entries charged by many posters.
    pub const CHARGED: usize = 81;
    /// Guest only: completion entries given back by the reader of completions.
    pub const RELEASED: usize = 96;
}

/// Which clock the times in descriptors and completions are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum ClockId {
    /// The two sides share no clock: times posted are not used.
    #[default]
    None = 0,
    /// Nanoseconds of the host's `CLOCK_MONOTONIC`.
    Monotonic = 1,
}

/// Sizes of a ring pair, as somebody wishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSizes {
    /// Submission entries: a power of two, [`LEAST_ENTRIES`] to [`MOST_ENTRIES`].
    pub submission_entries: u32,
    /// Completion entries: a power of two, at least twice the submission entries.
    pub completion_entries: u32,
    /// Completion entries that only HSCH, CSCH and XSCH may use up; at least [`LEAST_RESERVE`].
    pub reserve: u32,
    /// The clock of posted times.
    pub clock: ClockId,
}

impl RingSizes {
    /// `submission_entries`, four times as many completion entries, and the least reserve.
    pub const fn new(submission_entries: u32) -> Self {
        Self {
            submission_entries,
            completion_entries: submission_entries.saturating_mul(4),
            reserve: LEAST_RESERVE,
            clock: ClockId::Monotonic,
        }
    }
}

/// Why a ring cannot be formatted or attached. The text names the field, its value and what is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The region is smaller than the rings need.
    RegionTooSmall {
        /// Bytes there are.
        bytes: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// The magic is not [`MAGIC`].
    Magic {
        /// What stands there.
        found: u64,
    },
    /// The major version is not [`MAJOR`].
    Version {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// Required features that are not known here.
    Features {
        /// The unknown bits.
        unknown: u64,
    },
    /// A field is out of its range.
    Field {
        /// Name of the field in the specification.
        name: &'static str,
        /// Its value.
        found: u64,
        /// What would be accepted.
        accepted: &'static str,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RegionTooSmall { bytes, needed } => write!(f, "region of {bytes} bytes is too small: the rings need {needed}"),
            Self::Magic { found } => write!(f, "magic is {found:#018x}: {MAGIC:#018x} (\"FCTLRING\") is accepted"),
            Self::Version { major, minor } => write!(f, "ring version is {major}.{minor}: {MAJOR}.x is accepted"),
            Self::Features { unknown } => {
                write!(f, "required features {unknown:#x} are not known: {KNOWN_FEATURES:#x} is accepted")
            }
            Self::Field { name, found, accepted } => write!(f, "{name} is {found}: {accepted} is accepted"),
        }
    }
}

impl core::error::Error for HeaderError {}

/// A checked header: sizes and places of the two rings and the extension array, all inside the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    sizes: RingSizes,
    submission_stride: u32,
    completion_stride: u32,
    extension_stride: u32,
    submission_offset: u64,
    completion_offset: u64,
    extension_offset: u64,
    epoch: u64,
    minor: u16,
    optional_features: u64,
}

const fn field(name: &'static str, found: u64, accepted: &'static str) -> HeaderError {
    HeaderError::Field { name, found, accepted }
}

const fn low(word: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
    let half = word as u32;
    half
}

const fn high(word: u64) -> u32 {
    low(word >> 32)
}

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl Header {
    /// Lays the two rings out one behind the other, at the least strides.
    ///
    /// # Errors
    /// A size outside what is accepted.
    pub const fn layout(sizes: RingSizes) -> Result<Self, HeaderError> {
        if let Err(error) = check_sizes(&sizes) {
            return Err(error);
        }
        let submission_offset = HEADER_BYTES as u64;
        let completion_offset = submission_offset + sizes.submission_entries as u64 * ENTRY_BYTES as u64;
        let extension_offset = completion_offset + sizes.completion_entries as u64 * ENTRY_BYTES as u64;
        Ok(Self {
            sizes,
            submission_stride: ENTRY_BYTES,
            completion_stride: ENTRY_BYTES,
            extension_stride: EXTENSION_BYTES,
            submission_offset,
            completion_offset,
            extension_offset,
            epoch: 1,
            minor: MINOR,
            optional_features: 0,
        })
    }

    /// The sizes agreed on.
    pub const fn sizes(&self) -> RingSizes {
        self.sizes
    }

    /// The bytes from the region's start that header, rings and extensions cover.
    pub const fn region_bytes(&self) -> u64 {
        let submissions = self.submission_offset + self.sizes.submission_entries as u64 * self.submission_stride as u64;
        let completions = self.completion_offset + self.sizes.completion_entries as u64 * self.completion_stride as u64;
        let extensions = self.extension_offset + self.sizes.completion_entries as u64 * self.extension_stride as u64;
        let greater = if submissions > completions { submissions } else { completions };
        if greater > extensions {
            greater
        } else {
            extensions
        }
    }

    /// Which formatting of the region this is.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Writes the header and zeroes the shared words and all slots: the ring becomes valid with the last store.
    ///
    /// Each formatting of a region has an epoch of its own; the header that is returned knows it.
    ///
    /// # Errors
    /// The region is too small.
    pub fn format<M: WordMemory>(mut self, memory: &M) -> Result<Self, HeaderError> {
        let bytes = memory.len() as u64 * 8;
        let needed = self.region_bytes();
        if bytes < needed {
            return Err(HeaderError::RegionTooSmall { bytes, needed });
        }
        #[allow(clippy::cast_possible_truncation, reason = "it is at most the region's length, which is a usize")]
        let words = (needed / 8) as usize;
        if memory.load(0, Ordering::Relaxed) == MAGIC {
            self.epoch = memory.load(EPOCH, Ordering::Relaxed).wrapping_add(1).max(1);
        }
        for index in 0..words {
            memory.store(index, 0, Ordering::Relaxed);
        }
        let identity = [
            pair(u32::from(MAJOR) | u32::from(self.minor) << 16, HEADER_BYTES),
            0,
            self.optional_features,
            pair(self.sizes.submission_entries, self.sizes.completion_entries),
            pair(self.submission_stride, self.completion_stride),
            pair(self.extension_stride, self.sizes.reserve),
            self.submission_offset,
            self.completion_offset,
            self.extension_offset,
            needed,
            self.sizes.clock as u64,
            self.epoch,
        ];
        for (index, value) in (1..).zip(identity) {
            memory.store(index, value, Ordering::Relaxed);
        }
        // Pairs with the Acquire in `Header::read`: who sees the magic sees the header.
        memory.store(0, MAGIC, Ordering::Release);
        Ok(self)
    }

    /// Reads the header once into a copy and checks the copy.
    ///
    /// # Errors
    /// Each rule of the specification that the header breaks, the first one found.
    pub fn read<M: WordMemory>(memory: &M) -> Result<Self, HeaderError> {
        let bytes = memory.len() as u64 * 8;
        if bytes < u64::from(HEADER_BYTES) {
            return Err(HeaderError::RegionTooSmall { bytes, needed: u64::from(HEADER_BYTES) });
        }
        // Pairs with the Release in `Header::format`.
        let magic = memory.load(0, Ordering::Acquire);
        if magic != MAGIC {
            return Err(HeaderError::Magic { found: magic });
        }
        let mut words = [0u64; 13];
        for (index, word) in words.iter_mut().enumerate() {
            *word = memory.load(index, Ordering::Relaxed);
        }
        let [_, version, required, optional, entries, strides, extension, submissions, completions, extensions, length, clock, epoch] =
            words;
        #[allow(clippy::cast_possible_truncation, reason = "the version's halves are what is asked for")]
        let (major, minor) = (version as u16, (version >> 16) as u16);
        if major != MAJOR {
            return Err(HeaderError::Version { major, minor });
        }
        if required & !KNOWN_FEATURES != 0 {
            return Err(HeaderError::Features { unknown: required & !KNOWN_FEATURES });
        }
        if high(version) < HEADER_BYTES || u64::from(high(version)) > bytes {
            return Err(field("header length", u64::from(high(version)), "at least 1024 and at most the region"));
        }
        let clock = match clock {
            0 => ClockId::None,
            1 => ClockId::Monotonic,
            other => return Err(field("clock id", other, "0 (none) or 1 (monotonic)")),
        };
        let sizes =
            RingSizes { submission_entries: low(entries), completion_entries: high(entries), reserve: high(extension), clock };
        check_sizes(&sizes)?;
        let header = Self {
            sizes,
            submission_stride: low(strides),
            completion_stride: high(strides),
            extension_stride: low(extension),
            submission_offset: submissions,
            completion_offset: completions,
            extension_offset: extensions,
            epoch,
            minor,
            optional_features: optional,
        };
        header.check_places(u64::from(high(version)), length, bytes)?;
        Ok(header)
    }

    fn check_places(&self, header_bytes: u64, length: u64, bytes: u64) -> Result<(), HeaderError> {
        if length > bytes {
            return Err(HeaderError::RegionTooSmall { bytes, needed: length });
        }
        for (name, stride) in [
            ("descriptor stride", self.submission_stride),
            ("completion stride", self.completion_stride),
            ("extension stride", self.extension_stride),
        ] {
            if !(64..=4096).contains(&stride) || stride % 64 != 0 {
                return Err(field(name, u64::from(stride), "a multiple of 64 from 64 to 4096"));
            }
        }
        let areas = [
            ("submission ring offset", self.submission_offset, self.sizes.submission_entries, self.submission_stride),
            ("completion ring offset", self.completion_offset, self.sizes.completion_entries, self.completion_stride),
            ("extension offset", self.extension_offset, self.sizes.completion_entries, self.extension_stride),
        ];
        for (index, &(name, offset, entries, stride)) in areas.iter().enumerate() {
            let area = u64::from(entries) * u64::from(stride);
            if offset % ALIGNMENT != 0 || offset < header_bytes || offset > length || length - offset < area {
                return Err(field(name, offset, "a multiple of 128, behind the header, with the whole area inside the region"));
            }
            for &(_, other, other_entries, other_stride) in &areas[..index] {
                if offset < other + u64::from(other_entries) * u64::from(other_stride) && other < offset + area {
                    return Err(field(name, offset, "a place where the area overlaps no other"));
                }
            }
        }
        Ok(())
    }

    const fn lane(offset: u64, stride: u32, entries: u32) -> Lane {
        #[allow(clippy::cast_possible_truncation, reason = "checked to lie inside the region, whose length is a usize")]
        let first_word = (offset / 8) as usize;
        Lane::new(first_word, stride as usize / 8, entries.trailing_zeros())
    }

    /// The submission ring's slots.
    pub const fn submission_lane(&self) -> Lane {
        Self::lane(self.submission_offset, self.submission_stride, self.sizes.submission_entries)
    }

    /// The completion ring's slots.
    pub const fn completion_lane(&self) -> Lane {
        Self::lane(self.completion_offset, self.completion_stride, self.sizes.completion_entries)
    }

    /// The extension array, one entry beside each completion slot.
    pub const fn extension_lane(&self) -> Lane {
        Self::lane(self.extension_offset, self.extension_stride, self.sizes.completion_entries)
    }
}

const fn check_sizes(sizes: &RingSizes) -> Result<(), HeaderError> {
    let RingSizes { submission_entries, completion_entries, reserve, .. } = *sizes;
    if !submission_entries.is_power_of_two() || submission_entries < LEAST_ENTRIES || submission_entries > MOST_ENTRIES {
        return Err(field("submission entries", submission_entries as u64, "a power of two from 8 to 65536"));
    }
    if !completion_entries.is_power_of_two()
        || completion_entries < 2 * submission_entries
        || completion_entries > 8 * MOST_ENTRIES
    {
        return Err(field(
            "completion entries",
            completion_entries as u64,
            "a power of two from twice the submission entries to 524288",
        ));
    }
    if reserve < LEAST_RESERVE || reserve > completion_entries / 2 {
        return Err(field("reserve", reserve as u64, "8 to half the completion entries"));
    }
    Ok(())
}
