//! Where the images of a set begin: their contexts, brought to this machine, and the texts of
//! their Dockerfiles. What several images have in common is brought once.

use std::path::PathBuf;
use std::sync::Arc;

use graph::{BuildGraph, ContextName, FileSource, ImageNumber};

use crate::contexts::Contexts;
use crate::error::BuildError;
use crate::place::{Place, Places};
use crate::ports::Ports;
use crate::request::{BuildRequest, ContextSource};
use crate::review::Review;
use crate::secret::Secrets;
use crate::set::SetRequest;
use crate::source::{Text, read_dockerfile};

/// What is there before anything is planned.
pub(crate) struct Sources {
    pub secrets: Secrets,
    pub places: Places,
    /// The contexts, by image.
    mains: Vec<Arc<Place>>,
    brought: Vec<(ContextSource, bool, Arc<Place>)>,
}

impl Sources {
    /// Reads what the images of a set are made from. Gives also their Dockerfiles.
    pub(crate) async fn read(
        set: &SetRequest,
        ports: &Ports,
    ) -> Result<(Self, Vec<Text>), BuildError> {
        let secrets = Secrets::read(&set.options().secrets, &*ports.reporter)?;
        let mut sources = Self {
            places: Places::new(ports, &secrets)?,
            secrets,
            mains: Vec::new(),
            brought: Vec::new(),
        };
        let mut texts = Vec::new();
        for (number, image) in set.numbered() {
            let text = sources.read_image(&image.request, ports).await;
            texts.push(text.map_err(|error| set.blame(number, error))?);
        }
        Ok((sources, texts))
    }

    async fn read_image(
        &mut self,
        request: &BuildRequest,
        ports: &Ports,
    ) -> Result<Text, BuildError> {
        let main = self.bring(&request.context, request, ports).await?;
        let text = read_dockerfile(&request.dockerfile, &main, &self.places, ports).await?;
        self.mains.push(main);
        Ok(text)
    }

    /// Brings a context, unless that has been done.
    async fn bring(
        &mut self,
        source: &ContextSource,
        request: &BuildRequest,
        ports: &Ports,
    ) -> Result<Arc<Place>, BuildError> {
        let keep_git_dir = request.keeps_git_dir()?;
        let known = self.brought.iter().find(|(known, keeps, _)| {
            known == source && (*keeps == keep_git_dir || !matches!(source, ContextSource::Git(_)))
        });
        if let Some((.., place)) = known {
            return Ok(Arc::clone(place));
        }
        let place = Arc::new(self.places.bring(source, keep_git_dir, ports).await?);
        let kept = (source.clone(), keep_git_dir, Arc::clone(&place));
        self.brought.push(kept);
        Ok(place)
    }

    /// Opens the contexts, but for named ones that no step takes files from.
    pub(crate) async fn contexts(
        &mut self,
        set: &SetRequest,
        texts: &[Text],
        graph: &BuildGraph,
        ports: &Ports,
    ) -> Result<Contexts, BuildError> {
        let mut contexts = self.main_contexts(set, texts, ports)?;
        for (number, image) in set.numbered() {
            let request = &image.request;
            let opened = self.open_named(&mut contexts, number, request, graph, ports);
            opened.await.map_err(|error| set.blame(number, error))?;
        }
        Ok(contexts)
    }

    /// Opens the context that each image is built from with the ignore file beside its Dockerfile,
    /// whose name it has; that wins over the one in the context (spec row D1).
    pub(crate) fn main_contexts(
        &self,
        set: &SetRequest,
        texts: &[Text],
        ports: &Ports,
    ) -> Result<Contexts, BuildError> {
        let mut contexts = Contexts::default();
        for (((number, _), text), main) in set.numbered().zip(texts).zip(&self.mains) {
            let beside = text.path.as_ref().map(|path| {
                let mut name = path.clone().into_os_string();
                name.push(".dockerignore");
                PathBuf::from(name)
            });
            let opened = contexts.open(ContextName::Main(number), main, beside, &ports.store);
            opened.map_err(|error| set.blame(number, error))?;
        }
        Ok(contexts)
    }

    async fn open_named(
        &mut self,
        contexts: &mut Contexts,
        image: ImageNumber,
        request: &BuildRequest,
        graph: &BuildGraph,
        ports: &Ports,
    ) -> Result<(), BuildError> {
        for (name, source) in &request.named_contexts {
            let context = ContextName::Named(image, name.clone());
            let is_needed = |step: &graph::Step| {
                let mut sources = step.file_sources();
                sources.any(|(from, _)| *from == FileSource::Context(context.clone()))
            };
            if !graph.steps().iter().any(is_needed) {
                continue;
            }
            let place = self.bring(source, request, ports).await?;
            if !contexts.open(context, &place, None, &ports.store)? {
                return Err(BuildError::input(format!(
                    "the context `{name}` holds no files: it is neither a directory nor an archive"
                )));
            }
        }
        Ok(())
    }
}

/// Reads the texts of the Dockerfiles as such.
pub(crate) fn reviews<'t>(
    set: &SetRequest,
    texts: &'t [Text],
    ports: &Ports,
) -> Result<Vec<Review<'t>>, BuildError> {
    let texts = set.numbered().zip(texts);
    texts
        .map(|((number, image), text)| {
            let review = Review::begin(text, &image.request.graph, ports);
            review.map_err(|error| set.blame(number, error))
        })
        .collect()
}

/// What only contexts show.
pub(crate) fn review_contexts(reviews: &[Review<'_>], graph: &BuildGraph, contexts: &Contexts) {
    for (number, review) in (0..).map(ImageNumber).zip(reviews) {
        if let Some(context) = contexts.get(&ContextName::Main(number)) {
            review.ignored(graph, number, context.ignore());
        }
    }
}

/// Tells what was found in the Dockerfiles.
pub(crate) fn conclude(
    set: &SetRequest,
    reviews: &[Review<'_>],
    ports: &Ports,
) -> Result<(), BuildError> {
    for ((number, _), review) in set.numbered().zip(reviews) {
        let concluded = review.conclude(ports);
        concluded.map_err(|error| set.blame(number, error))?;
    }
    Ok(())
}
