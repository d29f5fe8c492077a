//! The root file systems of a build's images, and where the files of each go: into a directory
//! named after the platform (`linux_arm64`), or all into one place (`platform-split=false`), which
//! only works where they do not get into each other's way.

use std::collections::HashMap;

use oci::Platform;
use store::layer::{EntryPath, Metadata};

use super::root_files::{RootEntry, RootError, RootFiles, RootKind};
use crate::image_set::ImageSet;
use crate::layers::Layers;
use crate::request::Split;

/// Why files cannot be put where they are to go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlatformRootsError {
    #[error(transparent)]
    Root(#[from] RootError),
    /// Two files, one name.
    #[error("{path} is one thing in the image for {first} and another in the one for {second}")]
    Conflict {
        path: EntryPath,
        first: String,
        second: String,
    },
}

impl PlatformRootsError {
    /// Whether the user asked for something that cannot be.
    pub(crate) fn is_input(&self) -> bool {
        match self {
            Self::Root(_) => false,
            Self::Conflict { .. } => true,
        }
    }

    /// What the user can do about it.
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Root(_) => None,
            Self::Conflict { .. } => Some(
                "leave platform-split=false away, so that each platform has its own directory"
                    .to_owned(),
            ),
        }
    }
}

/// The root file system of one image.
pub(crate) struct PlatformRoot {
    /// The directory that its files go to, where not to the top.
    pub directory: Option<String>,
    pub files: RootFiles,
}

impl PlatformRoot {
    /// That directory as a path.
    pub(crate) fn directory_path(&self) -> Option<EntryPath> {
        let name = self.directory.as_ref()?;
        Some(EntryPath::parse(name.as_bytes()).expect("platforms have plain names"))
    }

    /// Where a path of the root goes.
    pub(crate) fn place(&self, path: &EntryPath) -> EntryPath {
        let Some(directory) = self.directory_path() else {
            return path.clone();
        };
        path.components().fold(directory, |above, name| {
            above.join(name).expect("a component of a path is a name")
        })
    }
}

/// Opens the roots of all images.
pub(crate) async fn open(
    images: &ImageSet,
    layers: &Layers,
    split: Split,
) -> Result<Vec<PlatformRoot>, PlatformRootsError> {
    let split = match split {
        Split::Automatic => images.index().is_some(),
        Split::Always => true,
        Split::Never => false,
    };
    let mut roots = Vec::new();
    for image in images.images() {
        roots.push(PlatformRoot {
            directory: split.then(|| image.platform().to_string().replace('/', "_")),
            files: RootFiles::open(layers, &image.output.stack).await?,
        });
    }
    if !split {
        let platforms: Vec<Platform> = images.images().iter().map(|one| one.platform()).collect();
        refuse_conflicts(&roots, &platforms)?;
    }
    Ok(roots)
}

/// What of a file must be the same for two files to be one.
#[derive(PartialEq)]
enum Look<'r> {
    Directory,
    File([u8; 32], &'r Metadata),
    Symlink(Vec<u8>),
    Other(&'r Metadata),
}

fn refuse_conflicts(
    roots: &[PlatformRoot],
    platforms: &[Platform],
) -> Result<(), PlatformRootsError> {
    if roots.len() < 2 {
        return Ok(());
    }
    let mut known: HashMap<EntryPath, (Look<'_>, &Platform)> = HashMap::new();
    for (root, platform) in roots.iter().zip(platforms) {
        for entry in root.files.entries() {
            let entry = entry?;
            let path = entry.path.clone();
            let look = look(&entry);
            match known.get(&path) {
                Some((other, first)) if *other != look => {
                    return Err(PlatformRootsError::Conflict {
                        path,
                        first: first.to_string(),
                        second: platform.to_string(),
                    });
                }
                Some(_) => {}
                None => {
                    known.insert(path, (look, platform));
                }
            }
        }
    }
    Ok(())
}

fn look<'r>(entry: &RootEntry<'r>) -> Look<'r> {
    match &entry.kind {
        RootKind::Directory => Look::Directory,
        RootKind::File { size: _, content } => Look::File(content.hash().0, entry.metadata),
        RootKind::Symlink { target } => Look::Symlink(target.to_vec()),
        RootKind::HardLink { .. }
        | RootKind::CharacterDevice { .. }
        | RootKind::BlockDevice { .. }
        | RootKind::Fifo => Look::Other(entry.metadata),
    }
}
