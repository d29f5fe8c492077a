//! `type=tar`: the root file system of the target as one tar, with owners, hard
//! links, extended attributes and devices.

use std::io::{BufWriter, Write};

use store::layer::{Entry, EntryKind, TarStream, TarStreamError};

use super::root_files::{RootEntry, RootError, RootFiles, RootKind};

/// Headers are gathered until they have this many bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Why the tar could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootTarError {
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Tar(#[from] TarStreamError),
}

/// Writes the tar.
pub(crate) fn write(root: &RootFiles, output: &mut dyn Write) -> Result<(), RootTarError> {
    let mut tar = TarStream::new(BufWriter::with_capacity(BUFFER_BYTES, output));
    for entry in root.entries() {
        let RootEntry {
            path,
            kind,
            metadata,
        } = entry?;
        let kind = match kind {
            RootKind::File { size, content } => {
                tar.add_file(path, metadata.clone(), size, &mut content.open()?)?;
                continue;
            }
            RootKind::Directory => EntryKind::Directory,
            RootKind::HardLink { first } => EntryKind::HardLink { target: first },
            RootKind::Symlink { target } => EntryKind::Symlink {
                target: target.into(),
            },
            RootKind::CharacterDevice { major, minor } => {
                EntryKind::CharacterDevice { major, minor }
            }
            RootKind::BlockDevice { major, minor } => EntryKind::BlockDevice { major, minor },
            RootKind::Fifo => EntryKind::Fifo,
        };
        tar.add(&Entry {
            path,
            kind,
            metadata: metadata.clone(),
        })?;
    }
    tar.finish()?;
    Ok(())
}
