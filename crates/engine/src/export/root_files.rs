//! The root file system of an image as one list of files, in the order of a tar,
//! with content read from unpacked layers: nothing is mounted.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use store::dir::Dir;
use store::layer::{
    ContentHash, ContentHasher, EntryKind, EntryPath, Metadata, Node, NodeId, Tree,
};

use crate::layers::{LayerError, Layers};
use crate::output::LayerRef;

/// Why the files of an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootError {
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error("could not open the directory of an unpacked layer")]
    Directory(#[source] io::Error),
    #[error("could not open {path} of the image")]
    Open { path: EntryPath, source: io::Error },
    #[error("{path} is a hard link that leads nowhere")]
    Nowhere { path: EntryPath },
}

/// The files of an image.
pub(crate) struct RootFiles {
    tree: Arc<Tree>,
    /// The directories of those layers that hold content, by position.
    layers: Vec<Option<Dir>>,
    /// Files that have several names.
    linked: HashSet<NodeId>,
    damage: Damage,
}

/// The layers whose directories turned out to be damaged, by position.
#[derive(Clone, Debug)]
pub(crate) struct Damage(Arc<[AtomicBool]>);

impl Damage {
    fn note(&self, layer: usize) {
        self.0[layer].store(true, Ordering::Relaxed);
    }

    /// Their positions.
    pub(crate) fn layers(&self) -> impl Iterator<Item = usize> {
        let damaged = |(position, found): (usize, &AtomicBool)| {
            found.load(Ordering::Relaxed).then_some(position)
        };
        self.0.iter().enumerate().filter_map(damaged)
    }
}

/// One name in the root file system.
pub(crate) struct RootEntry<'r> {
    pub path: EntryPath,
    pub kind: RootKind<'r>,
    pub metadata: &'r Metadata,
}

/// What stands there.
pub(crate) enum RootKind<'r> {
    /// A directory.
    Directory,
    /// The first name of a file.
    File { size: u64, content: RootContent<'r> },
    /// Another name of a file that came before.
    HardLink { first: EntryPath },
    /// A symbolic link.
    Symlink { target: &'r [u8] },
    /// A character device.
    CharacterDevice { major: u32, minor: u32 },
    /// A block device.
    BlockDevice { major: u32, minor: u32 },
    /// A named pipe.
    Fifo,
}

/// Where the content of a file is.
pub(crate) struct RootContent<'r> {
    directory: &'r Dir,
    path: EntryPath,
    size: u64,
    hash: ContentHash,
    layer: usize,
    damage: &'r Damage,
}

impl RootFiles {
    /// Fetches and unpacks what is needed of a stack.
    pub(crate) async fn open(layers: &Layers, stack: &[LayerRef]) -> Result<Self, RootError> {
        let tree = layers.tree(stack, true).await?;
        let mut linked = HashSet::new();
        let mut needed = vec![false; stack.len()];
        for node in tree.walk(tree.root().id()) {
            let Some(content) = node.content() else {
                continue;
            };
            if content.id() != node.id() {
                linked.insert(content.id());
            }
            if matches!(content.kind(), EntryKind::File { .. })
                && let Some(layer) = content.layer()
            {
                needed[layer] = true;
            }
        }
        let mut directories = Vec::new();
        for (position, needed) in needed.into_iter().enumerate() {
            directories.push(match needed {
                false => None,
                true => {
                    let path = layers.unpacked_at(stack, position, &tree).await?;
                    Some(Dir::open(&path).map_err(RootError::Directory)?)
                }
            });
        }
        Ok(Self {
            tree,
            layers: directories,
            linked,
            damage: Damage(stack.iter().map(|_| AtomicBool::new(false)).collect()),
        })
    }

    /// What is found out about the directories while the files are read.
    pub(crate) fn damage(&self) -> Damage {
        self.damage.clone()
    }

    /// What the root itself is like.
    pub(crate) fn root_metadata(&self) -> &Metadata {
        self.tree.root().metadata()
    }

    /// Everything but the root itself, a directory before what is in it.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<RootEntry<'_>, RootError>> {
        let mut firsts = HashMap::new();
        self.tree
            .walk(self.tree.root().id())
            .skip(1)
            .map(move |node| self.entry(node, &mut firsts))
    }

    fn entry<'r>(
        &'r self,
        node: Node<'r>,
        firsts: &mut HashMap<NodeId, EntryPath>,
    ) -> Result<RootEntry<'r>, RootError> {
        let path = node.path();
        let Some(content) = node.content() else {
            return Err(RootError::Nowhere { path });
        };
        if self.linked.contains(&content.id()) {
            if let Some(first) = firsts.get(&content.id()) {
                return Ok(RootEntry {
                    kind: RootKind::HardLink {
                        first: first.clone(),
                    },
                    metadata: node.metadata(),
                    path,
                });
            }
            firsts.insert(content.id(), path.clone());
        }
        let kind = match content.kind() {
            EntryKind::Directory => RootKind::Directory,
            EntryKind::File {
                size,
                content: hash,
            } => {
                let layer = content.layer().expect("content is in a layer");
                let directory = self.layers[layer].as_ref();
                RootKind::File {
                    size: *size,
                    content: RootContent {
                        directory: directory.expect("layers with content are open"),
                        path: content.path(),
                        size: *size,
                        hash: *hash,
                        layer,
                        damage: &self.damage,
                    },
                }
            }
            EntryKind::Symlink { target } => RootKind::Symlink { target },
            EntryKind::CharacterDevice { major, minor } => RootKind::CharacterDevice {
                major: *major,
                minor: *minor,
            },
            EntryKind::BlockDevice { major, minor } => RootKind::BlockDevice {
                major: *major,
                minor: *minor,
            },
            EntryKind::Fifo => RootKind::Fifo,
            EntryKind::HardLink { .. } => return Err(RootError::Nowhere { path }),
            EntryKind::Whiteout | EntryKind::Opaque => {
                unreachable!("marks have done their work when a tree exists")
            }
        };
        Ok(RootEntry {
            path,
            kind,
            metadata: node.metadata(),
        })
    }
}

impl RootContent<'_> {
    /// What its bytes hash to.
    pub(crate) fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Opens the content. Reading it to its end says whether it is what the
    /// layer had.
    ///
    /// # Errors
    ///
    /// [`RootError::Open`].
    pub(crate) fn open(&self) -> Result<impl Read + use<>, RootError> {
        let opened = self.directory.open_file(self.path.as_bytes());
        Ok(Checked {
            file: opened.map_err(|source| {
                self.damage.note(self.layer);
                RootError::Open {
                    path: self.path.clone(),
                    source,
                }
            })?,
            left: self.size,
            hasher: ContentHasher::default(),
            hash: self.hash,
            layer: self.layer,
            damage: self.damage.clone(),
        })
    }
}

/// A file whose end is an error when its content has another hash.
struct Checked {
    file: File,
    left: u64,
    hasher: ContentHasher,
    hash: ContentHash,
    layer: usize,
    damage: Damage,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let left = self.left.checked_sub(count as u64);
        self.hasher.update(&buffer[..count]);
        let at_end = count == 0 && !buffer.is_empty();
        let matches = || self.hasher.finish() == self.hash;
        match left {
            Some(left) if !at_end || matches() => {
                self.left = left;
                Ok(count)
            }
            Some(_) | None => {
                self.damage.note(self.layer);
                Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "its copy in the store is damaged",
                ))
            }
        }
    }
}
