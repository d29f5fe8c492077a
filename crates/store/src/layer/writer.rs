//! Writes a layer into the store in one pass: entries in; tar, diff id,
//! compression, digest and index out.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::Arc;

use oci::{Compression, Descriptor, DiffId, MediaType};

use super::codec::{Codec, default_level, levels};
use super::compress::{Output, Packed, Packer};
use super::entries::EntriesWriter;
use super::tar_writer::{self, TarError};
use super::{
    ContentHash, ContentHasher, Entry, EntryKind, EntryPath, Extents, LayerIndex, Metadata,
    SMALL_FILE_BYTES_MAX, SeekTable,
};
use crate::blob::BlobWriter;
use crate::disk::DiskError;
use crate::store::Store;

/// How a layer is written. Every field but `threads` decides the bytes of the
/// blob, so they belong into the key of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerOptions {
    /// The compression, which decides the media type.
    pub compression: Compression,
    /// Its level ([`super::levels`]); `None` is [`super::default_level`].
    pub level: Option<i32>,
    /// Threads that hash and compress, for all layers of a store together.
    /// Never changes a byte.
    pub threads: NonZeroUsize,
}

/// A layer that is in the store: blob and index.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Of the blob, with its OCI media type.
    pub descriptor: Descriptor,
    /// Of the tar.
    pub diff_id: DiffId,
    /// What is in it.
    pub index: Arc<LayerIndex>,
}

/// Why an entry or a layer could not be written. After an error of
/// [`LayerWriter::add`] or [`LayerWriter::add_file`] the layer cannot be
/// finished.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The compression has no such level.
    #[error("{compression:?} has no level {level}: expected {first} to {last}")]
    Level {
        /// The compression.
        compression: Compression,
        /// What was asked for.
        level: i32,
        /// The lowest level.
        first: i32,
        /// The highest level.
        last: i32,
    },
    /// A path that is not behind the one before.
    #[error("`{path}` was added to a layer behind `{previous}`")]
    Order {
        /// What was to be added.
        path: EntryPath,
        /// What was added before.
        previous: EntryPath,
    },
    /// An entry that a tar cannot hold.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A file with content was added without it.
    #[error("`{0}` was added to a layer without its content")]
    NoContent(EntryPath),
    /// A hard link to something that is not in front of it in the layer.
    #[error("the hard link `{path}` names `{target}`, which is not an earlier file of its layer")]
    Link {
        /// The link.
        path: EntryPath,
        /// What it names.
        target: EntryPath,
    },
    /// A file that changed while it was read.
    #[error("`{path}` changed while it was read: it had {expected} bytes and then {}", found.map_or("more".to_owned(), |found| found.to_string()))]
    Changed {
        /// The file.
        path: EntryPath,
        /// Its size when it was looked at.
        expected: u64,
        /// The bytes that came; `None` when there were more than expected.
        found: Option<u64>,
    },
    /// A file that could not be read.
    #[error("could not read `{path}`")]
    Read {
        /// The file.
        path: EntryPath,
        /// Why.
        source: io::Error,
    },
    /// An earlier error was ignored.
    #[error("the layer is incomplete: an entry could not be written")]
    Broken,
    /// The disk of the store.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Writes one layer. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct LayerWriter {
    store: Store,
    options: LayerOptions,
    packer: Packer<Marked>,
    entries: EntriesWriter,
    /// The last of them: its path, and whether it is a directory.
    previous: Option<(EntryPath, bool)>,
    small_files: BTreeMap<EntryPath, Box<[u8]>>,
    /// The directories that the last entry is in, as far as the layer has them.
    inside: Vec<EntryPath>,
    implicit_parents: bool,
    extents: Extents,
    /// Headers, kept for their capacity.
    scratch: Vec<u8>,
    broken: bool,
}

impl LayerWriter {
    /// Begins a layer.
    ///
    /// # Errors
    ///
    /// [`LayerError::Level`]; the disk's.
    pub fn create(store: &Store, options: LayerOptions) -> Result<Self, LayerError> {
        let codec = codec(&options)?;
        Ok(Self {
            store: store.clone(),
            options,
            packer: Packer::new(Marked::new(store)?, codec, store.pool(options.threads)),
            entries: EntriesWriter::default(),
            previous: None,
            small_files: BTreeMap::new(),
            inside: Vec::new(),
            implicit_parents: false,
            extents: Extents::default(),
            scratch: Vec::new(),
            broken: false,
        })
    }

    /// Adds anything but a regular file, in strictly ascending order of paths
    /// ([`EntryPath`]'s order; an opaque mark follows its directory). Whiteouts
    /// all have the same metadata, whatever is given.
    ///
    /// # Errors
    ///
    /// [`LayerError`]; a regular file must be empty here.
    pub fn add(&mut self, mut entry: Entry) -> Result<(), LayerError> {
        self.begin(&entry.path, &entry.kind)?;
        self.broken = true;
        match &entry.kind {
            EntryKind::File { size: 0, .. } => {
                entry.kind = EntryKind::File {
                    size: 0,
                    content: ContentHash::of(b""),
                };
            }
            EntryKind::File { .. } => return Err(LayerError::NoContent(entry.path)),
            EntryKind::HardLink { target } => {
                // Only what is in front can be linked to when it is unpacked.
                if *target >= entry.path || target.is_root() {
                    return Err(LayerError::Link {
                        target: target.clone(),
                        path: entry.path,
                    });
                }
            }
            EntryKind::Whiteout | EntryKind::Opaque => {
                entry.metadata = tar_writer::whiteout_metadata();
            }
            EntryKind::Directory
            | EntryKind::Symlink { .. }
            | EntryKind::CharacterDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo => {}
        }
        self.write_header(&entry)?;
        self.end(entry, None);
        Ok(())
    }

    /// Adds a regular file of `size` bytes; `content` must give exactly those.
    /// `known` is its hash where the caller is certain of it: then it is not
    /// computed again.
    ///
    /// # Errors
    ///
    /// [`LayerError`]; above all [`LayerError::Changed`].
    pub fn add_file(
        &mut self,
        path: EntryPath,
        metadata: Metadata,
        size: u64,
        known: Option<ContentHash>,
        content: &mut dyn Read,
    ) -> Result<ContentHash, LayerError> {
        let mut entry = Entry {
            path,
            kind: EntryKind::File {
                size,
                content: known.unwrap_or(ContentHash([0; 32])),
            },
            metadata,
        };
        self.begin(&entry.path, &entry.kind)?;
        self.broken = true;
        self.write_header(&entry)?;
        let start = self.packer.position();
        let small =
            matches!(entry.path.name(), b"passwd" | b"group") && size <= SMALL_FILE_BYTES_MAX;
        let hash = if small {
            let mut copy = Vec::new();
            let hash = self.copy(&entry.path, size, known, &mut Copying(content, &mut copy))?;
            copy.truncate(usize::try_from(size).unwrap_or(usize::MAX));
            self.small_files.insert(entry.path.clone(), copy.into());
            hash
        } else {
            self.copy(&entry.path, size, known, content)?
        };
        entry.kind = EntryKind::File {
            size,
            content: hash,
        };
        self.end(entry, (size > 0).then_some(start));
        Ok(hash)
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.previous.is_none()
    }

    /// The store that the layer goes into.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Ends the layer: the blob gets its name, the index is stored.
    ///
    /// # Errors
    ///
    /// [`LayerError::Broken`]; the disk's.
    pub fn finish(mut self) -> Result<Layer, LayerError> {
        if self.broken {
            return Err(LayerError::Broken);
        }
        self.packer.write(&tar_writer::END)?;
        let Packed {
            output,
            diff_id,
            tar_bytes,
            blocks,
        } = self.packer.finish()?;
        let Marked { blob, starts } = output;
        let (digest, size) = blob.finish()?;
        let index = Arc::new(LayerIndex {
            diff_id: diff_id.clone(),
            entries: self.entries.finish(),
            tar_bytes,
            small_files: self.small_files,
            implicit_parents: self.implicit_parents,
            extents: self.extents,
        });
        self.store.indexes().put(Arc::clone(&index))?;
        let table = SeekTable::of_blocks(
            diff_id.clone(),
            self.options.compression,
            (tar_bytes, size),
            starts,
            blocks,
        );
        self.store.seek_tables().put(&digest, Arc::new(table))?;
        let media_type = MediaType::OciLayer(self.options.compression);
        Ok(Layer {
            descriptor: Descriptor::new(media_type, digest, size),
            diff_id,
            index,
        })
    }

    /// Checks the order, and notes whether the directory of `path` is there.
    fn begin(&mut self, path: &EntryPath, kind: &EntryKind) -> Result<(), LayerError> {
        if self.broken {
            return Err(LayerError::Broken);
        }
        if let Some((previous, is_directory)) = &self.previous {
            let opaque_of_previous =
                *kind == EntryKind::Opaque && *is_directory && previous == path;
            if path <= previous && !opaque_of_previous {
                return Err(LayerError::Order {
                    path: path.clone(),
                    previous: previous.clone(),
                });
            }
        }
        let directory = match kind {
            EntryKind::Opaque => Some(path.clone()),
            EntryKind::Directory
            | EntryKind::File { .. }
            | EntryKind::Symlink { .. }
            | EntryKind::HardLink { .. }
            | EntryKind::CharacterDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo
            | EntryKind::Whiteout => path.parent(),
        };
        while let Some(last) = self.inside.last() {
            if path.starts_with(last) {
                break;
            }
            self.inside.pop();
        }
        if let Some(directory) = directory.filter(|directory| !directory.is_root())
            && self.inside.last() != Some(&directory)
        {
            self.implicit_parents = true;
        }
        Ok(())
    }

    fn end(&mut self, entry: Entry, content: Option<u64>) {
        self.extents.push(content);
        let Entry {
            path,
            kind,
            metadata,
        } = entry;
        let is_directory = kind == EntryKind::Directory;
        if is_directory {
            self.inside.push(path.clone());
        }
        self.entries.push(&path, kind, metadata);
        self.previous = Some((path, is_directory));
        self.broken = false;
    }

    fn write_header(&mut self, entry: &Entry) -> Result<(), LayerError> {
        self.scratch.clear();
        tar_writer::header(entry, &mut self.scratch)?;
        Ok(self.packer.write(&self.scratch)?)
    }

    /// Copies exactly `size` bytes and the padding behind them.
    fn copy(
        &mut self,
        path: &EntryPath,
        size: u64,
        known: Option<ContentHash>,
        content: &mut dyn Read,
    ) -> Result<ContentHash, LayerError> {
        let grown = || LayerError::Changed {
            path: path.clone(),
            expected: size,
            found: None,
        };
        let mut hasher = known.is_none().then(ContentHasher::default);
        let mut left = size;
        // A file is asked for one byte more than it should have: one that has
        // grown gives it, and it costs no call of its own.
        let mut end_seen = false;
        while left > 0 {
            let space = self.packer.space();
            let room = space
                .len()
                .min(usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX));
            let count = read(content, &mut space[..room], path)?;
            if count == 0 {
                return Err(LayerError::Changed {
                    path: path.clone(),
                    expected: size,
                    found: Some(size - left),
                });
            }
            if count as u64 > left {
                return Err(grown());
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&space[..count]);
            }
            end_seen = room as u64 > left && count as u64 == left;
            left -= count as u64;
            self.packer.advance(count)?;
        }
        if !end_seen && read(content, &mut [0], path)? != 0 {
            return Err(grown());
        }
        let zeros = [0; tar_writer::BLOCK_BYTES];
        self.packer.write(&zeros[..tar_writer::padding(size)])?;
        Ok(match (hasher, known) {
            (Some(hasher), _) => hasher.finish(),
            (None, Some(known)) => known,
            (None, None) => unreachable!("without a known hash one is computed"),
        })
    }
}

/// Writes a tar that exists already as a blob of another compression: same diff
/// id, other digest.
///
/// # Errors
///
/// [`LayerError::Level`], the disk's, and [`LayerError::Read`] of the input.
pub fn recompress(
    store: &Store,
    tar: &mut dyn Read,
    options: LayerOptions,
) -> Result<(Descriptor, DiffId), LayerError> {
    let pool = store.pool(options.threads);
    let mut packer = Packer::new(store.blobs().writer()?, codec(&options)?, pool);
    loop {
        let count = read(tar, packer.space(), &EntryPath::root())?;
        if count == 0 {
            break;
        }
        packer.advance(count)?;
    }
    let packed = packer.finish()?;
    let (digest, size) = packed.output.finish()?;
    let media_type = MediaType::OciLayer(options.compression);
    Ok((Descriptor::new(media_type, digest, size), packed.diff_id))
}

fn codec(options: &LayerOptions) -> Result<Codec, LayerError> {
    let LayerOptions {
        compression, level, ..
    } = *options;
    let level = level.unwrap_or_else(|| default_level(compression));
    let levels = levels(compression);
    if !levels.contains(&level) {
        return Err(LayerError::Level {
            compression,
            level,
            first: *levels.start(),
            last: *levels.end(),
        });
    }
    Ok(Codec { compression, level })
}

fn read(content: &mut dyn Read, buffer: &mut [u8], path: &EntryPath) -> Result<usize, LayerError> {
    loop {
        match content.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(LayerError::Read {
                    path: path.clone(),
                    source,
                });
            }
            Ok(count) => return Ok(count),
        }
    }
}

/// Keeps a copy of what is read through it.
struct Copying<'a>(&'a mut dyn Read, &'a mut Vec<u8>);

impl Read for Copying<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

/// A blob, and where its blocks begin.
struct Marked {
    blob: BlobWriter,
    starts: Vec<u64>,
}

impl Marked {
    fn new(store: &Store) -> Result<Self, DiskError> {
        Ok(Self {
            blob: store.blobs().writer()?,
            starts: Vec::new(),
        })
    }
}

impl Output for Marked {
    fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.starts.push(self.blob.size());
        self.blob.append(bytes)
    }

    fn refuse(&self, cause: io::Error) -> DiskError {
        self.blob.refuse(cause)
    }
}

impl Output for BlobWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        BlobWriter::append(self, bytes)
    }

    fn refuse(&self, cause: io::Error) -> DiskError {
        DiskError::new("compress into", self.path(), cause)
    }
}
