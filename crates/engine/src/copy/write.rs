//! Writes planned entries as a layer.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use store::Store;
use store::layer::{
    ContentHash, Entry, EntryKind, EntryPath, Layer, LayerError, LayerOptions, LayerWriter,
    PathError,
};

use super::archive::Spools;
use super::context::Context;
use super::files::{Files, FilesError, Node, NodeKind, in_context};
use super::layer_files::LayerFiles;
use super::place::{Content, Planned, PlannedKind};
use super::programs::{Header, Program, Programs};
use super::stage::StageFiles;

/// A source of files that is open for reading.
pub(crate) enum OpenSource<'a> {
    /// The build context.
    Context(&'a Context),
    /// What was fetched for the step.
    Fetched(Box<Context>),
    /// A stage: its tree, and where to read the contents of its layers, by
    /// position.
    Stage {
        files: StageFiles,
        layers: Vec<LayerFiles>,
    },
    /// A text in the Dockerfile, which has no files.
    Inline,
}

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("could not read {path}")]
    Read { path: EntryPath, source: io::Error },
    /// Of a context; in a layer, what changes is damaged.
    #[error(
        "{} changed while it was being copied: build again when it is at rest",
        in_context(path)
    )]
    Changed { path: EntryPath },
    #[error("{path} cannot be copied: its copy in the store is damaged")]
    Damaged {
        path: EntryPath,
        /// The source's number, and the position of the layer in it.
        number: usize,
        layer: usize,
    },
    #[error("{path} is a socket, which no layer can hold")]
    Socket { path: EntryPath },
}

/// A layer, and what was noticed while it was written.
pub(crate) struct Written {
    pub layer: Layer,
    /// Programs among its files.
    pub programs: Vec<Program>,
}

/// Writes a layer from its plan, which is sorted.
pub(crate) fn write(
    store: &Store,
    options: LayerOptions,
    planned: Vec<Planned>,
    sources: &[OpenSource<'_>],
    spools: &Spools,
) -> Result<Written, WriteError> {
    let mut programs = Programs::default();
    let mut writer = LayerWriter::create(store, options)?;
    for Planned {
        path,
        metadata,
        kind,
    } in planned
    {
        let kind = match kind {
            PlannedKind::File { size, content, .. } => {
                let mut header = Header::default();
                let (to, mode) = (path.clone(), metadata.mode);
                match content {
                    Content::Inline(bytes) => {
                        writer.add_file(path, metadata, size, None, &mut bytes.as_slice())?;
                    }
                    Content::Spooled { spool, offset } => {
                        let mut range = Range {
                            file: spools.file(spool),
                            offset,
                            left: size,
                        };
                        let mut watched = header.of(&mut range);
                        writer.add_file(path, metadata, size, None, &mut watched)?;
                    }
                    Content::Source {
                        source,
                        path: from,
                        node,
                    } => {
                        let written = open(&sources[source], &from, &node).and_then(
                            |(mut file, expected)| {
                                let mut watched = header.of(&mut file);
                                let found =
                                    writer.add_file(path, metadata, size, None, &mut watched)?;
                                if found == expected {
                                    Ok(())
                                } else {
                                    Err(WriteError::Changed { path: from.clone() })
                                }
                            },
                        );
                        written.map_err(|error| blame(error, source, sources, from))?;
                    }
                }
                programs.note(&to, mode, &header);
                continue;
            }
            PlannedKind::Directory => EntryKind::Directory,
            PlannedKind::HardLink { target } => EntryKind::HardLink { target },
            PlannedKind::Special(NodeKind::Symlink(target)) => EntryKind::Symlink { target },
            PlannedKind::Special(NodeKind::CharacterDevice { major, minor }) => {
                EntryKind::CharacterDevice { major, minor }
            }
            PlannedKind::Special(NodeKind::BlockDevice { major, minor }) => {
                EntryKind::BlockDevice { major, minor }
            }
            PlannedKind::Special(NodeKind::Fifo) => EntryKind::Fifo,
            PlannedKind::Special(NodeKind::Socket) => return Err(WriteError::Socket { path }),
            PlannedKind::Special(NodeKind::Directory | NodeKind::File { .. }) => {
                unreachable!("directories and files have plans of their own")
            }
        };
        writer.add(Entry {
            path,
            kind,
            metadata,
        })?;
    }
    Ok(Written {
        layer: writer.finish()?,
        programs: programs.into_list(),
    })
}

/// Opens a file of a source, and says what its content must turn out to be.
fn open<'s>(
    source: &'s OpenSource<'_>,
    path: &EntryPath,
    node: &Node,
) -> Result<(Box<dyn Read + 's>, ContentHash), WriteError> {
    let failed = |source| WriteError::Read {
        path: path.clone(),
        source,
    };
    match source {
        OpenSource::Context(context) => from_context(context, path, node),
        OpenSource::Fetched(context) => from_context(context, path, node),
        OpenSource::Stage { files, layers } => {
            let (layer, place) = files.place_of_content(path).ok_or_else(|| {
                failed(io::Error::other("a hard link in the image leads nowhere"))
            })?;
            let file = layers[layer]
                .open(&place, files.extent(path))
                .map_err(failed)?;
            Ok((file, files.content(path, node)?))
        }
        OpenSource::Inline => unreachable!("inline texts are not read from a source"),
    }
}

fn from_context<'s>(
    context: &Context,
    path: &EntryPath,
    node: &Node,
) -> Result<(Box<dyn Read + 's>, ContentHash), WriteError> {
    let file = context.open_file(path).map_err(|source| WriteError::Read {
        path: path.clone(),
        source,
    })?;
    Ok((Box::new(file), context.content(path, node)?))
}

/// What changes in an unpacked layer, which nobody writes to, is damaged.
fn blame(
    error: WriteError,
    number: usize,
    sources: &[OpenSource<'_>],
    path: EntryPath,
) -> WriteError {
    let OpenSource::Stage { files, .. } = &sources[number] else {
        return error;
    };
    let is_damage = matches!(
        error,
        WriteError::Changed { .. }
            | WriteError::Read { .. }
            | WriteError::Layer(LayerError::Changed { .. } | LayerError::Read { .. })
    );
    match files.place_of_content(&path) {
        Some((layer, _)) if is_damage => WriteError::Damaged {
            path,
            number,
            layer,
        },
        Some(_) | None => error,
    }
}

/// A part of a spool file.
struct Range<'f> {
    file: &'f File,
    offset: u64,
    left: u64,
}

impl Read for Range<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
