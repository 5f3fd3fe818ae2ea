// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demo's volume: made, or taken and emptied; and its final image compared with the guest's model.

use super::DemoError;
use crate::cli::DemoOptions;
use crate::content::{block, judge, Block, Judgement, BLOCK_BYTES, BLOCK_WORDS};
use crate::guest::model::Model;
use crate::shared::{Layout, LEAST_OWNED, MOST_OWNED};
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The size of a volume that is made, if nothing is said.
const DEFAULT_BYTES: u64 = 64 << 20;
/// How much is written or read at once.
const CHUNK: usize = 1 << 20;

/// A volume that is ready: locked, and empty where the demo will write.
pub struct DemoVolume {
    /// The volume.
    pub volume: Arc<Volume>,
    /// A second open file of the same, to empty it and to read the image.
    file: File,
    /// Where it is, or was.
    pub path: PathBuf,
    /// It goes with the demo.
    pub temporary: bool,
    /// Which blocks are used.
    pub layout: Layout,
}

impl DemoVolume {
    /// Makes or opens the volume that the options ask for.
    pub fn prepare(options: &DemoOptions) -> Result<Self, DemoError> {
        let temporary = options.volume.is_none();
        let (path, directory) = match &options.volume {
            Some(path) => (path.clone(), None),
            None => {
                let parent = temporary_directory();
                let made = tempfile::Builder::new().prefix("fctl-demo-").tempdir_in(&parent);
                let directory = made.map_err(|source| DemoError::Host { what: "make a directory in", path: parent, source })?;
                (directory.path().join("volume"), Some(directory))
            }
        };
        let there = path.symlink_metadata().is_ok();
        let size = options.size.or(temporary.then_some(DEFAULT_BYTES));
        if !there {
            let Some(bytes) = size else { return Err(DemoError::NoVolume(path)) };
            // Before anything is made: would it do?
            layout(options, bytes, &path)?;
            let made = OpenOptions::new().write(true).create_new(true).open(&path).and_then(|file| file.set_len(bytes));
            made.map_err(|source| DemoError::Host { what: "make volume", path: path.clone(), source })?;
        }
        let wanted = VolumeOptions::default().with_durability(options.durability.into()).with_cache(options.cache.into());
        let volume = Arc::new(Volume::open(&path, wanted)?);
        if let Some(asked) = size.filter(|&asked| asked != volume.bytes()) {
            return Err(DemoError::OtherSize { path, bytes: volume.bytes(), asked });
        }
        let layout = layout(options, volume.bytes(), &path)?;
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|source| DemoError::Host { what: "open volume", path: path.clone(), source })?;
        let prepared = Self { volume, file, path, temporary, layout };
        if there && !options.overwrite {
            prepared.refuse_foreign_blocks()?;
        }
        prepared.empty()?;
        // From here on the temporary file lives as long as it is open, however the demo ends.
        drop(directory);
        Ok(prepared)
    }

    /// Nobody's data is written over unasked: every block must be empty or a former demo's.
    fn refuse_foreign_blocks(&self) -> Result<(), DemoError> {
        self.each_block(|number, words| {
            let own = words.iter().all(|&word| word == 0)
                || (words[0] == crate::content::MAGIC
                    && words[2] == u64::from(number)
                    && u32::try_from(words[3]).is_ok_and(|generation| *words == block(words[1], words[2], generation)));
            if own {
                Ok(())
            } else {
                Err(DemoError::ForeignBlock { path: self.path.clone(), block: number })
            }
        })
    }

    /// Writes zeros to all blocks that the demo uses.
    fn empty(&self) -> Result<(), DemoError> {
        let zeros = vec![0; CHUNK];
        let bytes = u64::from(self.layout.blocks()) * BLOCK_BYTES as u64;
        let host = |source| DemoError::Host { what: "empty volume", path: self.path.clone(), source };
        let mut at = 0;
        while at < bytes {
            let length = usize::try_from(bytes - at).unwrap_or(CHUNK).min(CHUNK);
            self.file.write_all_at(&zeros[..length], at).map_err(host)?;
            at += length as u64;
        }
        self.file.sync_data().map_err(host)
    }

    /// Calls `visit` for each block that the demo uses, as it is on the volume.
    fn each_block(&self, mut visit: impl FnMut(u32, &Block) -> Result<(), DemoError>) -> Result<(), DemoError> {
        let mut bytes = vec![0; CHUNK];
        let blocks = self.layout.blocks();
        let mut next = 0;
        while next < blocks {
            let count = usize::try_from(blocks - next).unwrap_or(0).min(CHUNK / BLOCK_BYTES);
            let chunk = &mut bytes[..count * BLOCK_BYTES];
            let read = self.file.read_exact_at(chunk, u64::from(next) * BLOCK_BYTES as u64);
            read.map_err(|source| DemoError::Host { what: "read volume", path: self.path.clone(), source })?;
            for block in chunk.chunks_exact(BLOCK_BYTES) {
                let mut words = [0; BLOCK_WORDS];
                for (word, bytes) in words.iter_mut().zip(block.chunks_exact(8)) {
                    *word = bytes.try_into().map_or(0, u64::from_le_bytes);
                }
                visit(next, &words)?;
                next += 1;
            }
        }
        Ok(())
    }

    /// Compares the image with the guest's model.
    pub fn compare(&self, model: &Model, seed: u64) -> Result<Image, DemoError> {
        let mut image = Image::default();
        self.each_block(|number, words| {
            let may_be = model.block(number);
            image.blocks += 1;
            image.written += u64::from(words.iter().any(|&word| word != 0));
            image.uncertain += u64::from(!may_be.is_certain());
            let fault = match judge(words, seed, u64::from(number), may_be.old, may_be.new) {
                Judgement::Right(_) => return Ok(()),
                Judgement::Other(found) => {
                    image.missing += 1;
                    format!(
                        "block {number} of the volume holds generation {found} instead of {}: a write was answered and not done",
                        may_be.new
                    )
                }
                Judgement::Wrong(bytes) => {
                    image.wrong += 1;
                    format!(
                        "block {number} of the volume differs in {bytes} of {BLOCK_BYTES} bytes from generation {}",
                        may_be.new
                    )
                }
            };
            image.first_fault.get_or_insert(fault);
            Ok(())
        })?;
        Ok(image)
    }
}

/// What the final image is like.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Blocks looked at.
    pub blocks: u64,
    /// Blocks that hold something.
    pub written: u64,
    /// Blocks of which the model allows two generations.
    pub uncertain: u64,
    /// Blocks of another generation than the model's.
    pub missing: u64,
    /// Blocks that are nobody's.
    pub wrong: u64,
    /// The first of them, in words.
    pub first_fault: Option<String>,
}

/// How many blocks each subchannel gets of a volume of this size.
fn layout(options: &DemoOptions, bytes: u64, path: &Path) -> Result<Layout, DemoError> {
    let subchannels = u32::from(options.subchannels);
    let owned = bytes / BLOCK_BYTES as u64 / u64::from(subchannels);
    let owned = u32::try_from(owned).unwrap_or(MOST_OWNED).min(MOST_OWNED);
    if owned < LEAST_OWNED {
        let needed = u64::from(subchannels) * u64::from(LEAST_OWNED) * BLOCK_BYTES as u64;
        return Err(DemoError::TooSmall { path: path.into(), bytes, subchannels, needed });
    }
    Ok(Layout { subchannels, owned })
}

/// A place for files that is not itself memory, if there is one.
fn temporary_directory() -> PathBuf {
    const TMPFS: u64 = 0x0102_1994;
    let on_disk = |path: &PathBuf| {
        rustix::fs::statfs(path).is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| kind != TMPFS))
            && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
    };
    let usual = std::env::temp_dir();
    [usual.clone(), PathBuf::from("/var/tmp")].into_iter().find(on_disk).unwrap_or(usual)
}
