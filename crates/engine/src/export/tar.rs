//! `type=tar`: the root file systems of the targets as one tar, with owners, hard
//! links, extended attributes and devices.

use std::collections::HashSet;
use std::io::{BufWriter, Write};

use store::layer::{Entry, EntryKind, EntryPath, Metadata, TarStream, TarStreamError};

use super::platform_roots::{ATTESTATION_MODE, PlatformRoot};
use super::root_files::{RootEntry, RootError, RootKind};

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
pub(crate) fn write(roots: &[PlatformRoot], output: &mut dyn Write) -> Result<(), RootTarError> {
    let mut tar = TarStream::new(BufWriter::with_capacity(BUFFER_BYTES, output));
    // Files of several platforms in one directory are the same where their names are.
    let mut written = HashSet::new();
    for root in roots {
        if let Some(directory) = root.directory_path() {
            tar.add(&Entry {
                path: directory,
                kind: EntryKind::Directory,
                metadata: root.files.root_metadata().clone(),
            })?;
        }
        write_root(&mut tar, root, &mut written)?;
        for file in root.attestations()? {
            let metadata = Metadata::root_owned(ATTESTATION_MODE, file.epoch_seconds);
            let (path, bytes) = (root.place(&file.path), file.bytes);
            tar.add_file(path, metadata, bytes.len() as u64, &mut &*bytes)?;
        }
    }
    tar.finish()?;
    Ok(())
}

fn write_root<W: Write>(
    tar: &mut TarStream<W>,
    root: &PlatformRoot,
    written: &mut HashSet<EntryPath>,
) -> Result<(), RootTarError> {
    for entry in root.files.entries() {
        let RootEntry {
            path,
            kind,
            metadata,
        } = entry?;
        let path = root.place(&path);
        if !written.insert(path.clone()) {
            continue;
        }
        let kind = match kind {
            RootKind::File { size, content } => {
                tar.add_file(path, metadata.clone(), size, &mut content.open()?)?;
                continue;
            }
            RootKind::Directory => EntryKind::Directory,
            RootKind::HardLink { first } => EntryKind::HardLink {
                target: root.place(&first),
            },
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
    Ok(())
}
