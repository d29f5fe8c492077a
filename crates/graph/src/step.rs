//! Steps: what a build does to file systems, and in which order it must.
//!
//! Only what changes files is a step. ENV, LABEL, CMD and their like have been carried out by the
//! time a graph exists: they changed later steps and the target's configuration.

use std::fmt;

use dockerfile::chmod::ModeChange;
use dockerfile::chown::Owner;
use dockerfile::{Span, Spanned};
use oci::{Digest, Platform};

use crate::{
    BaseImage, ExtraHost, ImageName, Network, RunMount, RunMountKind, TargetImage, Ulimit,
};

/// The place of a step in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u32);

impl StepId {
    /// The index into [`BuildGraph::steps`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{}", self.0)
    }
}

/// The place of an image among those that one build makes; 0 where it makes one. Whoever builds
/// has, for each, a text that spans point into and contexts to take files from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ImageNumber(pub u32);

impl ImageNumber {
    /// The index into a table of images.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Steps in a table. A step names only earlier ones, so the graph has no cycles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildGraph {
    pub(crate) steps: Vec<Step>,
    /// What is to come out: an image for each platform, in the order in which they were asked for;
    /// of several images all platforms of the first, then those of the second. At least one.
    pub targets: Vec<TargetImage>,
}

impl BuildGraph {
    /// A graph from its table.
    ///
    /// # Panics
    ///
    /// When a step names itself or a later one, or a target is not in the table: a mistake of the
    /// program, never of its input.
    pub fn new(steps: Vec<Step>, targets: Vec<TargetImage>) -> Self {
        for (index, step) in steps.iter().enumerate() {
            for input in step.inputs() {
                assert!(input.index() < index, "step {index} names step {input}");
            }
        }
        assert!(!targets.is_empty(), "a graph without a target");
        for target in &targets {
            assert!(target.step.index() < steps.len(), "the target is no step");
        }
        Self { steps, targets }
    }

    /// All steps, inputs before their users.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The ids of all steps, in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = StepId> + use<> {
        (0..self.steps.len()).map(|index| StepId(index as u32))
    }

    /// One step.
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.index()]
    }
}

/// One change of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The image whose Dockerfile says so.
    pub image: ImageNumber,
    /// What it does.
    pub kind: StepKind,
    /// The step whose output it changes; nothing for a base.
    pub parent: Option<StepId>,
    /// The instruction in the text of the Dockerfile. For a trigger of a base image: the FROM
    /// that named the image.
    pub span: Span,
    /// Where the instruction was written.
    pub origin: Origin,
    /// For people: `[build 2/5] RUN make`, as BuildKit shows it.
    pub title: String,
    /// The stage's name, or `stage-N` for one without.
    pub stage: String,
    /// It is carried out even where the cache knows its output (`--no-cache-filter`).
    pub ignores_cache: bool,
}

impl Step {
    /// The steps whose outputs this one reads: its parent first, then the sources of a copy or of
    /// mounts, in their order.
    pub fn inputs(&self) -> impl Iterator<Item = StepId> + '_ {
        let sources = self.file_sources().filter_map(|(from, _)| match from {
            FileSource::Step(step) => Some(*step),
            FileSource::Context(_) => None,
        });
        let layer = match &self.kind {
            StepKind::Merge(layer) => Some(*layer),
            StepKind::Scratch
            | StepKind::Base(_)
            | StepKind::Run(_)
            | StepKind::Copy(_)
            | StepKind::Workdir(_) => None,
        };
        self.parent.into_iter().chain(layer).chain(sources)
    }

    /// What this step reads of contexts and of other steps, each with its path or pattern.
    pub fn file_sources(&self) -> impl Iterator<Item = (&FileSource, &str)> {
        let (copied, mounted): (&[CopySource], &[RunMount]) = match &self.kind {
            StepKind::Copy(copy) => (&copy.sources, &[]),
            StepKind::Run(run) => (&[], &run.mounts),
            StepKind::Scratch | StepKind::Base(_) | StepKind::Workdir(_) | StepKind::Merge(_) => {
                (&[], &[])
            }
        };
        let copied = copied.iter().filter_map(|source| match source {
            CopySource::Files { from, pattern, .. } => Some((from, pattern.as_str())),
            CopySource::Inline(_) | CopySource::Url(_) | CopySource::Git(_) => None,
        });
        let mounted = mounted.iter().filter_map(|mount| match &mount.kind {
            RunMountKind::Bind { from, path, .. } => Some((from, path.as_str())),
            RunMountKind::Cache { seed, .. } => {
                seed.as_ref().map(|(from, path)| (from, path.as_str()))
            }
            RunMountKind::Tmpfs { .. } | RunMountKind::Secret { .. } | RunMountKind::Ssh { .. } => {
                None
            }
        });
        copied.chain(mounted)
    }

    /// Whether it takes something from outside of the graph that has to be fingerprinted before
    /// any key is known: files of a context, or what is behind an address.
    pub fn reads_outside(&self) -> bool {
        let remote = match &self.kind {
            StepKind::Copy(copy) => copy
                .sources
                .iter()
                .any(|source| matches!(source, CopySource::Url(_) | CopySource::Git(_))),
            StepKind::Scratch
            | StepKind::Base(_)
            | StepKind::Run(_)
            | StepKind::Workdir(_)
            | StepKind::Merge(_) => false,
        };
        remote
            || self
                .file_sources()
                .any(|(from, _)| matches!(from, FileSource::Context(_)))
    }

    /// Whether it reads files of other steps, not counting its parent.
    pub fn reads_steps(&self) -> bool {
        self.file_sources()
            .any(|(from, _)| matches!(from, FileSource::Step(_)))
    }
}

/// Where an instruction was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the Dockerfile.
    Dockerfile,
    /// As a trigger of an image that the Dockerfile builds on, or of an earlier stage.
    Onbuild {
        /// The image, or nothing when it is a stage of the same Dockerfile.
        reference: Option<ImageName>,
        /// The trigger's text.
        text: String,
    },
}

/// What a step does. A closed set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepKind {
    /// An empty file system. No parent.
    Scratch,
    /// The file system of an image. No parent.
    Base(Box<BaseImage>),
    /// Runs a process and keeps what it changed. Always a layer (R13).
    Run(Box<RunStep>),
    /// Copies files in: COPY and ADD. Always a layer.
    Copy(CopyStep),
    /// Makes a directory. Always a layer (I11): `WORKDIR /` is not a step.
    Workdir(WorkdirStep),
    /// Puts the layer of another step, which was made on nothing, on top of its parent: the second
    /// half of `COPY --link` (C29). The layer's key does not know what is below it.
    Merge(StepId),
}

/// A build context.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContextName {
    /// The one that an image is built from.
    Main(ImageNumber),
    /// One of `--build-context NAME=…`, as that image means it.
    Named(ImageNumber, String),
}

/// Where a step takes files from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// A build context. Its files all belong to root (C1).
    Context(ContextName),
    /// The output of an earlier step.
    Step(StepId),
}

/// `NAME=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Never empty, never with `=`.
    pub name: String,
    /// May be empty.
    pub value: String,
}

/// A process to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStep {
    /// The program and its arguments, SHELL included. Never empty.
    pub argv: Vec<String>,
    /// The whole environment: ENV and declared ARGs in order, each name once, PATH always there.
    pub env: Vec<Variable>,
    /// Proxy settings that were given as build arguments and not declared: in the environment of
    /// the process, not in the key (A8). None of them is also in `env`.
    pub hidden_env: Vec<Variable>,
    /// Absolute. Made with the parents it needs, 0755 and the user's, when it is not there.
    pub cwd: String,
    /// As `USER` wrote it, to be looked up in the step's own root (R1, R2); empty is root.
    pub user: String,
    /// What it can reach.
    pub network: Network,
    /// Lines for `/etc/hosts`.
    pub extra_hosts: Vec<ExtraHost>,
    /// Files to put, read-only and 0755, into [`dockerfile::PIPES_DIRECTORY`] while it runs.
    pub files: Vec<InlineFile>,
    /// What the program must be for.
    pub platform: Platform,
    /// What is in its root only while it runs, in the order of the line.
    pub mounts: Vec<RunMount>,
    /// How much it may do.
    pub security: RunSecurity,
    /// The size of `/dev/shm` in bytes, where it is not to be the usual 64 MiB (R16).
    pub shm_bytes: Option<u64>,
    /// Limits of its processes.
    pub ulimits: Vec<Ulimit>,
    /// The control group that its own is made in.
    pub cgroup_parent: Option<String>,
    /// Its host name, where it is not to be the usual one (`BUILDKIT_SANDBOX_HOSTNAME`).
    pub hostname: Option<String>,
    /// The command for messages: as written in the Dockerfile, without its flags.
    pub command_shown: String,
}

/// What a process may do (`RUN --security`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunSecurity {
    /// What commands of builds need.
    Sandbox,
    /// Everything that the sandbox can give. Only where the user allowed it.
    Insecure,
}

impl RunSecurity {
    /// The word as it stands behind `--security=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Insecure => "insecure",
        }
    }
}

/// A file whose content stands in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineFile {
    /// One path component.
    pub name: String,
    /// The content, variables replaced.
    pub content: String,
}

/// Files to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyStep {
    /// At least one: paths in the order of the line, then here-documents. Later ones win.
    pub sources: Vec<CopySource>,
    /// Absolute and clean: no `.`, `..` or double slash, none at the end (but for the root).
    pub destination: String,
    /// The destination was written with a slash at its end, as `.` or as nothing: it is a
    /// directory even where it does not exist (C7, C15).
    pub destination_is_directory: bool,
    /// The owner of everything copied and of the directories made for it (C4). Names are to be
    /// looked up in the step's own root (C2). The span is the flag's value.
    pub chown: Option<Spanned<Owner>>,
    /// The mode of everything copied and of the directories made for it (C4, C5).
    pub chmod: Option<Chmod>,
    /// Which sources are unpacked where they are tar archives (C22, C23).
    pub unpack: Unpack,
    /// Sources keep the directories that they are in (C28).
    pub parents: bool,
    /// Patterns, as in an ignore file, of what is not copied of directories (C27).
    pub excludes: Vec<String>,
}

/// Which sources of a copy are unpacked where they are tar archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unpack {
    /// None: COPY, and `ADD --unpack=false`.
    Nothing,
    /// Files: ADD.
    Files,
    /// Files and what addresses lead to: `ADD --unpack=true`.
    All,
}

impl Unpack {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Files => "files",
            Self::All => "all",
        }
    }
}

/// A mode as it was written and as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chmod {
    /// As written, variables replaced.
    pub text: String,
    /// What it does to the mode of a file.
    pub change: ModeChange,
}

/// One source of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// Files of a context, or of another step's output with their owners.
    Files {
        /// Whose.
        from: FileSource,
        /// From the root of what they are taken from, and clean: no `.`, `..`, slash at either
        /// end (C12, C16); empty is everything. Wildcards as in [`dockerfile::glob`].
        pattern: String,
        /// How many components at its beginning are not kept under `--parents`: those before
        /// `/./` (C28).
        pivot: usize,
        /// The word in the Dockerfile.
        span: Span,
    },
    /// A here-document (H8): 0644, root.
    Inline(InlineFile),
    /// What is behind an address: 0600, root (C24).
    Url(UrlSource),
    /// The files of a commit (C25).
    Git(GitSource),
}

/// A file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlSource {
    /// `http` or `https`; may hold a password.
    pub url: String,
    /// The name that it gets: one component, from the address.
    pub file_name: String,
    /// What its content must hash to.
    pub checksum: Option<Digest>,
    /// The word in the Dockerfile.
    pub span: Span,
}

/// Files of a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// As git takes it, without fragment and query; may hold a password.
    pub repository: String,
    /// A branch, a tag or a commit; the default branch when absent.
    pub reference: Option<String>,
    /// The directory whose files are taken, relative and clean; empty is the whole tree.
    pub subdirectory: String,
    /// Whether submodules are checked out too.
    pub submodules: bool,
    /// Whether `.git` is among the files.
    pub keep_git_dir: bool,
    /// What the commit's id must begin with.
    pub checksum: Option<String>,
    /// The word in the Dockerfile.
    pub span: Span,
}

/// A directory to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkdirStep {
    /// Absolute and clean; never the root. What is missing of it is made 0755; what exists is not
    /// touched (R3).
    pub path: String,
    /// Who owns what is made, as `USER` wrote it; but a number without a group is its own group,
    /// as in `--chown` (R3).
    pub user: String,
}
