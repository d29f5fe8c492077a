//! `kiln lint`: Dockerfiles are checked without a registry, a store or a context.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use dockerfile::ignore::IgnoreFile;
use dockerfile::lint::Settings as CheckSettings;
use oci::Platform;

use super::build::values;
use super::print_product;
use crate::command::Command;
use crate::error::ProgramError;
use crate::render::Presentation;
use crate::render::lint::{LintFormat, LintedFile, render};
use crate::settings::Settings;

/// The most files that can be checked at once.
const FILES_MAX: usize = 10_000;

/// The largest ignore file that is read, in bytes.
const IGNORE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The build argument that stands in for the `# check=` of a file.
const CHECK_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What a text from stdin is called.
const STDIN: &str = "stdin";

/// Check Dockerfiles
///
/// Asks no registry: rules that depend on what a base image says are checked where there is none.
/// `kiln build --check` asks. The rules are described in docs/lint. Findings go to stdout. Exit code
/// 0: nothing that counts as an error; 1: findings that do; 2: a file cannot be built or read.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kiln lint\n  kiln lint --format sarif app/Dockerfile")]
pub(crate) struct LintArguments {
    /// Dockerfiles; `-` is stdin [default: Dockerfile in the current directory]
    #[arg(value_name = "FILE")]
    files: Vec<OsString>,

    /// A Dockerfile, as in kiln build
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    named: Vec<OsString>,

    /// How findings are shown
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: LintFormat,

    /// Every finding counts as an error, as if each file said check=error=true
    #[arg(long)]
    error: bool,

    /// Value of an ARG; NAME alone takes it from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,

    /// Stage to check, with all that it needs [default: all stages]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// Directory whose .dockerignore belongs to the files [default: the directory of each file]
    #[arg(long, value_name = "DIR")]
    context: Option<PathBuf>,
}

impl Command for LintArguments {
    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        run(self, settings, presentation)
    }
}

/// Checks.
fn run(
    arguments: &LintArguments,
    settings: &Settings,
    presentation: Presentation,
) -> Result<ExitCode, ProgramError> {
    let mut request = graph::Request::new(Platform::host(), Platform::host());
    request.target = arguments.target.clone();
    request.runs = false;
    for argument in &arguments.build_args {
        let variable = |name: &str| settings.variable(name);
        request
            .build_args
            .extend(values::build_argument(argument, &variable)?);
    }
    let given = match request.build_args.get(CHECK_ARGUMENT) {
        None => None,
        Some(text) => Some(given_settings(text, presentation)?),
    };
    let mut sources = Vec::new();
    for path in arguments.paths()? {
        sources.push(Source::read(&path, arguments.context.as_deref())?);
    }
    let mut files = Vec::new();
    let (mut unbuildable, mut forbidden) = (false, false);
    for source in sources {
        let checked = graph::check(
            &source.text,
            &request,
            source.ignore.as_ref(),
            given.as_ref(),
        );
        let rules_are_errors = arguments.error || checked.settings.error;
        unbuildable |= checked.has_errors();
        forbidden |= rules_are_errors && checked.breaks_rules();
        forbidden |= arguments.error && !checked.findings.is_empty();
        files.push(LintedFile {
            name: source.name,
            text: source.text,
            findings: checked.findings,
            rules_are_errors,
        });
    }
    let colour = presentation.colour && settings.stdout_is_terminal;
    print_product(&render(&files, arguments.format, colour))?;
    if arguments.format == LintFormat::Text {
        presentation.print(&summary(&files));
    }
    Ok(match (unbuildable, forbidden) {
        (true, _) => ExitCode::from(2),
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::SUCCESS,
    })
}

impl LintArguments {
    /// The files, in the order of the command line.
    fn paths(&self) -> Result<Vec<OsString>, ProgramError> {
        let mut paths: Vec<OsString> = self.named.iter().chain(&self.files).cloned().collect();
        if paths.is_empty() {
            let default = ["Dockerfile", "dockerfile"]
                .into_iter()
                .find(|name| Path::new(name).is_file());
            let Some(default) = default else {
                return Err(
                    ProgramError::input("there is no Dockerfile in this directory")
                        .hint("name the files that are to be checked"),
                );
            };
            paths.push(default.into());
        }
        if paths.len() > FILES_MAX {
            return Err(ProgramError::input(format!(
                "{} files are more than the {FILES_MAX} that can be checked at once",
                paths.len()
            )));
        }
        if paths.iter().filter(|path| *path == "-").count() > 1 {
            return Err(ProgramError::input("stdin can be read only once"));
        }
        Ok(paths)
    }
}

/// A file to check.
struct Source {
    name: String,
    text: String,
    ignore: Option<IgnoreFile>,
}

impl Source {
    fn read(path: &OsStr, context: Option<&Path>) -> Result<Self, ProgramError> {
        let is_stdin = path == "-";
        let name = match is_stdin {
            true => STDIN.to_owned(),
            false => path.to_string_lossy().into_owned(),
        };
        let wrong = |what: &str| ProgramError::input(format!("{name} {what}"));
        let bytes_max = dockerfile::TEXT_BYTES_MAX as u64;
        let read = match is_stdin {
            true => read_at_most(std::io::stdin().lock(), bytes_max),
            false => read_file(Path::new(path), bytes_max),
        };
        let bytes = read.map_err(|error| wrong("cannot be read").because(&error))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| wrong("is not a text in UTF-8").because(&error))?;
        if text.contains('\0') {
            return Err(wrong("is not a text: a byte is zero"));
        }
        let ignore = ignore_file((!is_stdin).then_some(Path::new(path)), context)?;
        Ok(Self { name, text, ignore })
    }
}

/// The ignore file beside a Dockerfile, else that of its context (D1).
pub(super) fn ignore_file(
    dockerfile: Option<&Path>,
    context: Option<&Path>,
) -> Result<Option<IgnoreFile>, ProgramError> {
    let beside = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    let directory = context.or_else(|| dockerfile.and_then(Path::parent));
    let common = directory.map(|directory| directory.join(".dockerignore"));
    for path in beside.into_iter().chain(common) {
        let wrong = |what: &str| ProgramError::input(format!("{} {what}", path.display()));
        match read_file(&path, IGNORE_BYTES_MAX) {
            Ok(bytes) => {
                let ignore = IgnoreFile::parse(&String::from_utf8_lossy(&bytes))
                    .map_err(|error| wrong("cannot be used").because(&error))?;
                return Ok(Some(ignore));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(wrong("cannot be read").because(&error)),
        }
    }
    Ok(None)
}

fn read_file(path: &Path, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(std::io::Error::other("it is a directory"));
    }
    read_at_most(File::open(path)?, bytes_max)
}

fn read_at_most(from: impl Read, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(std::io::Error::other(format!(
            "it is larger than {bytes_max} bytes"
        )));
    }
    Ok(bytes)
}

fn given_settings(text: &str, presentation: Presentation) -> Result<CheckSettings, ProgramError> {
    let (settings, unknown) = CheckSettings::parse(text).map_err(|error| {
        ProgramError::input(format!(
            "the build argument {CHECK_ARGUMENT} cannot be understood"
        ))
        .because(&error)
        .hint("such as skip=UndefinedVar,StageNameCasing;error=true")
    })?;
    for unknown in unknown {
        let near = match unknown.nearest {
            Some(near) => format!(": did you mean `{near}`?"),
            None => String::new(),
        };
        presentation.warn(&format!(
            "{CHECK_ARGUMENT}: there is no check `{}`{near}",
            unknown.name
        ));
    }
    Ok(settings)
}

/// How much was found, in one line.
fn summary(files: &[LintedFile]) -> String {
    let findings: usize = files.iter().map(|file| file.findings.len()).sum();
    let with = files.iter().filter(|file| !file.findings.is_empty());
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    match (findings, files.len()) {
        (0, count) => format!("{count} file{}, no findings\n", plural(count)),
        (findings, 1) => format!("{findings} finding{}\n", plural(findings)),
        (findings, count) => format!(
            "{findings} finding{} in {} of {count} files\n",
            plural(findings),
            with.count()
        ),
    }
}
