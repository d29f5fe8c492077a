//! Carries out one step: COPY, ADD and WORKDIR here, RUN in `run_step.rs`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use dockerfile::chown::Owner;
use dockerfile::{Span, Spanned};
use graph::{
    BuildGraph, ContextName, CopySource, CopyStep, FileSource, Step, StepId, StepKind, Unpack,
    WorkdirStep,
};
use oci::{Digest, Hasher, Platform};
use store::Store;
use store::layer::{Layer, LayerOptions, Tree};
use store::scratch::Scratch;
use tokio::sync::OnceCell;

use crate::cache_mounts::KeptMounts;
use crate::contexts::Contexts;
use crate::copy::archive::{Spools, UnpackError};
use crate::copy::context::{Context, Exclusion};
use crate::copy::files::{self, Files, NodeKind};
use crate::copy::hashed::Hashed;
use crate::copy::layer_files::LayerFiles;
use crate::copy::place::{Destination, PlaceError, Placer, refuse_several};
use crate::copy::programs::Program;
use crate::copy::select::{Match, SelectError, Selection, Selector, near};
use crate::copy::stage::StageFiles;
use crate::copy::write::{OpenSource, WriteError, Written, write};
use crate::emulation::{Emulation, EmulationError, Way};
use crate::event::Reporter;
use crate::layers::{LayerError, Layers};
use crate::lazy::Wanted;
use crate::output::{LayerRef, StepOutput};
use crate::remote::{RemoteError, Remotes};
use crate::request::SandboxChoice;
use crate::run::mounts::MountError;
use crate::run::ssh::Agents;
use crate::run::{Redactor, RunError};
use crate::secret::Secrets;
use crate::trace::Tracer;
use crate::users::{UserDatabase, UserError};

/// What steps are carried out with.
pub(crate) struct Workshop {
    pub store: Store,
    pub scratch: Arc<Scratch>,
    pub layers: Layers,
    /// What ADD fetches.
    pub remotes: Arc<Remotes>,
    /// The build contexts.
    pub contexts: Contexts,
    pub reporter: Arc<dyn Reporter>,
    pub cancel: sandbox::CancelToken,
    pub sandbox: SandboxChoice,
    pub rung: OnceCell<sandbox::Rung>,
    pub resolv_conf: Vec<u8>,
    pub layer: LayerOptions,
    pub epoch: i64,
    pub emulation: Emulation,
    /// What runs the programs of each platform that was asked about.
    pub ways: tokio::sync::Mutex<BTreeMap<Platform, Way>>,
    /// Programs that were copied, by step.
    pub programs: Mutex<BTreeMap<StepId, Vec<Program>>>,
    /// What context sources selected when they were fingerprinted.
    pub selections: Mutex<HashMap<StepId, Vec<Selection>>>,
    /// What mounts of contexts showed when they were fingerprinted, and the digest of each.
    pub mounted: Mutex<HashMap<StepId, Vec<(Selection, Digest)>>>,
    /// `--secret`.
    pub secrets: Secrets,
    /// `--ssh`.
    pub agents: Agents,
    /// What cache mounts are brought from and taken back to.
    pub kept: Arc<KeptMounts>,
    /// Hides the secrets in what commands print.
    pub redactor: Arc<Redactor>,
    /// Notes what explains the build.
    pub tracer: Tracer,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error("{}", .0.source)]
    Select(Box<Unselected>),
    /// What is wrong with one word of the instruction.
    #[error("{error}")]
    At { error: Box<StepError>, span: Span },
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    User(#[from] UserError),
    #[error("{}", .0.source)]
    Owner(Box<UnknownOwner>),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Emulation(#[from] EmulationError),
    #[error("RUN has nowhere to run")]
    Probe(#[from] sandbox::ProbeError),
    #[error("{source}")]
    Remote {
        source: Box<RemoteError>,
        span: Span,
    },
    #[error("there is no build context to copy from")]
    NoContext { span: Span },
    #[error("{source}")]
    Mount { source: MountError, span: Span },
    #[error("{path} changed while it was mounted: build again when it is at rest")]
    Changed { path: String, span: Span },
    #[error("could not open the directory of an unpacked layer")]
    Directory(#[source] std::io::Error),
}

/// An owner that the image of a COPY or ADD does not know.
#[derive(Debug)]
pub(crate) struct UnknownOwner {
    pub source: UserError,
    /// The value of `--chown`.
    pub span: Span,
}

/// A source of COPY or ADD that selects nothing that can be copied.
#[derive(Debug)]
pub(crate) struct Unselected {
    pub source: SelectError,
    pub span: Span,
    /// It was looked for in the build context, not in an image.
    pub from_context: bool,
    /// It exists, but an ignore file keeps it out.
    pub excluded: Option<Exclusion>,
    /// What else is in its directory.
    pub near: Vec<String>,
}

impl StepError {
    /// Points an error at a word.
    fn at<E: Into<Self>>(span: Span) -> impl Fn(E) -> Self {
        move |error| Self::At {
            error: Box::new(error.into()),
            span,
        }
    }
}

impl Workshop {
    /// A digest of everything that a step takes from outside of the graph. What a copy selects
    /// is kept for when it is carried out.
    pub(crate) async fn fingerprint_outside(
        self: Arc<Self>,
        id: StepId,
        graph: Arc<BuildGraph>,
    ) -> Result<Digest, StepError> {
        let remote = match &graph.step(id).kind {
            StepKind::Copy(copy) => self.fingerprints(copy).await?,
            StepKind::Scratch
            | StepKind::Base(_)
            | StepKind::Run(_)
            | StepKind::Workdir(_)
            | StepKind::Merge(_) => Vec::new(),
        };
        tokio::task::spawn_blocking(move || match &graph.step(id).kind {
            StepKind::Copy(copy) => self.fingerprint_context(id, copy, &remote),
            StepKind::Run(run) => self.fingerprint_mounted(id, run),
            StepKind::Scratch | StepKind::Base(_) | StepKind::Workdir(_) | StepKind::Merge(_) => {
                unreachable!("only copies and mounts have sources outside")
            }
        })
        .await
        .expect("fingerprinting does not panic")
    }

    /// The build context of a name.
    pub(crate) fn context(&self, name: &ContextName, span: Span) -> Result<&Context, StepError> {
        self.contexts.get(name).ok_or(StepError::NoContext { span })
    }

    /// Finds what a step copies from contexts, and a digest of it all. `remote`: the digests of
    /// sources from elsewhere.
    fn fingerprint_context(
        &self,
        id: StepId,
        copy: &CopyStep,
        remote: &[Option<Digest>],
    ) -> Result<Digest, StepError> {
        let mut hash = Hasher::default();
        for digest in remote.iter().flatten() {
            hash.update(digest.as_str().as_bytes());
        }
        let mut selections = Vec::new();
        for source in &copy.sources {
            let mut selection = Selection::default();
            if let CopySource::Files {
                from: FileSource::Context(name),
                pattern,
                span,
                pivot,
            } = source
            {
                let context = self.context(name, *span)?;
                selection.matches = Selector::of(copy)
                    .and_then(|selector| selector.select(context, pattern, *pivot))
                    .map_err(|source| unselected(context, source, *span, pattern))?;
                context.read_ahead(selection.nodes(), self.layer.threads);
                let fingerprint = selection
                    .fingerprint(context)
                    .map_err(|error| StepError::at(*span)(WriteError::from(error)))?;
                hash.update(fingerprint.as_str().as_bytes());
            }
            selections.push(selection);
        }
        let fingerprint = hash.finish();
        self.note_copied(id, copy, remote, &selections, &fingerprint);
        self.selections
            .lock()
            .expect("no panics under this lock")
            .insert(id, selections);
        Ok(fingerprint)
    }

    /// Notes which files a copy takes from outside.
    fn note_copied(
        &self,
        id: StepId,
        copy: &CopyStep,
        remote: &[Option<Digest>],
        selections: &[Selection],
        fingerprint: &Digest,
    ) {
        let words: Vec<String> = copy.sources.iter().map(shown_source).collect();
        let sources: Vec<&str> = words.iter().map(String::as_str).collect();
        self.tracer.note_files(id, &sources, fingerprint, |list| {
            for (number, source) in copy.sources.iter().enumerate() {
                if let CopySource::Files {
                    from: FileSource::Context(name),
                    ..
                } = source
                {
                    let context = self.contexts.get(name)?;
                    list.add(selections.get(number)?, context).ok()?;
                } else if let Some(digest) = remote.get(number)?.as_ref() {
                    list.add_address(&words[number], digest);
                }
            }
            Some(())
        });
    }

    /// A digest of what a step copies from other steps, by content: the same
    /// files from a rebuilt stage have the same one.
    pub(crate) async fn fingerprint_sources(
        &self,
        step: &Step,
        outputs: &HashMap<StepId, StepOutput>,
    ) -> Result<Digest, StepError> {
        let copy = match &step.kind {
            StepKind::Copy(copy) => copy,
            StepKind::Run(run) => return self.fingerprint_mounted_steps(run, outputs).await,
            StepKind::Scratch | StepKind::Base(_) | StepKind::Workdir(_) | StepKind::Merge(_) => {
                unreachable!("only copies and mounts have sources in steps")
            }
        };
        let mut hash = Hasher::default();
        for source in &copy.sources {
            if let CopySource::Files {
                from: FileSource::Step(step),
                pattern,
                span,
                pivot,
            } = source
            {
                let stack = &outputs[step].stack;
                // What cannot be read in parts is unpacked in the pass that finds out what is in it.
                let whole = !self.layers.gives_parts(stack).await;
                let tree = self.layers.tree(stack, whole).await?;
                let source = StageFiles::new(tree);
                let matches = Selector::of(copy)
                    .and_then(|selector| selector.select(&source, pattern, *pivot))
                    .map_err(|error| unfound(error, *span, &source, pattern))?;
                let fingerprint = Selection { matches }
                    .fingerprint(&source)
                    .map_err(|error| StepError::at(*span)(WriteError::from(error)))?;
                hash.update(fingerprint.as_str().as_bytes());
            }
        }
        Ok(hash.finish())
    }

    /// COPY and ADD. `soon`: something will run on the parent.
    pub(crate) async fn copy(
        self: Arc<Self>,
        id: StepId,
        graph: Arc<BuildGraph>,
        copy: CopyStep,
        parent: StepOutput,
        outputs: HashMap<StepId, StepOutput>,
        soon: bool,
    ) -> Result<StepOutput, StepError> {
        let lower = self.layers.outline(&parent.stack, soon).await?;
        let selections = self
            .selections
            .lock()
            .expect("no panics under this lock")
            .remove(&id);
        let mut selections = selections.unwrap_or_default();
        selections.resize_with(copy.sources.len(), Selection::default);
        let copy = Arc::new(copy);
        let mut healed = false;
        loop {
            let stages = self.open_stages(&copy, &mut selections, &outputs).await?;
            let (workshop, graph) = (Arc::clone(&self), Arc::clone(&graph));
            let (step, lower) = (Arc::clone(&copy), Arc::clone(&lower));
            let (selected, copied) = tokio::task::spawn_blocking(move || {
                let _graph = graph;
                let copied = workshop.copy_blocking(&step, &lower, &selections, stages);
                (selections, copied)
            })
            .await
            .expect("copying does not panic");
            selections = selected;
            match (copied, healed) {
                (Ok(Written { layer, programs }), _) => {
                    self.programs
                        .lock()
                        .expect("no panics under this lock")
                        .insert(id, programs);
                    return Ok(parent.with(layer_ref(&layer)));
                }
                // Forgotten now, and made anew by the second attempt.
                (Err(StepError::Write(WriteError::Damaged { number, layer, .. })), false)
                    if let CopySource::Files {
                        from: FileSource::Step(step),
                        ..
                    } = &copy.sources[number] =>
                {
                    let stack = &outputs[step].stack;
                    self.layers.forget(stack, layer);
                    self.layers.lazy().give_up(&stack[layer].blob);
                    healed = true;
                }
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// Finds what a step copies from stages and images, and opens their layers.
    async fn open_stages(
        &self,
        copy: &CopyStep,
        selections: &mut [Selection],
        outputs: &HashMap<StepId, StepOutput>,
    ) -> Result<Vec<Opened>, StepError> {
        let mut stages = Vec::new();
        for (source, selection) in copy.sources.iter().zip(selections) {
            stages.push(match source {
                CopySource::Inline(_)
                | CopySource::Files {
                    from: FileSource::Context(_),
                    ..
                } => Opened::AtHand,
                CopySource::Url(url) => {
                    let (context, selected) = self.fetch_file(url).await?;
                    *selection = selected;
                    Opened::Fetched(Box::new(context))
                }
                CopySource::Git(git) => {
                    let (context, selected) = self.fetch_commit(git, copy).await?;
                    *selection = selected;
                    Opened::Fetched(Box::new(context))
                }
                CopySource::Files {
                    from: FileSource::Step(step),
                    pattern,
                    span,
                    pivot,
                } => {
                    let stack = &outputs[step].stack;
                    let tree = self.layers.tree(stack, false).await?;
                    let files = StageFiles::new(Arc::clone(&tree));
                    selection.matches = Selector::of(copy)
                        .and_then(|selector| selector.select(&files, pattern, *pivot))
                        .map_err(|source| unfound(source, *span, &files, pattern))?;
                    let layers = self
                        .open_layers(stack, &tree, &files, &selection.matches)
                        .await?;
                    Opened::Stage(files, layers)
                }
            });
        }
        Ok(stages)
    }

    /// Finds out where to read the contents of the layers that hold the content of files.
    async fn open_layers(
        &self,
        stack: &[LayerRef],
        tree: &Arc<Tree>,
        files: &StageFiles,
        matches: &[Match],
    ) -> Result<Vec<LayerFiles>, StepError> {
        // Of each layer, where what is needed lies in its tar; nothing when nobody can say.
        let mut needed: Vec<Option<Wanted>> = stack.iter().map(|_| None).collect();
        let mut in_sight = vec![true; stack.len()];
        for found in matches {
            let below = found.below.iter().map(|below| (&below.path, &below.node));
            for (path, node) in below.chain([(&found.path, &found.node)]) {
                if matches!(node.kind, NodeKind::File { .. })
                    && let Some((layer, _)) = files.place_of_content(path)
                {
                    in_sight[layer] &= files.is_in_sight(path);
                    needed[layer]
                        .get_or_insert_default()
                        .add(files.extent(path));
                }
            }
        }
        let mut layers = Vec::new();
        for (position, wanted) in needed.into_iter().enumerate() {
            layers.push(match wanted {
                None => LayerFiles::Unused,
                Some(wanted) => match self.layers.mounted_files(stack, position) {
                    Some(directory) if in_sight[position] => LayerFiles::Unpacked(directory),
                    Some(_) | None => self.layers.files(stack, position, tree, &wanted).await?,
                },
            });
        }
        Ok(layers)
    }

    fn copy_blocking(
        &self,
        copy: &CopyStep,
        lower: &Tree,
        selections: &[Selection],
        stages: Vec<Opened>,
    ) -> Result<Written, StepError> {
        let owner = copy
            .chown
            .as_ref()
            .map(|owner| owner_of(lower, owner))
            .transpose()?;
        let mode = copy.chmod.as_ref().map(|chmod| &chmod.change);
        let mut placer = Placer::new(lower, owner, mode, self.epoch);
        let destination = placer.destination(&copy.destination, copy.destination_is_directory)?;
        let inline = copy
            .sources
            .iter()
            .filter(|source| matches!(source, CopySource::Inline(_)))
            .count();
        let selected: usize = selections
            .iter()
            .map(|selection| selection.matches.len())
            .sum();
        refuse_several(inline + selected, &destination)?;

        let mut spools = Spools::default();
        let mut sources = Vec::new();
        for ((number, source), stage) in copy.sources.iter().enumerate().zip(stages) {
            let matches = &selections[number].matches;
            match (source, stage) {
                (CopySource::Inline(file), _) => {
                    placer.inline(&file.name, &file.content, &destination)?;
                    sources.push(OpenSource::Inline);
                }
                (CopySource::Files { .. }, Opened::Stage(files, layers)) => {
                    placer.place(number, matches, &destination)?;
                    sources.push(OpenSource::Stage { files, layers });
                }
                (
                    CopySource::Files {
                        from: FileSource::Context(name),
                        span,
                        ..
                    },
                    _,
                ) => {
                    let context = self.context(name, *span)?;
                    for found in matches {
                        let unpacked = copy.unpack != Unpack::Nothing
                            && self
                                .unpack(context, found, &mut spools, &destination, &mut placer)
                                .map_err(StepError::at(*span))?;
                        if !unpacked {
                            placer.place(number, std::slice::from_ref(found), &destination)?;
                        }
                    }
                    sources.push(OpenSource::Context(context));
                }
                // A commit is a tree, and archives in it stay what they are.
                (CopySource::Git(_), Opened::Fetched(context)) => {
                    placer.place(number, matches, &destination)?;
                    sources.push(OpenSource::Fetched(context));
                }
                (CopySource::Url(url), Opened::Fetched(context)) => {
                    for found in matches {
                        let unpacked = copy.unpack == Unpack::All
                            && self
                                .unpack(&context, found, &mut spools, &destination, &mut placer)
                                .map_err(StepError::at(url.span))?;
                        if !unpacked {
                            placer.place(number, std::slice::from_ref(found), &destination)?;
                        }
                    }
                    sources.push(OpenSource::Fetched(context));
                }
                (CopySource::Files { .. } | CopySource::Url(_) | CopySource::Git(_), _) => {
                    unreachable!("sources are opened by what they are")
                }
            }
        }
        let planned = placer.finish()?;
        Ok(write(&self.store, self.layer, planned, &sources, &spools)?)
    }

    /// Unpacks a file of a context if it is an archive, and says whether it was.
    fn unpack(
        &self,
        context: &Context,
        found: &Match,
        spools: &mut Spools,
        destination: &Destination,
        placer: &mut Placer<'_>,
    ) -> Result<bool, StepError> {
        if !matches!(found.node.kind, NodeKind::File { .. }) {
            return Ok(false);
        }
        let path = &found.path;
        let failed = |source| {
            let path = path.clone();
            WriteError::Files(files::FilesError::Read { path, source })
        };
        let mut file = Hashed::new(context.open_file(path).map_err(failed)?);
        if !spools.unpack(path, &mut file, destination, placer, &self.scratch)? {
            return Ok(false);
        }
        let expected = context
            .content(path, &found.node)
            .map_err(WriteError::from)?;
        if file.finish().map_err(failed)? != expected {
            return Err(WriteError::Changed { path: path.clone() }.into());
        }
        Ok(true)
    }

    /// WORKDIR: the directory and those above it, made where they are missing
    /// and given to the current user (spec row R3).
    pub(crate) async fn workdir(
        self: Arc<Self>,
        step: WorkdirStep,
        parent: StepOutput,
        soon: bool,
    ) -> Result<StepOutput, StepError> {
        let lower = self.layers.outline(&parent.stack, soon).await?;
        let owner = UserDatabase::of(&lower).maker(&step.user)?;
        let mut placer = Placer::new(&lower, Some(owner), None, self.epoch);
        let destination = placer.destination(&step.path, true)?;
        placer.target_directory(&destination)?;
        let planned = placer.finish()?;
        let written = write(&self.store, self.layer, planned, &[], &Spools::default())?;
        Ok(parent.with(layer_ref(&written.layer)))
    }

    /// What runs programs of a platform. Found out once for each, and said.
    pub(crate) async fn way_of(&self, platform: &Platform) -> Result<Way, StepError> {
        if self.emulation.is_native(platform) {
            return Ok(Way::Native);
        }
        let mut ways = self.ways.lock().await;
        if let Some(way) = ways.get(platform) {
            return Ok(way.clone());
        }
        let rung = *self.rung.get_or_try_init(|| self.probe()).await?;
        let (emulation, wanted) = (self.emulation.clone(), platform.clone());
        let way = tokio::task::spawn_blocking(move || emulation.find(&wanted, rung))
            .await
            .expect("looking for an emulator does not panic")?;
        let how = match &way {
            Way::Native => "by this processor".to_owned(),
            Way::Registered { interpreter } => format!("by {interpreter}, which the kernel knows"),
            Way::Given(emulator) => format!("by {}", emulator.interpreter.display()),
        };
        self.reporter.report(crate::Event::Note {
            message: format!("programs for {platform} are run {how}"),
        });
        ways.insert(platform.clone(), way.clone());
        Ok(way)
    }

    pub(crate) async fn probe(&self) -> Result<sandbox::Rung, StepError> {
        let requested = match self.sandbox {
            SandboxChoice::Auto => sandbox::Requested::Auto,
            SandboxChoice::Root => sandbox::Requested::Root,
            SandboxChoice::UserNamespace => sandbox::Requested::UserNamespace,
        };
        let directory = self.scratch.path().to_owned();
        let rung = tokio::task::spawn_blocking(move || sandbox::probe(requested, &directory))
            .await
            .expect("probing does not panic")?;
        self.reporter.report(crate::Event::Note {
            message: format!("sandbox: {rung}"),
        });
        Ok(rung)
    }
}

/// A source as explanations name it.
fn shown_source(source: &CopySource) -> String {
    match source {
        CopySource::Files { pattern, .. } => pattern.clone(),
        CopySource::Inline(file) => file.name.clone(),
        CopySource::Url(url) => dockerfile::remote::without_credentials(&url.url),
        CopySource::Git(git) => dockerfile::remote::without_credentials(&git.repository),
    }
}

/// The numbers that `--chown` means in an image.
fn owner_of(lower: &Tree, owner: &Spanned<Owner>) -> Result<(u32, u32), StepError> {
    let users = UserDatabase::of(lower);
    users.owner(&owner.value).map_err(|source| {
        StepError::Owner(Box::new(UnknownOwner {
            span: owner.span,
            source,
        }))
    })
}

/// A source that a step has opened to copy from it.
enum Opened {
    /// It was open already: a context, a text.
    AtHand,
    /// A tree, and where to read the contents of its layers.
    Stage(StageFiles, Vec<LayerFiles>),
    /// What was fetched for the step.
    Fetched(Box<Context>),
}

pub(crate) fn unselected(
    context: &Context,
    source: SelectError,
    span: Span,
    pattern: &str,
) -> StepError {
    let excluded = context.exclusion(pattern);
    let near = match (&source, &excluded) {
        (SelectError::NotFound { .. }, None) => near(context, pattern),
        _ => Vec::new(),
    };
    StepError::Select(Box::new(Unselected {
        source,
        span,
        from_context: true,
        excluded,
        near,
    }))
}

pub(crate) fn unfound(
    source: SelectError,
    span: Span,
    files: &StageFiles,
    pattern: &str,
) -> StepError {
    let near = match &source {
        SelectError::NotFound { .. } => near(files, pattern),
        SelectError::ThroughLink { .. } | SelectError::Pattern { .. } | SelectError::Files(_) => {
            Vec::new()
        }
    };
    StepError::Select(Box::new(Unselected {
        source,
        span,
        from_context: false,
        excluded: None,
        near,
    }))
}

pub(crate) fn layer_ref(layer: &Layer) -> LayerRef {
    LayerRef {
        diff_id: layer.diff_id.clone(),
        blob: layer.descriptor.clone(),
    }
}
