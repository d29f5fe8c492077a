//! Steps: what a build does to file systems, and in which order it must.
//!
//! Only what changes files is a step. ENV, LABEL, CMD and their like have been carried out by the
//! time a graph exists: they changed later steps and the target's configuration.

use std::fmt;

use dockerfile::Span;
use dockerfile::chmod::ModeChange;
use dockerfile::chown::Owner;
use oci::{Platform, Reference};

use crate::{BaseImage, ExtraHost, Network, TargetImage};

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

/// Steps in a table. A step names only earlier ones, so the graph has no cycles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildGraph {
    steps: Vec<Step>,
    /// What is to come out.
    pub target: TargetImage,
}

impl BuildGraph {
    /// A graph from its table.
    ///
    /// # Panics
    ///
    /// When a step names itself or a later one, or the target is not in the table: a mistake of
    /// the program, never of its input.
    pub fn new(steps: Vec<Step>, target: TargetImage) -> Self {
        for (index, step) in steps.iter().enumerate() {
            for input in step.inputs() {
                assert!(input.index() < index, "step {index} names step {input}");
            }
        }
        assert!(target.step.index() < steps.len(), "the target is no step");
        Self { steps, target }
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
}

impl Step {
    /// The steps whose outputs this one reads: its parent first, then the sources of a copy.
    pub fn inputs(&self) -> impl Iterator<Item = StepId> + '_ {
        let sources: &[CopySource] = match &self.kind {
            StepKind::Copy(copy) => &copy.sources,
            StepKind::Scratch | StepKind::Base(_) | StepKind::Run(_) | StepKind::Workdir(_) => &[],
        };
        let copied = sources.iter().filter_map(|source| match source {
            CopySource::Step { step, .. } => Some(*step),
            CopySource::Context { .. } | CopySource::Inline(_) => None,
        });
        self.parent.into_iter().chain(copied)
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
        reference: Option<Reference>,
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
    Run(RunStep),
    /// Copies files in: COPY and ADD. Always a layer.
    Copy(CopyStep),
    /// Makes a directory. Always a layer (I11): `WORKDIR /` is not a step.
    Workdir(WorkdirStep),
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
    /// The command for messages: as written in the Dockerfile, on one line where it was.
    pub command_shown: String,
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
    /// looked up in the step's own root (C2).
    pub chown: Option<Owner>,
    /// The mode of everything copied and of the directories made for it (C4, C5).
    pub chmod: Option<Chmod>,
    /// ADD: a source file that is a tar archive is unpacked (C22).
    pub unpack: bool,
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
    /// Files of the build context, which all belong to root (C1).
    Context {
        /// Relative and clean: no `.`, `..`, slash at either end (C12, C16); empty is the whole
        /// context. Wildcards as in [`dockerfile::glob`].
        pattern: String,
        /// The word in the Dockerfile.
        span: Span,
    },
    /// Files of another step's output, with their owners.
    Step {
        /// An earlier step.
        step: StepId,
        /// As for the context, from the root.
        pattern: String,
        /// The word in the Dockerfile.
        span: Span,
    },
    /// A here-document (H8): 0644, root.
    Inline(InlineFile),
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
