//! `--base-mount`: a base image whose files are in a directory already, such as an image volume of
//! Kubernetes. What is in it is found by walking it once, its contents are never copied.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::DiffId;
use sandbox::IdMapping;
use store::dir::{Dir, FileKind, xattrs};
use store::layer::{
    ContentHash, Entry, EntryKind, EntryPath, LayerIndex, Metadata, Node, SMALL_FILE_BYTES_MAX,
};

use super::ground::Source;

/// Why a directory cannot stand for an image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountedError {
    #[error("could not read `{path}` in `{}`, which is to be the base image", directory.display())]
    Read {
        directory: PathBuf,
        path: EntryPath,
        source: io::Error,
    },
    #[error("`{}` holds a name that no image can have", directory.display())]
    Name {
        directory: PathBuf,
        source: store::layer::PathError,
    },
}

/// Of one directory of the machine: entries in memory, as for layers.
const ENTRIES_MAX: usize = 10_000_000;

/// What is in a directory, as indexes of the layers of its image: all of it in the topmost one, and
/// nothing in those below. Contents are not read, so there are no hashes of them.
pub(crate) fn survey(
    directory: &Path,
    layers: &[DiffId],
) -> Result<Vec<Arc<LayerIndex>>, MountedError> {
    let mut survey = Survey {
        directory,
        entries: Vec::new(),
        small_files: BTreeMap::new(),
        first_names: HashMap::new(),
    };
    let root = Dir::open(directory).map_err(survey.failed(&EntryPath::root()))?;
    survey.add(&root)?;
    let index =
        |diff_id: &DiffId| LayerIndex::outline(diff_id.clone(), Vec::new(), BTreeMap::new());
    let mut indexes: Vec<_> = layers.iter().map(index).map(Arc::new).collect();
    if let (Some(top), Some(diff_id)) = (indexes.last_mut(), layers.last()) {
        let entries = std::mem::take(&mut survey.entries);
        let small = std::mem::take(&mut survey.small_files);
        *top = Arc::new(LayerIndex::outline(diff_id.clone(), entries, small));
    }
    Ok(indexes)
}

struct Survey<'d> {
    directory: &'d Path,
    entries: Vec<Entry>,
    small_files: BTreeMap<EntryPath, Box<[u8]>>,
    /// Of files with several names, by device and inode.
    first_names: HashMap<(u64, u64), EntryPath>,
}

impl Survey<'_> {
    fn failed(&self, path: &EntryPath) -> impl Fn(io::Error) -> MountedError + use<> {
        let (directory, path) = (self.directory.to_owned(), path.clone());
        move |source| MountedError::Read {
            directory: directory.clone(),
            path: path.clone(),
            source,
        }
    }

    /// Everything below the root, each directory before what is in it.
    fn add(&mut self, root: &Dir) -> Result<(), MountedError> {
        let mut pending = vec![EntryPath::root()];
        while let Some(path) = pending.pop() {
            let failed = self.failed(&path);
            let directory = root.open_dir(path.as_bytes()).map_err(&failed)?;
            if path.is_root() {
                let stat = directory.stat_self().map_err(&failed)?;
                let metadata = metadata(&stat, xattrs(&directory).map_err(&failed)?);
                self.push(path.clone(), EntryKind::Directory, metadata)?;
            }
            let mut names = directory.read_dir().map_err(&failed)?;
            names.sort();
            for name in names {
                let name = name.name.as_bytes();
                let child = path.join(name).map_err(|source| MountedError::Name {
                    directory: self.directory.to_owned(),
                    source,
                })?;
                if self.entry(&directory, name, &child)? {
                    pending.push(child);
                }
            }
        }
        Ok(())
    }

    /// Adds one name; says whether it is a directory.
    fn entry(&mut self, parent: &Dir, name: &[u8], path: &EntryPath) -> Result<bool, MountedError> {
        let failed = self.failed(path);
        let stat = parent.stat(name).map_err(&failed)?;
        let mut attributes = BTreeMap::new();
        let kind = match stat.kind {
            FileKind::Directory => {
                let directory = parent.open_dir(name).map_err(&failed)?;
                attributes = xattrs(&directory).map_err(&failed)?;
                EntryKind::Directory
            }
            FileKind::File => {
                if let Some(first) = self.first_names.get(&(stat.device, stat.inode)) {
                    let target = first.clone();
                    let metadata = metadata(&stat, attributes);
                    self.push(path.clone(), EntryKind::HardLink { target }, metadata)?;
                    return Ok(false);
                }
                if stat.links > 1 {
                    let inode = (stat.device, stat.inode);
                    self.first_names.insert(inode, path.clone());
                }
                let file = parent.open_seen_file(name).map_err(&failed)?;
                attributes = xattrs(&file).map_err(&failed)?;
                let is_small = stat.size <= SMALL_FILE_BYTES_MAX;
                if is_small && matches!(path.name(), b"passwd" | b"group") {
                    let mut content = Vec::new();
                    let read = file.take(SMALL_FILE_BYTES_MAX).read_to_end(&mut content);
                    read.map_err(&failed)?;
                    self.small_files.insert(path.clone(), content.into());
                }
                EntryKind::File {
                    size: stat.size,
                    content: ContentHash([0; 32]),
                }
            }
            FileKind::Symlink => EntryKind::Symlink {
                target: parent.read_link(name).map_err(&failed)?,
            },
            FileKind::CharacterDevice => EntryKind::CharacterDevice {
                major: stat.major,
                minor: stat.minor,
            },
            FileKind::BlockDevice => EntryKind::BlockDevice {
                major: stat.major,
                minor: stat.minor,
            },
            FileKind::Fifo => EntryKind::Fifo,
            // No layer has one.
            FileKind::Socket | FileKind::Unknown => return Ok(false),
        };
        let is_directory = kind == EntryKind::Directory;
        self.push(path.clone(), kind, metadata(&stat, attributes))?;
        Ok(is_directory)
    }

    fn push(
        &mut self,
        path: EntryPath,
        kind: EntryKind,
        metadata: Metadata,
    ) -> Result<(), MountedError> {
        if self.entries.len() >= ENTRIES_MAX {
            let message = format!("there are more than {ENTRIES_MAX} files");
            return Err(self.failed(&path)(io::Error::other(message)));
        }
        self.entries.push(Entry {
            path,
            kind,
            metadata,
        });
        Ok(())
    }
}

/// What an image keeps of a file's attributes.
fn metadata(stat: &store::dir::Stat, mut attributes: store::dir::Attributes) -> Metadata {
    attributes.retain(|name, _| store::layer::is_kept_attribute(name));
    Metadata {
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        xattrs: attributes,
    }
}

/// Contents from the directory itself, where its owners cannot be mapped.
#[derive(Debug)]
pub(crate) struct InDirectory(pub(crate) Dir);

impl Source for InDirectory {
    fn read(
        &self,
        file: Node<'_>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let path = file.path();
        let opened = self.0.open_seen_file(path.as_bytes())?;
        Ok(opened.read_exact_at(buffer, offset)?)
    }
}

/// Whether the sandbox can use the directory as it is.
pub(crate) fn can_be_used_as_it_is(directory: &Dir, ids: IdMapping) -> bool {
    match ids {
        IdMapping::Inherited => true,
        IdMapping::Reserved { .. } => sandbox::can_map_owners(directory),
    }
}
