//! Errors of parts become errors of a build: with the line of the Dockerfile
//! that they belong to, and with what the user can do.

use std::path::PathBuf;

use graph::{RunMountKind, StepId, StepKind};
use store::cache_mounts::CacheMountError;

use crate::copy::files::FilesError;
use crate::copy::place::PlaceError;
use crate::copy::select::SelectError;
use crate::copy::write::WriteError;
use crate::error::{BuildError, FailedStep};
use crate::layers::LayerError;
use crate::pin::PinError;
use crate::run::RunError;
use crate::run::caches::SeedError;
use crate::run::mounts::MountError;
use crate::run::ssh::SshError;
use crate::source::Text;
use crate::steps::{StepError, UnknownOwner, Unselected};
use crate::user_line::user_line;
use crate::users::UserError;

/// A base image that cannot be had is a mistake in the Dockerfile when the
/// registry says that it does not exist.
pub(crate) fn unpinned(error: PinError, text: &Text, span: dockerfile::Span) -> BuildError {
    let meant = match &error {
        PinError::Registry { .. } => meant_stage(text, span),
        PinError::Platform { .. }
        | PinError::Layout { .. }
        | PinError::Depth { .. }
        | PinError::Document { .. }
        | PinError::Config { .. }
        | PinError::LayerCount { .. }
        | PinError::Disk(_)
        | PinError::Blob(_) => None,
    };
    let (input, message, hint, source) = told(error);
    let hint = meant.or(hint);
    BuildError::Step(Box::new(FailedStep {
        name: text.name.clone(),
        text: text.text.clone(),
        span: Some(span),
        // The message says what was being done; the title of a step would say it again.
        title: String::new(),
        message,
        hint,
        command: None,
        output_tail: Vec::new(),
        input,
        source,
    }))
}

/// The image of an overlay cannot be had.
pub(crate) fn unpinned_overlay(error: PinError) -> BuildError {
    let (input, message, hint, source) = told(error);
    match input {
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

/// Why an image cannot be had: whether that is the fault of what was asked for, the message, what to
/// do about it, and the cause.
fn told(error: PinError) -> (bool, String, Option<String>, Cause) {
    let (input, hint) = match &error {
        PinError::Registry { source, .. } => (
            matches!(source.kind(), registry::ErrorKind::NotFound),
            source.advice(),
        ),
        PinError::Platform { offered, .. } => (
            true,
            (!offered.is_empty()).then(|| "choose one of those with `--platform`".to_owned()),
        ),
        PinError::Layout { .. } => (true, None),
        PinError::Depth { .. }
        | PinError::Document { .. }
        | PinError::Config { .. }
        | PinError::LayerCount { .. }
        | PinError::Disk(_)
        | PinError::Blob(_) => (false, None),
    };
    let message = error.to_string();
    let source = match error {
        PinError::Registry { source, .. } => Some(source.into()),
        PinError::Layout { source, .. } => Some(source.into()),
        PinError::Document { source, .. } => Some(source.into()),
        PinError::Config { source, .. } => Some(source.into()),
        PinError::Platform { .. }
        | PinError::Depth { .. }
        | PinError::LayerCount { .. }
        | PinError::Disk(_)
        | PinError::Blob(_) => None,
    };
    (input, message, hint, source)
}

/// What is behind an error.
type Cause = Option<Box<dyn std::error::Error + Send + Sync>>;

/// A stage that may have been meant by the name of an image that cannot be had.
fn meant_stage(text: &Text, span: dockerfile::Span) -> Option<String> {
    let written = text.text.get(span.start..span.end)?;
    let tree = dockerfile::parse(&text.text).tree;
    let instructions = tree.instructions.iter();
    let names = instructions.filter_map(|instruction| match &instruction.kind {
        dockerfile::InstructionKind::From(from) if instruction.span.start < span.start => {
            from.name.as_ref().map(|name| name.value.as_str())
        }
        _ => None,
    });
    let name = dockerfile::suggest::nearest(written, names)?;
    Some(format!(
        "no stage has this name, so it is taken for an image; did you mean the stage `{name}`?"
    ))
}

/// Adds to an error of a step where it stands and what the user can do.
pub(crate) fn failed_step(
    error: StepError,
    id: StepId,
    graph: &graph::BuildGraph,
    texts: &[Text],
) -> FailedStep {
    if let StepError::At { error, span } = error {
        return FailedStep {
            span: Some(span),
            ..failed_step(*error, id, graph, texts)
        };
    }
    let step = graph.step(id);
    let text = &texts[step.image.index()];
    let mut failed = FailedStep {
        name: text.name.clone(),
        text: text.text.clone(),
        span: Some(step.span),
        title: step.title.clone(),
        message: error.to_string(),
        hint: None,
        command: match &step.kind {
            StepKind::Run(run) => Some(run.command_shown.clone()),
            StepKind::Scratch
            | StepKind::Base(_)
            | StepKind::Copy(_)
            | StepKind::Workdir(_)
            | StepKind::Merge(_) => None,
        },
        output_tail: Vec::new(),
        input: false,
        source: None,
    };
    match error {
        StepError::Select(unselected) => {
            let Unselected {
                source,
                span,
                from_context,
                excluded,
                near,
            } = *unselected;
            failed.span = Some(span);
            let written = text.text.get(span.start..span.end).unwrap_or_default();
            if let SelectError::NotFound { pattern } = &source
                && clamp(written) == *pattern
            {
                failed.message = format!("`{written}` was not found");
            }
            failed.input = !matches!(
                source,
                SelectError::Files(FilesError::Read { .. } | FilesError::Path(_))
            );
            failed.hint = match (&source, excluded) {
                (_, Some(excluded)) => Some(format!(
                    "it exists, but line {} of {} excludes it: `{}`",
                    excluded.line, excluded.file, excluded.pattern
                )),
                (SelectError::NotFound { pattern }, None) => {
                    not_found(pattern, written, from_context, &near)
                }
                (SelectError::ThroughLink { .. }, None) => {
                    Some("name the directory that it leads to".to_owned())
                }
                (SelectError::Pattern { .. } | SelectError::Files(_), None) => None,
            };
        }
        StepError::Remote { source, span } => {
            failed.span = Some(span);
            failed.input = source.is_input();
            failed.hint = source.advice();
            failed.source = source_of(*source);
        }
        StepError::Emulation(error) => {
            failed.hint = Some(error.advice());
            failed.source = source_of(error);
        }
        StepError::Place(error) => {
            failed.input = !matches!(error, PlaceError::Path(_));
            failed.hint = another_place(&error);
        }
        StepError::NoContext { span } => {
            failed.span = Some(span);
            failed.input = true;
        }
        StepError::Owner(unknown) => {
            let UnknownOwner { source, span } = *unknown;
            failed.span = Some(span);
            failed.input = true;
            failed.hint = add_or_number(&source);
        }
        StepError::Changed { span, .. } => failed.span = Some(span),
        StepError::Mount { source, span } => {
            failed.span = Some(span);
            failed.input = matches!(
                source,
                MountError::Variable { .. }
                    | MountError::NoContext
                    | MountError::Ssh(SshError::Missing { .. } | SshError::Key { .. })
                    | MountError::Cache(CacheMountError::Make(SeedError::NotADirectory { .. }))
            );
            failed.source = source_of(source);
        }
        StepError::User(error) | StepError::Run(RunError::User(error)) => {
            failed.input = true;
            failed.hint = add_or_number(&error);
            // Who is unknown stands in another line than what runs as that user.
            failed.span = user_line(&text.text, step.span).or(failed.span);
        }
        StepError::Run(error) if lacks_shell(&error) => {
            failed.hint = Some(
                "the image has no shell: name a program in JSON form, as in \
                 `RUN [\"program\", \"argument\"]`, or use a base that has one"
                    .to_owned(),
            );
            failed.source = source_of(error);
        }
        StepError::Run(error) if enters_nothing(&error) => {
            failed.hint = hidden_directory(&step.kind);
            failed.source = source_of(error);
        }
        StepError::Run(error) => {
            if let Some(span) = refused_mount(step, &error) {
                failed.span = Some(span);
                failed.input = true;
            }
            failed.output_tail = error.tail().to_vec();
            failed.hint = foreign_program(&error, &step.kind);
            failed.source = source_of(error);
        }
        StepError::Write(WriteError::Socket { .. }) => {
            failed.input = true;
            failed.hint = Some("leave it out, or exclude it in .dockerignore".to_owned());
        }
        other => {
            match &other {
                StepError::Layer(LayerError::Scan { digest, .. }) => {
                    failed.hint = damaged_base(graph, digest);
                }
                StepError::Layer(LayerError::Fetch { source, .. }) => {
                    failed.hint = source.advice();
                }
                StepError::Layer(LayerError::Room(error)) => {
                    failed.hint = Some(error.hint().to_owned());
                }
                _ => {}
            }
            failed.source = source_of(other);
        }
    }
    failed
}

/// What to do about a destination that cannot be used.
fn another_place(error: &PlaceError) -> Option<String> {
    match error {
        PlaceError::NotADirectory { destination, .. } => Some(format!("write `{destination}/`")),
        PlaceError::Conflict { path, .. } => Some(format!(
            "remove {path} in a RUN before this line, or choose another destination"
        )),
        PlaceError::Loop(_) => Some(
            "links of the image lead in a circle: remove them in a RUN before this line, or name \
             the directory that is meant"
                .to_owned(),
        ),
        PlaceError::ThroughFile { file, .. } => Some(format!(
            "remove {file} in a RUN before this line, or choose another path"
        )),
        PlaceError::HardLink { .. } | PlaceError::Path(_) => None,
    }
}

/// What to do about a name that an image does not know.
fn add_or_number(error: &UserError) -> Option<String> {
    if let Some(near) = error.near() {
        return Some(format!("did you mean `{near}`?"));
    }
    let what = match error {
        UserError::UnknownUser { .. } => "user",
        UserError::UnknownGroup { .. } => "group",
        UserError::Unusable { .. } => return Some("use a number".to_owned()),
        UserError::TooLarge(_) => return None,
    };
    Some(format!(
        "add the {what} in a RUN before this line, or use its number"
    ))
}

/// The cause of an error whose own text is shown already.
pub(crate) fn source_of(
    error: impl std::error::Error + Send + Sync + 'static,
) -> Option<Box<dyn std::error::Error + Send + Sync>> {
    let mut causes = Vec::new();
    let mut at = error.source();
    while let Some(cause) = at {
        causes.push(cause.to_string());
        at = cause.source();
    }
    Chain::of(causes)
}

/// Causes as texts, each the source of the one before.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Chain {
    text: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Chain {
    fn of(causes: Vec<String>) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        let mut chain: Option<Box<dyn std::error::Error + Send + Sync>> = None;
        for text in causes.into_iter().rev() {
            // A transparent error repeats its cause's text.
            if chain
                .as_ref()
                .is_some_and(|cause| cause.to_string() == text)
            {
                continue;
            }
            chain = Some(Box::new(Chain {
                text,
                source: chain,
            }));
        }
        chain
    }
}

/// Whose layer it is that cannot be used.
fn damaged_base(graph: &graph::BuildGraph, digest: &oci::Digest) -> Option<String> {
    let base = graph.steps().iter().find_map(|step| match &step.kind {
        StepKind::Base(base) => {
            let mut blobs = base.layers.iter().map(|layer| &layer.blob.digest);
            blobs.any(|blob| blob == digest).then_some(base)
        }
        StepKind::Scratch
        | StepKind::Run(_)
        | StepKind::Copy(_)
        | StepKind::Workdir(_)
        | StepKind::Merge(_) => None,
    })?;
    Some(format!(
        "the layer belongs to the image {}, which is damaged or made to do harm: use another",
        base.reference.familiar()
    ))
}

/// What to do about a program that the kernel does not take for one.
fn foreign_program(error: &RunError, kind: &StepKind) -> Option<String> {
    let StepKind::Run(run) = kind else {
        return None;
    };
    let refused = match error {
        RunError::Sandbox { source, .. } => matches!(
            source,
            sandbox::RunError::Exec(
                sandbox::ExecFailure::WrongArchitecture { .. }
                    | sandbox::ExecFailure::WrongFormat { .. }
            )
        ),
        // As shells say it, in any case.
        RunError::Exit { tail, .. } => String::from_utf8_lossy(tail)
            .to_ascii_lowercase()
            .contains("exec format error"),
        RunError::User(_)
        | RunError::Ground { .. }
        | RunError::View(_)
        | RunError::Prepare { .. }
        | RunError::Capture(_)
        | RunError::Layer(_)
        | RunError::Disk(_)
        | RunError::Limit { .. }
        | RunError::Cancelled => false,
    };
    refused.then(|| {
        format!(
            "the stage is for {}: a program that was built for another processor does not run in \
             it, nor a script without `#!` in its first line",
            run.platform
        )
    })
}

/// Whether the working directory is what could not be found.
fn enters_nothing(error: &RunError) -> bool {
    let RunError::Sandbox { source, .. } = error else {
        return false;
    };
    matches!(source, sandbox::RunError::WorkingDirectory { .. })
}

/// Where a working directory went that the image has.
fn hidden_directory(kind: &StepKind) -> Option<String> {
    let StepKind::Run(run) = kind else {
        return None;
    };
    let hiding = ["/proc", "/sys", "/dev"]
        .into_iter()
        .find(|top| run.cwd.starts_with(&format!("{top}/")));
    Some(match hiding {
        Some(top) => format!(
            "{top} is the kernel's while a RUN runs, and hides what the image has there: choose \
             another WORKDIR"
        ),
        None => format!(
            "a link on the way to {} leads to where nothing is while a RUN runs, such as /proc: \
             choose another WORKDIR",
            run.cwd
        ),
    })
}

/// The mount that cannot be made because of what the image has in its place.
fn refused_mount(step: &graph::Step, error: &RunError) -> Option<dockerfile::Span> {
    let RunError::Sandbox {
        source: sandbox::RunError::MountPoint { path, .. },
        ..
    } = error
    else {
        return None;
    };
    let StepKind::Run(run) = &step.kind else {
        return None;
    };
    let target = |kind: &RunMountKind| match kind {
        RunMountKind::Bind { target, .. }
        | RunMountKind::Cache { target, .. }
        | RunMountKind::Tmpfs { target, .. } => Some(PathBuf::from(target)),
        RunMountKind::Secret { target, .. } | RunMountKind::Ssh { target, .. } => {
            target.as_ref().map(PathBuf::from)
        }
    };
    let mut mounts = run.mounts.iter();
    let mount = mounts.find(|mount| target(&mount.kind).as_ref() == Some(path))?;
    Some(mount.span)
}

/// Whether the shell of the shell form is what could not be found.
fn lacks_shell(error: &RunError) -> bool {
    let RunError::Sandbox { source, .. } = error else {
        return false;
    };
    matches!(
        source,
        sandbox::RunError::Exec(sandbox::ExecFailure::NotFound { program }) if program == "/bin/sh"
    )
}

/// What to do about a source that is not there.
fn not_found(pattern: &str, written: &str, from_context: bool, near: &[String]) -> Option<String> {
    if from_context && written.split('/').any(|name| name == "..") {
        return Some(
            "`..` ends at the top of the context: nothing outside of it can be copied".to_owned(),
        );
    }
    // Whatever is there and was not found is a link that leads out, or nowhere.
    let name = pattern.rsplit('/').next().unwrap_or(pattern);
    if near.iter().any(|near| near == name) {
        return Some(format!(
            "`{written}` is a symbolic link, and what it names is not there; links are followed \
             inside the {} only",
            if from_context { "context" } else { "image" }
        ));
    }
    nearest(pattern, near).or_else(|| {
        from_context.then(|| {
            "sources begin at the context, which is the directory that `kiln build` was given"
                .to_owned()
        })
    })
}

/// A name that may have been meant.
fn nearest(pattern: &str, names: &[String]) -> Option<String> {
    let wanted = pattern.rsplit('/').next().unwrap_or(pattern);
    let best = dockerfile::suggest::nearest(wanted, names.iter().map(String::as_str))?;
    let directory = pattern
        .rsplit_once('/')
        .map(|(directory, _)| format!("{directory}/"))
        .unwrap_or_default();
    Some(format!("did you mean `{directory}{best}`?"))
}

/// A path with `..` stopped at the root.
fn clamp(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            other => components.push(other),
        }
    }
    components.join("/")
}
