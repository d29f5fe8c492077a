//! Stages to steps: every instruction is carried out as far as it can be without touching a file.
//!
//! What only describes the image (ENV, CMD, LABEL and so on) changes the configuration that is
//! carried along; what changes files becomes a step that holds everything it needs. All findings
//! of a Dockerfile are collected before anything is given up.

mod config;
mod context;
mod copy;
mod mount;
mod remote;
mod render;
mod run;
mod workdir;

use std::collections::{BTreeSet, HashMap};

use dockerfile::suggest::nearest;
use dockerfile::{Diagnostic, ExpandErrorKind, InstructionKind, Rule, Span, Spanned, expand};
use oci::{ContainerConfig, Digest, History, ImageConfig, Platform, RootFs};

use crate::build_arguments::{is_for_the_scanner, needs_no_declaration};
use crate::scope::Scope;
use crate::stage::{Planned, Stage, StageBase, expand_error};
use crate::{
    BaseImage, BuildGraph, HistoryEntry, ImageName, Origin, Request, StageSet, Step, StepId,
    StepKind, TargetImage, Variable, paths,
};

/// What is searched for programs when neither the base nor the Dockerfile says so (F14).
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The comment of every history entry that BuildKit makes from a Dockerfile.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// The comment of an entry for a layer of a base image that has none.
const MISSING_HISTORY_COMMENT: &str = "layer without history in the base image";

/// The most text that the history of an image may have, in bytes. It is part of the configuration,
/// and nobody accepts a larger one.
const HISTORY_BYTES_MAX: u64 = oci::DOCUMENT_BYTES_MAX;

/// A graph and what looks odd about the text that it was made from.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// The steps of the target.
    pub graph: BuildGraph,
    /// In the order of the text; none is an error.
    pub warnings: Vec<Diagnostic>,
}

/// Makes the graph of a target whose images are known.
pub fn lower(stages: &StageSet<BaseImage>, request: &Request) -> Result<Lowered, Vec<Diagnostic>> {
    lower_onto(None, stages, request)
}

/// Adds the steps of another target behind those of a graph, and the target behind its targets:
/// of another platform, or of another image. Steps that two targets have in common stand there
/// twice; the solver finds out by their keys and carries out the first (row A9: a stage on
/// `$BUILDPLATFORM` runs once). Images of the same build that are named must be targets of `graph`.
pub fn lower_onto(
    graph: Option<BuildGraph>,
    stages: &StageSet<BaseImage>,
    request: &Request,
) -> Result<Lowered, Vec<Diagnostic>> {
    let (steps, targets) = match graph {
        Some(graph) => (graph.steps, graph.targets),
        None => (Vec::new(), Vec::new()),
    };
    let mut lowerer = Lowerer {
        set: stages,
        request,
        steps,
        findings: stages.warnings.clone(),
        copied_images: HashMap::new(),
        nothing: None,
        states: Vec::new(),
        declared: stages.source.declared.clone(),
        guesses: false,
    };
    for stage in &stages.stages {
        let state = lowerer.stage(stage);
        lowerer.states.push(state);
    }
    lowerer.warn_of_unused_arguments();
    lowerer.warn_of_unknown_filters();
    lowerer.finish(targets)
}

struct Lowerer<'s> {
    set: &'s StageSet<BaseImage>,
    request: &'s Request,
    /// Those of earlier targets come first.
    steps: Vec<Step>,
    findings: Vec<Diagnostic>,
    /// The bases of `COPY --from=image`, by their place in the set.
    copied_images: HashMap<usize, StepId>,
    /// The empty file system, once something is made on it or copied from it.
    nothing: Option<StepId>,
    /// The stages so far, as they end.
    states: Vec<State>,
    /// Names that any ARG declares, triggers included.
    declared: Vec<String>,
    /// Whether the line has a variable that the image, or a build argument, may set where nobody
    /// has looked or given one.
    guesses: bool,
}

/// A stage at one point of its instructions.
#[derive(Debug, Clone)]
struct State {
    step: StepId,
    config: ImageConfig,
    history: Vec<HistoryEntry>,
    /// Of the text in `history` that this build made.
    history_bytes: u64,
    /// ENV and ARG: what a RUN has in its environment, and what words are expanded with.
    scope: Scope,
    /// Declared ARGs with their values, in order, repetitions included (A11).
    arguments: Vec<(String, Option<String>)>,
    platform: Platform,
    /// CMD was set in this very stage (I1).
    sets_command: bool,
    /// A WORKDIR of this file came before.
    sets_directory: bool,
    /// Nobody knows what the base says, variables included.
    base_is_assumed: bool,
    /// The image at the bottom, if it is one that was looked up.
    base: Option<(ImageName, Digest)>,
    /// The labels that this file sets, and not an image below.
    own_labels: BTreeSet<String>,
    /// Steps of this stage that have been named, and how many there will be.
    step_number: usize,
    step_count: usize,
}

impl State {
    fn record(&mut self, created_by: String, layer: Option<StepId>) {
        self.history_bytes += created_by.len() as u64;
        self.history.push(HistoryEntry::Made {
            created_by,
            comment: HISTORY_COMMENT,
            layer,
        });
    }

    fn container(&mut self) -> &mut ContainerConfig {
        &mut self.config.config
    }
}

/// Where an instruction stands, while it is lowered.
#[derive(Clone, Copy)]
struct Line<'s> {
    stage: &'s Stage,
    planned: &'s Planned,
}

impl<'s> Lowerer<'s> {
    fn stage(&mut self, stage: &'s Stage) -> State {
        let mut state = self.begin(stage);
        for planned in &stage.instructions {
            let line = Line { stage, planned };
            let found = self.findings.len();
            self.guesses = false;
            // What went wrong is among the findings; the rest is still worth reading.
            let _understood: Option<()> = self.instruction(&mut state, line);
            if self.guesses {
                // Not with the values that it will have.
                let of_this_line = self.findings.split_off(found);
                let style = of_this_line.into_iter().filter(|found| !found.is_error());
                self.findings.extend(style);
            }
            if state.history_bytes > HISTORY_BYTES_MAX {
                let span = planned.instruction.span;
                let message = format!(
                    "the history of the image would be longer than {HISTORY_BYTES_MAX} bytes"
                );
                let _too_long: Option<()> = self.error(line, span, message, "up to here");
                break;
            }
        }
        state
    }

    /// The state at FROM.
    fn begin(&mut self, stage: &Stage) -> State {
        let step_count = stage
            .instructions
            .iter()
            .filter(|one| has_step(one))
            .count();
        let mut state = match stage.base {
            StageBase::Stage(earlier) => {
                let mut state = self.states[earlier].clone();
                state.sets_command = false;
                state.step_number = 0;
                state.step_count = step_count;
                state
            }
            StageBase::Scratch => {
                let title = "FROM scratch".to_owned();
                let step = self.push(StepKind::Scratch, stage.span, title, stage.shown.clone());
                let config = empty_config(stage);
                State::new(step, config, Vec::new(), stage.platform.clone(), step_count)
            }
            StageBase::Context(context) => self.begin_with_files(stage, context, step_count),
            StageBase::Built(built) => {
                let TargetImage {
                    image: _,
                    step,
                    span: _,
                    config,
                    history,
                } = self.set.built[built].clone();
                State::new(step, config, history, stage.platform.clone(), step_count)
            }
            StageBase::Image(image) => {
                let base = &self.set.images[image].image;
                let platform = self.platform_of(base, stage);
                let mut state = State::new(
                    StepId(0),
                    base.config.clone(),
                    base_history(base),
                    platform,
                    step_count + 1,
                );
                let text = format!("FROM {}", base_name(base));
                state.base_is_assumed = self.set.images_are_assumed;
                state.base = Some((base.reference.clone(), base.manifest.digest.clone()));
                let title = self.title(&mut state, stage, &text);
                let kind = StepKind::Base(Box::new(base.clone()));
                state.step = self.push(kind, stage.span, title, stage.shown.clone());
                state
            }
        };
        let config = &mut state.config;
        config.created = None;
        config.rootfs = RootFs::default();
        config.history = Vec::new();
        let container = &mut config.config;
        container.on_build = Vec::new();
        if container.variable("PATH").is_none() {
            container.set_variable("PATH", PATH_DEFAULT);
        }
        if !container.working_dir.is_empty() {
            container.working_dir = paths::absolute("/", &container.working_dir);
        }
        // Over what ARGs of an earlier stage said: the configuration has ENV's value (A5).
        for entry in &container.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            if !name.is_empty() {
                state.scope.set(name, value);
            }
        }
        state
    }

    fn instruction(&mut self, state: &mut State, line: Line<'_>) -> Option<()> {
        match &line.planned.instruction.kind {
            InstructionKind::Add(add) => self.add(state, line, add),
            InstructionKind::Arg(declarations) => self.arg(state, line, declarations),
            InstructionKind::Cmd(command) => self.cmd(state, line, command),
            InstructionKind::Copy(copy) => self.copy(state, line, copy),
            InstructionKind::Entrypoint(command) => self.entrypoint(state, line, command),
            InstructionKind::Env(pairs) => self.env(state, line, pairs),
            InstructionKind::Expose(words) => self.expose(state, line, words),
            InstructionKind::From(_) => {
                let message = "FROM cannot stand inside a stage";
                self.error(line, line.planned.instruction.span, message, "FROM")
            }
            InstructionKind::Healthcheck(check) => self.healthcheck(state, line, check),
            InstructionKind::Label(pairs) => self.label(state, line, pairs),
            InstructionKind::Maintainer(author) => self.maintainer(state, author),
            InstructionKind::Onbuild(onbuild) => {
                // For whoever builds on this image; no history entry (I9).
                state.container().on_build.push(onbuild.text.clone());
                Some(())
            }
            InstructionKind::Run(run) => self.run(state, line, run),
            InstructionKind::Shell(words) => self.shell(state, words),
            InstructionKind::StopSignal(word) => self.stop_signal(state, line, word),
            InstructionKind::User(word) => self.user(state, line, word),
            InstructionKind::Volume(words) => self.volume(state, line, words),
            InstructionKind::Workdir(word) => self.workdir(state, line, word),
        }
    }

    fn push(&mut self, kind: StepKind, span: Span, title: String, stage: String) -> StepId {
        self.add_step(Step {
            image: self.request.image,
            kind,
            parent: None,
            span,
            origin: Origin::Dockerfile,
            title,
            stage,
            ignores_cache: false,
        })
    }

    /// A step on top of the stage so far.
    fn step(&mut self, state: &mut State, line: Line<'_>, kind: StepKind, text: &str) -> StepId {
        let text = match line.planned.origin {
            crate::Origin::Dockerfile => text.to_owned(),
            crate::Origin::Onbuild { .. } => format!("ONBUILD {text}"),
        };
        let title = self.title(state, line.stage, &text);
        let elsewhere = line.planned.elsewhere.map(|_| line.stage.span);
        let step = self.add_step(Step {
            image: self.request.image,
            kind,
            parent: Some(state.step),
            span: elsewhere.unwrap_or(line.planned.instruction.span),
            origin: line.planned.origin.clone(),
            title,
            stage: line.stage.shown.clone(),
            ignores_cache: self.ignores_cache(line.stage),
        });
        state.step = step;
        step
    }

    /// Whether the user wants a stage to be built anew, by its name or by its number.
    fn ignores_cache(&self, stage: &Stage) -> bool {
        let mut names = self.request.no_cache_stages.iter();
        names.any(|name| name.eq_ignore_ascii_case(&stage.shown))
    }

    fn add_step(&mut self, step: Step) -> StepId {
        let id = u32::try_from(self.steps.len()).expect("a Dockerfile has fewer lines");
        self.steps.push(step);
        StepId(id)
    }

    /// `[build 2/5] RUN make`, as BuildKit numbers its steps.
    fn title(&self, state: &mut State, stage: &Stage, text: &str) -> String {
        state.step_number += 1;
        let (number, count) = (state.step_number, state.step_count);
        let width = count.checked_ilog10().unwrap_or(0) as usize + 1;
        let name = if self.set.source.is_single_stage() {
            String::new()
        } else {
            format!("{} ", stage.shown)
        };
        let image = match &self.request.image_shown {
            Some(image) => format!("{image} "),
            None => String::new(),
        };
        let platform = self.shown_platform(state);
        format!(
            "[{image}{platform}{name}{number:width$}/{count}] {}",
            text.trim_end()
        )
    }

    /// `linux/arm64 ` where images for several platforms are built, and
    /// `linux/amd64->arm64 ` for a stage that makes something for another platform: as BuildKit
    /// shows them.
    fn shown_platform(&self, state: &State) -> String {
        if !self.request.one_of_several {
            return String::new();
        }
        let (platform, target) = (&state.platform, &self.request.platform);
        let knows_target = state
            .arguments
            .iter()
            .any(|(name, _)| name == "TARGETARCH" || name == "TARGETPLATFORM");
        if knows_target && platform.architecture != target.architecture {
            format!("{platform}->{} ", target.architecture)
        } else {
            format!("{platform} ")
        }
    }

    /// Expands a word with the variables of the stage, and says which are not set (V3).
    fn expand(&mut self, state: &State, line: Line<'_>, word: &Spanned<String>) -> Option<String> {
        match expand(&word.value, self.set.source.escape, &state.scope) {
            Ok(expansion) => {
                self.warn_of_unset(state, line, word.span, &expansion.unset);
                Some(expansion.value)
            }
            Err(error) => {
                let required = matches!(error.kind, ExpandErrorKind::Required { .. });
                self.guesses |= state.base_is_assumed && required;
                self.findings
                    .push(line.planned.put(expand_error(word, &error)));
                None
            }
        }
    }

    fn warn_of_unset(&mut self, state: &State, line: Line<'_>, span: Span, names: &[String]) {
        if state.base_is_assumed {
            self.guesses |= !names.is_empty();
            return;
        }
        for name in names {
            // A declared ARG without a value was meant to be allowed to be empty.
            let declared = state.arguments.iter().any(|(known, _)| known == name);
            self.guesses |= declared && self.set.images_are_assumed;
            if declared || is_for_the_scanner(name) {
                continue;
            }
            let known = state.scope.variables().iter();
            let near = nearest(name, known.map(|variable| variable.name.as_str()));
            let help = match near {
                _ if self.set.source.globals.value(name).is_some() => {
                    format!("write `ARG {name}` in this stage to get the value from above")
                }
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("set it with ENV or ARG, or write `${{{name}:-}}` for nothing"),
            };
            let finding =
                Diagnostic::warning(span, format!("`{name}` is not set here"), "becomes nothing")
                    .with_help(help)
                    .of_rule(Rule::UndefinedVar);
            self.findings.push(line.planned.put(finding));
        }
    }

    fn error<T>(
        &mut self,
        line: Line<'_>,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Option<T> {
        let finding = Diagnostic::error(span, message, label);
        self.findings.push(line.planned.put(finding));
        None
    }

    /// What the programs of a stage are for: what was asked for, even where the base says
    /// something else; but what the base says where this machine runs it, as BuildKit has it.
    fn platform_of(&mut self, base: &BaseImage, stage: &Stage) -> Platform {
        let ImageConfig {
            os,
            architecture,
            variant,
            ..
        } = &base.config;
        let known = !os.is_empty() && !architecture.is_empty();
        let offered = Platform::normalised(os, architecture, variant.as_deref());
        if known && stage.platform.accepts(&offered).is_none() {
            let message = format!(
                "{} is an image for {offered}, and {} was asked for",
                base.reference.familiar(),
                stage.platform
            );
            let finding = Diagnostic::warning(stage.span, message, "another platform")
                .of_rule(Rule::InvalidBaseImagePlatform);
            self.findings.push(finding);
            if self.request.build_platform.accepts(&offered).is_some() {
                return offered;
            }
        }
        stage.platform.clone()
    }

    /// Build arguments that nothing declares are probably misspelt (A12).
    fn warn_of_unused_arguments(&mut self) {
        let Some(target) = self.set.stages.last() else {
            return;
        };
        for name in self.request.build_args.keys() {
            let predefined = Scope::predefined(self.request, None).value(name).is_some()
                || needs_no_declaration(name);
            if !predefined && !self.declared.contains(name) {
                let message = format!("no ARG declares the build argument `{name}`");
                let finding = Diagnostic::warning(target.span, message, "the stage that is built");
                let near = nearest(name, self.declared.iter().map(String::as_str));
                self.findings.push(match near {
                    Some(near) => finding.with_help(format!("did you mean `{near}`?")),
                    None => finding.with_help(format!("declare it with `ARG {name}`")),
                });
            }
        }
    }

    /// A stage that is to be built anew and is not there is probably misspelt.
    fn warn_of_unknown_filters(&mut self) {
        let Some(target) = self.set.stages.last() else {
            return;
        };
        for name in &self.request.no_cache_stages {
            let all: Vec<String> = self.set.source.shown_names().collect();
            if all.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                continue;
            }
            let message = format!("--no-cache-filter: there is no stage `{name}`");
            let mut finding = Diagnostic::warning(target.span, message, "the stage that is built");
            if let Some(near) = dockerfile::suggest::nearest(name, all.iter().map(String::as_str)) {
                finding = finding.with_help(format!("did you mean `{near}`?"));
            }
            self.findings.push(finding);
        }
    }

    fn finish(mut self, mut targets: Vec<TargetImage>) -> Result<Lowered, Vec<Diagnostic>> {
        self.findings.sort_by_key(|finding| finding.span.start);
        self.findings.dedup();
        if self.findings.iter().any(Diagnostic::is_error) {
            return Err(self.findings);
        }
        let (state, stage) = (self.states.pop(), self.set.stages.last());
        let (state, stage) = state.zip(stage).expect("the target is a stage");
        let span = stage.span;
        let State {
            step,
            mut config,
            history,
            base,
            own_labels,
            ..
        } = state;
        self.set_platform(&mut config);
        if let Some(identity) = &self.request.identity {
            identity.apply(&mut config.config.labels, &own_labels, base.as_ref());
        }
        config.config.labels.extend(self.request.labels.clone());
        targets.push(TargetImage {
            image: self.request.image,
            step,
            span,
            config,
            history,
        });
        Ok(Lowered {
            graph: BuildGraph::new(self.steps, targets),
            warnings: self.findings,
        })
    }

    /// From the request where it asks for a platform, from the base where not (I13).
    fn set_platform(&self, config: &mut ImageConfig) {
        let wanted = &self.request.platform;
        if !self.request.platform_is_default {
            let same = config.os == wanted.os && config.architecture == wanted.architecture;
            wanted.os.clone_into(&mut config.os);
            wanted.architecture.clone_into(&mut config.architecture);
            if wanted.variant.is_some() || !same {
                config.variant.clone_from(&wanted.variant);
            }
            if wanted.os_version.is_some() || !same {
                config.os_version.clone_from(&wanted.os_version);
            }
        }
        if config.os.is_empty() {
            wanted.os.clone_into(&mut config.os);
        }
        if config.architecture.is_empty() {
            wanted.architecture.clone_into(&mut config.architecture);
            config.variant.clone_from(&wanted.variant);
        }
        let platform =
            Platform::normalised(&config.os, &config.architecture, config.variant.as_deref());
        config.os = platform.os;
        config.architecture = platform.architecture;
        config.variant = platform.variant;
    }
}

impl State {
    fn new(
        step: StepId,
        config: ImageConfig,
        history: Vec<HistoryEntry>,
        platform: Platform,
        step_count: usize,
    ) -> Self {
        Self {
            step,
            config,
            history,
            history_bytes: 0,
            scope: Scope::default(),
            arguments: Vec::new(),
            platform,
            sets_command: false,
            sets_directory: false,
            base_is_assumed: false,
            base: None,
            own_labels: BTreeSet::new(),
            step_number: 0,
            step_count,
        }
    }

    /// Where relative paths of this stage begin.
    fn working_directory(&self) -> String {
        match self.config.config.working_dir.as_str() {
            "" => "/".to_owned(),
            directory => directory.to_owned(),
        }
    }

    /// What a process of this stage has in its environment.
    fn environment(&self) -> Vec<Variable> {
        self.scope.variables().to_vec()
    }
}

/// The configuration of a stage that builds on no image.
fn empty_config(stage: &Stage) -> ImageConfig {
    ImageConfig {
        architecture: stage.platform.architecture.clone(),
        variant: stage.platform.variant.clone(),
        os: stage.platform.os.clone(),
        config: ContainerConfig {
            working_dir: "/".to_owned(),
            ..ContainerConfig::default()
        },
        ..ImageConfig::default()
    }
}

/// Whether an instruction counts as a step in titles, as BuildKit counts.
fn has_step(planned: &Planned) -> bool {
    match &planned.instruction.kind {
        InstructionKind::Add(_)
        | InstructionKind::Copy(_)
        | InstructionKind::Run(_)
        | InstructionKind::Workdir(_) => true,
        InstructionKind::Arg(_)
        | InstructionKind::Cmd(_)
        | InstructionKind::Entrypoint(_)
        | InstructionKind::Env(_)
        | InstructionKind::Expose(_)
        | InstructionKind::From(_)
        | InstructionKind::Healthcheck(_)
        | InstructionKind::Label(_)
        | InstructionKind::Maintainer(_)
        | InstructionKind::Onbuild(_)
        | InstructionKind::Shell(_)
        | InstructionKind::StopSignal(_)
        | InstructionKind::User(_)
        | InstructionKind::Volume(_) => false,
    }
}

fn base_name(base: &BaseImage) -> String {
    base.reference.at(&base.manifest.digest)
}

/// The history of a base, with exactly one entry with a layer for each of its layers: images made
/// by other tools do not always keep that (I10).
fn base_history(base: &BaseImage) -> Vec<HistoryEntry> {
    let entries = &base.config.history;
    let layers = base.layers.len();
    let with_layer = entries.iter().filter(|entry| !entry.empty_layer).count();
    let kept: &[History] = if with_layer > layers { &[] } else { entries };
    let missing = if with_layer > layers {
        layers
    } else {
        layers - with_layer
    };
    let filler = History {
        comment: Some(MISSING_HISTORY_COMMENT.to_owned()),
        ..History::default()
    };
    let fillers = std::iter::repeat_n(filler, missing);
    kept.iter()
        .cloned()
        .chain(fillers)
        .map(HistoryEntry::Base)
        .collect()
}
