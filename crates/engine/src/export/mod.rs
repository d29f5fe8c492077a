//! Where an image goes. The kinds of destination stand side by side and do not
//! know each other.

mod bring;
mod image_files;
mod load;
mod local;
mod platform_roots;
pub(crate) mod registry;
mod root_files;
pub(crate) mod supply;
mod tar;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::{Digest, Reference};
use publish::Content;
use publish::sink::{
    ArchiveError, ArchiveFile, ArchiveFileError, ImageFiles, LayoutError, NotOneImage, write_layout,
};
use shelf::Address;
use store::{DiskError, Store};

use crate::cache::CacheTarget;
use crate::error::BuildError;
use crate::event::Event;
use crate::image_set::ImageSet;
use crate::interrupt::Interrupt;
use crate::layers::Layers;
use crate::ports::Ports;
use crate::report::{OutputReport, Traffic};
use crate::request::{BuildRequest, Destination, Output, Shape, Split};
use bring::BringError;
use load::LoadError;
use local::LocalError;
use platform_roots::{PlatformRoot, PlatformRootsError};
use root_files::RootError;
use supply::{SuppliedBlobs, Supply, SupplyError, supply_error};
use tar::RootTarError;

/// What became of an image.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    pub outputs: Vec<OutputReport>,
    pub traffic: Traffic,
}

/// Refuses outputs that cannot succeed, before a build spends its time.
pub(crate) fn check(request: &BuildRequest, ports: &Ports) -> Result<(), BuildError> {
    for target in &request.cache.to {
        if let CacheTarget::Shelf { address, .. } = target {
            apart(request, address)?;
        }
    }
    for output in &request.outputs {
        match output {
            Output::Oci {
                destination,
                tar: true,
            }
            | Output::Tar { destination, .. } => ArchiveFile::check(destination)
                .map_err(|error| Failure::from(error).told(unwritten(destination)))?,
            Output::Oci {
                destination: Destination::Stdout,
                tar: false,
            } => {
                return Err(BuildError::input(
                    "an image layout with tar=false is a directory and cannot go to the standard output",
                ));
            }
            Output::Docker { destination } => {
                one_image(request, "an archive for docker")?;
                ArchiveFile::check(destination)
                    .map_err(|error| Failure::from(error).told(unwritten(destination)))?;
            }
            Output::Load => {
                one_image(request, "what a local engine loads")?;
                load::check(&ports.program_path)
                    .map_err(|error| Failure::from(error).told(UNLOADED.to_owned()))?;
            }
            Output::Oci {
                destination: Destination::File(_),
                tar: false,
            }
            | Output::Registry
            | Output::Image
            | Output::Local { .. } => {}
        }
    }
    Ok(())
}

/// An image and a cache under one name would take each other's place, whichever comes last.
fn apart(request: &BuildRequest, cache: &Address) -> Result<(), BuildError> {
    let is_there = |output: &Output| match (output, cache) {
        (Output::Registry, Address::Registry(cache)) => request.tags.iter().any(|tag| {
            tag.repository() == cache.repository()
                && tag.manifest_selector() == cache.manifest_selector()
        }),
        (
            Output::Oci {
                destination: Destination::File(layout),
                tar: false,
            },
            Address::Directory(cache),
        ) => is_same_place(layout, &cache.path),
        (
            Output::Registry
            | Output::Image
            | Output::Oci { .. }
            | Output::Docker { .. }
            | Output::Tar { .. }
            | Output::Local { .. }
            | Output::Load,
            _,
        ) => false,
    };
    match request.outputs.iter().any(is_there) {
        false => Ok(()),
        true => Err(BuildError::Input {
            message: format!("--cache-to: the image itself is to go to {cache}"),
            hint: Some(
                "give the cache a name of its own, or put it into the image with `type=inline`"
                    .to_owned(),
            ),
            source: None,
        }),
    }
}

fn is_same_place(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

/// Docker's archives have no place for an index, and engines load what runs on their machine.
fn one_image(request: &BuildRequest, what: &str) -> Result<(), BuildError> {
    // They need an index, and are not left out where somebody asked for them. As in BuildKit.
    if request.attestations.insists() {
        return Err(BuildError::Input {
            message: format!("{what} has no place for attestations"),
            hint: Some(
                "leave --provenance, --sbom and --attest away, or say `inline-only=true` in them: \
                 then they are left out where they have no place"
                    .to_owned(),
            ),
            source: None,
        });
    }
    match request.shape {
        Shape::Image => Ok(()),
        Shape::Index(_) => Err(BuildError::Input {
            message: format!("{what} is one image, and this build makes an index of images"),
            hint: Some(
                "build for one platform, or write an image layout with `--output type=oci`"
                    .to_owned(),
            ),
            source: None,
        }),
    }
}

/// Puts the documents of images into the store, so that it can be sent later.
pub(crate) fn keep(store: &Store, images: &ImageSet) -> Result<Digest, DiskError> {
    for document in images.small_blobs().chain(images.manifests()) {
        store.blobs().put(document.bytes)?;
    }
    let (_, top) = images.top();
    store.blobs().put(top)
}

/// Brings images where they are to go, but for registries.
pub(crate) async fn export(
    request: &BuildRequest,
    ports: &Ports,
    images: &ImageSet,
    layers: &Layers,
) -> Result<Exported, BuildError> {
    let mut exported = Exported::default();
    let export = Export {
        tags: &request.tags,
        ports,
        images,
        layers,
    };
    for output in &request.outputs {
        match output {
            // Last, for all images together.
            Output::Registry => {}
            Output::Image => exported.outputs.extend(export.store().await?),
            Output::Oci {
                destination,
                tar: true,
            } => {
                let content = export.content(images);
                let files = image_files::layout(&content, images, &request.tags);
                let written = export.archive(files, content, destination).await?;
                exported.outputs.push(written);
            }
            Output::Oci {
                destination,
                tar: false,
            } => exported.outputs.push(export.layout(destination).await?),
            Output::Docker { destination } => {
                let content = export.content(images.plain());
                let files = export.docker(&content)?;
                let written = export.archive(files, content, destination).await?;
                exported.outputs.push(written);
            }
            Output::Tar { destination, split } => {
                let written = export.root_tar(destination, *split).await?;
                exported.outputs.push(written);
            }
            Output::Local { directory, split } => {
                exported
                    .outputs
                    .push(export.local(directory, *split).await?);
            }
            Output::Load => exported.outputs.push(export.load().await?),
        }
    }
    Ok(exported)
}

/// What all kinds of destination work with.
struct Export<'e> {
    tags: &'e [Reference],
    ports: &'e Ports,
    images: &'e ImageSet,
    layers: &'e Layers,
}

impl Export<'_> {
    async fn store(&self) -> Result<Vec<OutputReport>, BuildError> {
        let wanted = bring::wanted(self.images, self.layers);
        if !wanted.is_empty() {
            let (store, supply) = (self.ports.store.clone(), self.supply());
            let brought = blocking(move || Ok(bring::bring(&store, &supply, &wanted)?));
            self.told(brought.await, || UNSTORED.to_owned())?;
        }
        let descriptor = oci::Descriptor {
            annotations: std::collections::BTreeMap::new(),
            ..self.images.descriptor()
        };
        let stored = self.tags.iter().map(|tag| {
            self.ports.store.images().set(&tag.to_string(), &descriptor);
            OutputReport::Stored {
                reference: tag.clone(),
            }
        });
        Ok(stored.collect())
    }

    fn supply(&self) -> Supply {
        Supply::new(self.ports, self.layers)
    }

    fn content(&self, images: &ImageSet) -> Content {
        Content {
            root: images.descriptor(),
            documents: images.documents(),
            blobs: Arc::new(SuppliedBlobs(Arc::new(self.supply()))),
        }
    }

    fn docker(&self, content: &Content) -> Result<ImageFiles, BuildError> {
        // An index was refused before the build.
        let files = ImageFiles::docker(content, self.tags);
        files.map_err(|error: NotOneImage| BuildError::failed("there is no such archive", error))
    }

    async fn archive(
        &self,
        files: ImageFiles,
        content: Content,
        destination: &Destination,
    ) -> Result<OutputReport, BuildError> {
        let (to, interrupt) = (destination.clone(), self.ports.interrupt.clone());
        let written = blocking(move || -> Result<(), Failure> {
            let is_stopped = || interrupt.is_triggered();
            let mut file = ArchiveFile::open(&to, &is_stopped)?;
            files.write_tar(&*content.blobs, &mut file)?;
            Ok(file.finish()?)
        });
        self.told(written.await, || unwritten(destination))?;
        Ok(at(destination))
    }

    async fn layout(&self, destination: &Destination) -> Result<OutputReport, BuildError> {
        let path = match destination {
            Destination::File(path) => path.clone(),
            Destination::Stdout => unreachable!("refused before the build"),
        };
        let content = self.content(self.images);
        let files = image_files::layout(&content, self.images, self.tags);
        let interrupt = self.ports.interrupt.clone();
        let written = blocking(move || -> Result<(), Failure> {
            let is_stopped = || interrupt.is_triggered();
            Ok(write_layout(&files, &*content.blobs, &path, &is_stopped)?)
        });
        self.told(written.await, || unwritten(destination))?;
        Ok(at(destination))
    }

    async fn root_tar(
        &self,
        destination: &Destination,
        split: Split,
    ) -> Result<OutputReport, BuildError> {
        let (to, interrupt) = (destination.clone(), self.ports.interrupt.clone());
        let repeated = match destination {
            Destination::File(_) => true,
            Destination::Stdout => false,
        };
        let write = self.write_roots(split, repeated, move |roots| {
            let is_stopped = || interrupt.is_triggered();
            let mut file = ArchiveFile::open(&to, &is_stopped)?;
            tar::write(roots, &mut file)?;
            Ok(file.finish()?)
        });
        self.told(write.await, || unwritten(destination))?;
        Ok(at(destination))
    }

    async fn local(&self, directory: &Path, split: Split) -> Result<OutputReport, BuildError> {
        let (to, interrupt): (PathBuf, Interrupt) =
            (directory.to_owned(), self.ports.interrupt.clone());
        let write = self.write_roots(split, true, move |roots| {
            let mut left_out = Vec::new();
            for root in roots {
                let to = root
                    .directory
                    .as_ref()
                    .map_or(to.clone(), |name| to.join(name));
                left_out.push(local::write(&root.files, &to, &interrupt)?);
                local::write_attestations(&root.attestations()?, &to, &interrupt)?;
            }
            Ok(left_out)
        });
        let left_out = self.told(write.await, || {
            format!("could not write the files to {}", directory.display())
        })?;
        for message in left_out.iter().flat_map(|left_out| left_out.warnings()) {
            self.ports.reporter.report(Event::Warning { message });
        }
        Ok(OutputReport::Written {
            path: Some(directory.to_owned()),
        })
    }

    async fn load(&self) -> Result<OutputReport, BuildError> {
        let content = self.content(self.images.plain());
        let files = self.docker(&content)?;
        let ports = self.ports;
        let loaded = load::load(files, content, &ports.program_path, &ports.interrupt).await;
        let engine = self.told(loaded.map_err(Failure::from), || UNLOADED.to_owned())?;
        Ok(OutputReport::Loaded {
            engine: engine.to_owned(),
        })
    }

    /// Writes the root file systems. Layers whose copies in the store turn out to
    /// be damaged are forgotten, and written from new copies where that can be
    /// `repeated`.
    async fn write_roots<T: Send + 'static>(
        &self,
        split: Split,
        repeated: bool,
        write: impl Fn(&[PlatformRoot]) -> Result<T, Failure> + Send + Sync + 'static,
    ) -> Result<T, Failure> {
        let write = Arc::new(write);
        for repeated in [repeated, false] {
            let roots = platform_roots::open(self.images, self.layers, split).await?;
            let damages: Vec<_> = roots.iter().map(|root| root.files.damage()).collect();
            let write = Arc::clone(&write);
            let written = blocking(move || write(&roots)).await;
            let mut damaged = false;
            for (image, damage) in self.images.images().iter().zip(damages) {
                for layer in damage.layers() {
                    damaged = true;
                    self.layers.forget(&image.output.stack, layer);
                }
            }
            if !repeated || !damaged {
                return written;
            }
        }
        unreachable!("the second time is not repeated")
    }

    fn told<T>(
        &self,
        result: Result<T, Failure>,
        message: impl FnOnce() -> String,
    ) -> Result<T, BuildError> {
        result.map_err(|failure| {
            // What stops because of an interrupt ends in errors of all kinds.
            if self.ports.interrupt.is_triggered() {
                return BuildError::Interrupted;
            }
            failure.told(message())
        })
    }
}

/// An error of some destination, and what the user needs to know about it.
struct Failure {
    input: bool,
    advice: Option<String>,
    source: Box<dyn Error + Send + Sync>,
}

impl Failure {
    fn new(
        input: bool,
        advice: Option<String>,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            input,
            advice,
            source: source.into(),
        }
    }

    fn told(self, message: String) -> BuildError {
        let (hint, source) = (self.advice, Some(self.source));
        match self.input {
            true => BuildError::Input {
                message,
                hint,
                source,
            },
            false => BuildError::Failed {
                message,
                hint,
                source,
            },
        }
    }
}

impl From<ArchiveFileError> for Failure {
    fn from(error: ArchiveFileError) -> Self {
        Self::new(error.is_input(), None, error)
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        let advice = match &error {
            ArchiveError::Blob { source, .. } => supply_error(source).and_then(SupplyError::advice),
            ArchiveError::Tar(_) => None,
        };
        Self::new(false, advice, error)
    }
}

impl From<BringError> for Failure {
    fn from(error: BringError) -> Self {
        let advice = match &error {
            BringError::Supply(error) => error.advice(),
            BringError::Keep(_) => None,
        };
        Self::new(false, advice, error)
    }
}

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Self {
        let advice = match &error {
            LayoutError::Blob { source, .. } => supply_error(source).and_then(SupplyError::advice),
            LayoutError::Directory { .. }
            | LayoutError::Write { .. }
            | LayoutError::Replace { .. }
            | LayoutError::Index { .. }
            | LayoutError::IndexSize(_)
            | LayoutError::Interrupted => error.advice(),
        };
        Self::new(error.is_input(), advice, error)
    }
}

impl From<RootError> for Failure {
    fn from(error: RootError) -> Self {
        Self::new(false, None, error)
    }
}

impl From<PlatformRootsError> for Failure {
    fn from(error: PlatformRootsError) -> Self {
        Self::new(error.is_input(), error.advice(), error)
    }
}

impl From<RootTarError> for Failure {
    fn from(error: RootTarError) -> Self {
        Self::new(false, None, error)
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        Self::new(error.is_input(), None, error)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::new(false, error.advice(), error)
    }
}

/// Runs what waits for disks and pipes where it keeps nobody else waiting.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .expect("writing does not panic")
}

const UNLOADED: &str = "could not load the image";
const UNSTORED: &str = "could not keep the image in the store";

fn unwritten(destination: &Destination) -> String {
    match destination {
        Destination::File(path) => format!("could not write {}", path.display()),
        Destination::Stdout => "could not write to the standard output".to_owned(),
    }
}

fn at(destination: &Destination) -> OutputReport {
    OutputReport::Written {
        path: match destination {
            Destination::File(path) => Some(path.clone()),
            Destination::Stdout => None,
        },
    }
}
