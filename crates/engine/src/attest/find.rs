//! Finds the files of an image that list packages, and reads them: where layers lie, without
//! unpacking what need not be.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

use sign::packages::{self, Distribution, Listing, go_program};
use sign::sbom::Contents;
use store::layer::{ContentHash, ContentHasher, EntryKind, EntryPath, FileExtent, Node, Tree};

use crate::copy::layer_files::LayerFiles;
use crate::layers::{LayerError, Layers};
use crate::lazy::Wanted;
use crate::output::LayerRef;

/// The most files of one image that are read for what they list.
const FILES_MAX: usize = 100_000;
/// The most packages of one image.
const PACKAGES_MAX: usize = 500_000;

/// Why the packages of an image cannot be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindError {
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error("could not read {path} of the image")]
    Read { path: EntryPath, source: io::Error },
}

/// A file that may list packages.
struct Candidate {
    path: EntryPath,
    kind: CandidateKind,
    bytes: u64,
    hash: ContentHash,
    layer: usize,
    /// Its name in that layer.
    place: EntryPath,
    extent: Option<FileExtent>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CandidateKind {
    Listing(Listing),
    /// Something that can be executed.
    Program,
}

/// What is in the image with these layers.
pub(crate) async fn contents(layers: &Layers, stack: &[LayerRef]) -> Result<Contents, FindError> {
    let tree = layers.tree(stack, false).await?;
    let mut contents = Contents::default();
    let mut candidates = candidates(&tree);
    if candidates.len() > FILES_MAX {
        let more = candidates.len() - FILES_MAX;
        contents.note(format!("{more} files that may list packages were not read"));
        candidates.truncate(FILES_MAX);
    }
    let mut wanted: Vec<Option<Wanted>> = stack.iter().map(|_| None).collect();
    for candidate in &candidates {
        let wanted = wanted[candidate.layer].get_or_insert_default();
        wanted.add(candidate.extent.clone());
    }
    let mut files = Vec::new();
    for (position, wanted) in wanted.into_iter().enumerate() {
        files.push(match wanted {
            None => LayerFiles::Unused,
            Some(wanted) => layers.files(stack, position, &tree, &wanted).await?,
        });
    }
    let read = tokio::task::spawn_blocking(move || read(&candidates, &files, contents));
    read.await.expect("reading listings does not panic")
}

/// The files that may list packages, in the order of the tree.
fn candidates(tree: &Arc<Tree>) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut programs = HashSet::new();
    for node in tree.walk(tree.root().id()) {
        let Some(content) = node.content() else {
            continue;
        };
        let EntryKind::File {
            size,
            content: hash,
        } = content.kind()
        else {
            continue;
        };
        let is_program =
            content.metadata().mode & 0o111 != 0 && *size >= go_program::PROGRAM_BYTES_MIN;
        let path = node.path();
        let kind = match Listing::of(path.as_bytes()) {
            Some(listing) if !is_superseded(&node, listing) => CandidateKind::Listing(listing),
            // A program of several names is one program.
            None if is_program && programs.insert(content.id()) => CandidateKind::Program,
            Some(_) | None => continue,
        };
        let Some(layer) = content.layer() else {
            continue;
        };
        found.push(Candidate {
            path,
            kind,
            bytes: *size,
            hash: *hash,
            layer,
            place: content.path(),
            extent: content.extent(),
        });
    }
    found
}

/// Whether there is a file beside it that says the same better.
fn is_superseded(node: &Node<'_>, listing: Listing) -> bool {
    let better = listing.superseded_by();
    better.is_some_and(|name| node.parent().child(name.as_bytes()).is_some())
}

fn read(
    candidates: &[Candidate],
    files: &[LayerFiles],
    mut contents: Contents,
) -> Result<Contents, FindError> {
    contents.distribution = distribution(candidates, files)?;
    let mut packages = 0;
    for candidate in candidates {
        let path = String::from_utf8_lossy(candidate.path.as_bytes());
        let found = match candidate.kind {
            CandidateKind::Program => candidate.modules(files)?,
            CandidateKind::Listing(listing) => {
                let bytes_max = listing.bytes_max();
                // Of those that are not read the reader says why.
                if candidate.bytes > bytes_max && bytes_max > 0 {
                    contents.note(format!("/{path} is too large to be read"));
                    continue;
                }
                let bytes = match bytes_max {
                    0 => Vec::new(),
                    _ => candidate.whole(files)?,
                };
                match packages::read(listing, &bytes, contents.distribution.as_ref()) {
                    Ok(found) => found,
                    Err(error) => {
                        contents.note(format!("/{path} was not read: {error}"));
                        continue;
                    }
                }
            }
        };
        packages += found.len();
        if packages > PACKAGES_MAX {
            contents.note(format!("it has more than {PACKAGES_MAX} packages"));
            break;
        }
        contents.add(&format!("/{path}"), found);
    }
    Ok(contents)
}

/// What the image calls its system: `/etc` wins over `/usr/lib`, and comes first.
fn distribution(
    candidates: &[Candidate],
    files: &[LayerFiles],
) -> Result<Option<Distribution>, FindError> {
    for candidate in candidates {
        if candidate.kind == CandidateKind::Listing(Listing::OsRelease)
            && candidate.bytes <= Listing::OsRelease.bytes_max()
            && let Some(found) = Distribution::read(&candidate.whole(files)?)
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

impl Candidate {
    fn open<'f>(&self, files: &'f [LayerFiles]) -> Result<Box<dyn Read + 'f>, FindError> {
        let opened = files[self.layer].open(&self.place, self.extent.clone());
        opened.map_err(|source| self.unread(source))
    }

    fn unread(&self, source: io::Error) -> FindError {
        FindError::Read {
            path: self.path.clone(),
            source,
        }
    }

    /// All of it, which has to be what the layer says.
    fn whole(&self, files: &[LayerFiles]) -> Result<Vec<u8>, FindError> {
        let mut bytes = Vec::new();
        let mut reader = self.open(files)?.take(self.bytes + 1);
        let read = reader.read_to_end(&mut bytes);
        read.map_err(|source| self.unread(source))?;
        let mut hasher = ContentHasher::default();
        hasher.update(&bytes);
        if hasher.finish() != self.hash {
            let source = io::Error::new(
                io::ErrorKind::InvalidData,
                "its copy in the store is damaged",
            );
            return Err(self.unread(source));
        }
        Ok(bytes)
    }

    /// The modules of a program of Go. Of others no more than the head is read.
    fn modules(&self, files: &[LayerFiles]) -> Result<Vec<packages::Package>, FindError> {
        let mut reader = self.open(files)?;
        let mut head = Vec::new();
        let read = (&mut reader)
            .take(go_program::HEAD_BYTES as u64)
            .read_to_end(&mut head);
        read.map_err(|source| self.unread(source))?;
        let Some(data) = go_program::data(&head).filter(|data| data.start < self.bytes) else {
            return Ok(Vec::new());
        };
        let mut bytes = Vec::new();
        if let Ok(start) = usize::try_from(data.start)
            && start < head.len()
        {
            bytes.extend_from_slice(&head[start..]);
        } else {
            let between = data.start - head.len() as u64;
            let skipped = io::copy(&mut (&mut reader).take(between), &mut io::sink());
            skipped.map_err(|source| self.unread(source))?;
        }
        let rest = data.end - data.start - bytes.len() as u64;
        let read = reader.take(rest).read_to_end(&mut bytes);
        read.map_err(|source| self.unread(source))?;
        Ok(go_program::read(&bytes))
    }
}
