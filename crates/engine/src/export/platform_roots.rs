//! The root file systems of a build's images, and where the files of each go: into a directory
//! named after the platform (`linux_arm64`), or all into one place (`platform-split=false`), which
//! only works where they do not get into each other's way.

use std::collections::HashMap;
use std::io::{self, Read};

use oci::{Algorithm, Digest, Hasher, Platform};
use sign::statement::StatementSubject;
use store::layer::{EntryPath, Metadata};

use super::root_files::{RootEntry, RootError, RootFiles, RootKind};
use crate::attest::Said;
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
    /// What is said of the image, and what the names of files with it say of the platform.
    said: Option<(Said, Option<String>)>,
}

/// A file that says something of the others.
pub(crate) struct AttestationFile {
    /// One component.
    pub path: EntryPath,
    pub bytes: Vec<u8>,
    /// In seconds since 1970.
    pub epoch_seconds: i64,
}

/// The permissions of such a file, as BuildKit has them.
pub(crate) const ATTESTATION_MODE: u32 = 0o600;

impl PlatformRoot {
    /// That directory as a path.
    pub(crate) fn directory_path(&self) -> Option<EntryPath> {
        let name = self.directory.as_ref()?;
        Some(EntryPath::parse(name.as_bytes()).expect("platforms have plain names"))
    }

    /// Files that say of the other ones what is said of the image. All of those are read for it.
    pub(crate) fn attestations(&self) -> Result<Vec<AttestationFile>, RootError> {
        let Some((said, suffix)) = self.said.as_ref().filter(|(said, _)| said.has_files()) else {
            return Ok(Vec::new());
        };
        let mut subjects: Vec<StatementSubject> = Vec::new();
        let mut places = HashMap::new();
        for entry in self.files.entries() {
            let RootEntry { path, kind, .. } = entry?;
            let name = String::from_utf8_lossy(path.as_bytes()).into_owned();
            match kind {
                RootKind::File { size: _, content } => {
                    let digest = sha256(&mut content.open()?);
                    let digest = digest.map_err(|source| RootError::Open {
                        path: path.clone(),
                        source,
                    })?;
                    places.insert(path, subjects.len());
                    subjects.push(StatementSubject::new(name, &digest));
                }
                RootKind::HardLink { first } => {
                    let first = places.get(&first).and_then(|place| subjects.get(*place));
                    if let Some(digest) = first.map(|first| first.digest.clone()) {
                        subjects.push(StatementSubject { name, digest });
                    }
                }
                RootKind::Directory
                | RootKind::Symlink { .. }
                | RootKind::CharacterDevice { .. }
                | RootKind::BlockDevice { .. }
                | RootKind::Fifo => {}
            }
        }
        let mut files = Vec::new();
        for (name, bytes) in said.files(&subjects) {
            let name = match suffix {
                None => name,
                Some(platform) => with_platform(&name, platform),
            };
            let path = EntryPath::parse(name.as_bytes()).map_err(|error| RootError::Open {
                path: EntryPath::root(),
                source: io::Error::new(io::ErrorKind::InvalidInput, error),
            })?;
            files.push(AttestationFile {
                path,
                bytes,
                epoch_seconds: said.epoch_seconds,
            });
        }
        Ok(files)
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
    // Where files of all platforms lie in one place, their names say which is whose.
    let is_never = split == Split::Never;
    let split = match split {
        Split::Automatic => images.plain().index().is_some(),
        Split::Always => true,
        Split::Never => false,
    };
    let mut roots = Vec::new();
    let mut said = images.said().iter().cloned();
    for image in images.images() {
        let platform = image.platform().to_string().replace('/', "_");
        roots.push(PlatformRoot {
            files: RootFiles::open(layers, &image.output.stack).await?,
            said: said
                .next()
                .map(|said| (said, is_never.then(|| platform.clone()))),
            directory: split.then_some(platform),
        });
    }
    if !split {
        let platforms: Vec<Platform> = images.images().iter().map(|one| one.platform()).collect();
        refuse_conflicts(&roots, &platforms)?;
    }
    Ok(roots)
}

/// `provenance.json` is `provenance.linux_amd64.json`.
fn with_platform(name: &str, platform: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}.{platform}.{extension}"),
        None => format!("{name}.{platform}"),
    }
}

fn sha256(content: &mut impl Read) -> io::Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut piece = vec![0; 128 * 1024];
    loop {
        match content.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&piece[..count]),
        }
    }
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
