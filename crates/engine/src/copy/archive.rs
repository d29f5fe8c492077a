//! Archives that ADD unpacks: read once, their files spooled to disk, because a
//! layer is sorted and an archive is not.

use std::io::{self, Read, Write};

use store::layer::{Archive, ArchiveError, ArchiveKind, EntryPath, Limits};
use store::scratch::{Scratch, ScratchFile};

use super::files::{NodeKind, in_context};
use super::place::{Content, Destination, PlaceError, Placer, PlannedKind};

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("the archive {} cannot be unpacked", in_context(path))]
    Archive {
        path: EntryPath,
        source: ArchiveError,
    },
    #[error("the archive {} cannot be unpacked", in_context(path))]
    Read { path: EntryPath, source: io::Error },
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Disk(#[from] store::DiskError),
}

/// The contents of the archives of one step.
#[derive(Default)]
pub(crate) struct Spools(Vec<ScratchFile>);

impl Spools {
    /// The spool file with a number.
    pub(crate) fn file(&self, number: usize) -> &std::fs::File {
        self.0[number].file()
    }

    /// Unpacks `input` below `destination` if it is an archive, by its content
    /// and not its name (spec row C22); says whether it was.
    pub(crate) fn unpack(
        &mut self,
        path: &EntryPath,
        input: impl Read + Send,
        destination: &Destination,
        placer: &mut Placer<'_>,
        scratch: &Scratch,
    ) -> Result<bool, UnpackError> {
        let refused = |source| UnpackError::Archive {
            path: path.clone(),
            source,
        };
        let Some(mut archive) = Archive::open(input, Limits::default()).map_err(refused)? else {
            return Ok(false);
        };
        let spool_file = scratch.file()?;
        let mut spool = io::BufWriter::with_capacity(256 * 1024, spool_file.file());
        let mut offset = 0;
        placer.target_directory(destination)?;
        while let Some(entry) = archive.next_entry().map_err(refused)? {
            // The archive's own root leaves the destination as it is (spec row C22, A32).
            if entry.path.is_root() {
                continue;
            }
            let kind = match entry.kind {
                ArchiveKind::Directory => PlannedKind::Directory,
                ArchiveKind::File { size } => {
                    let copied =
                        io::copy(&mut archive, &mut spool).map_err(|source| UnpackError::Read {
                            path: path.clone(),
                            source,
                        })?;
                    debug_assert_eq!(copied, size, "an archive gives the bytes that it declares");
                    let content = Content::Spooled {
                        spool: self.0.len(),
                        offset,
                    };
                    offset += copied;
                    PlannedKind::File {
                        size: copied,
                        content,
                        link: None,
                    }
                }
                ArchiveKind::Symlink { target } => PlannedKind::Special(NodeKind::Symlink(target)),
                ArchiveKind::HardLink { target } => {
                    placer.unpacked_link(&entry.path, &target, destination)?;
                    continue;
                }
                ArchiveKind::CharacterDevice { major, minor } => {
                    PlannedKind::Special(NodeKind::CharacterDevice { major, minor })
                }
                ArchiveKind::BlockDevice { major, minor } => {
                    PlannedKind::Special(NodeKind::BlockDevice { major, minor })
                }
                ArchiveKind::Fifo => PlannedKind::Special(NodeKind::Fifo),
            };
            placer.unpacked(&entry.path, entry.metadata, kind, destination)?;
        }
        spool.flush().map_err(|source| UnpackError::Read {
            path: path.clone(),
            source,
        })?;
        drop(spool);
        self.0.push(spool_file);
        Ok(true)
    }
}
