//! `--call` and `--check`: what a Dockerfile says about itself, with nothing being built.

use std::process::ExitCode;

use dockerfile::{Diagnostic, Parse};
use engine::{BuildError, BuildRequest, DockerfileText, SetRequest};

use crate::command::print_product;
use crate::error::ProgramError;
use crate::ports;
use crate::render::lint::{LintFormat, LintedFile};
use crate::render::{Presentation, call, lint};
use crate::settings::Settings;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    method: Method,
    json: bool,
    /// What is found does not decide the exit code.
    ignore_status: bool,
}

/// The methods of docker buildx, building left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Check,
    Outline,
    Targets,
}

/// Each with its name; nothing is to build. `lint` is an older name of `check`.
const METHODS: [(&str, Option<Method>); 5] = [
    ("build", None),
    ("check", Some(Method::Check)),
    ("lint", Some(Method::Check)),
    ("outline", Some(Method::Outline)),
    ("targets", Some(Method::Targets)),
];

impl Call {
    /// Reads `--call` and `--check`. Nothing is to build.
    pub(super) fn read(calls: &[String], check: bool) -> Result<Option<Self>, ProgramError> {
        let mut asked = check.then_some(Method::Check);
        let (mut json, mut ignore_status) = (false, false);
        let value = match calls {
            [] => "",
            [value] => value,
            [_, ..] => return Err(ProgramError::input("--call can be given only once")),
        };
        let fields = value.split(',').filter(|_| !calls.is_empty());
        for (place, field) in fields.enumerate() {
            match field.split_once('=') {
                Some(("format", "json")) => json = true,
                Some(("format", "text")) => json = false,
                Some(("ignorestatus", "true")) => ignore_status = true,
                Some(("ignorestatus", "false")) => ignore_status = false,
                None if field == "ignorestatus" => ignore_status = true,
                None if place == 0 => asked = method(field)?,
                Some(("method", name)) => asked = method(name)?,
                Some(_) | None => {
                    return Err(ProgramError::input(format!(
                        "--call {value}: `{field}` is not understood: expected format=json, \
                         format=text or ignorestatus"
                    )));
                }
            }
        }
        if check && asked != Some(Method::Check) {
            return Err(ProgramError::input(
                "--check and --call ask for different things: give one of them",
            ));
        }
        Ok(asked.map(|method| Self {
            method,
            json,
            ignore_status,
        }))
    }
}

fn method(name: &str) -> Result<Option<Method>, ProgramError> {
    if let Some((_, method)) = METHODS.iter().find(|(known, _)| *known == name) {
        return Ok(*method);
    }
    let error = ProgramError::input(format!(
        "--call {name}: there is no such method: known are build, check, outline and targets"
    ));
    let near = dockerfile::suggest::nearest(name, METHODS.iter().map(|(known, _)| *known));
    Err(match near {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    })
}

/// Answers.
pub(super) fn run(
    call: Call,
    request: BuildRequest,
    settings: &Settings,
    presentation: Presentation,
) -> Result<ExitCode, ProgramError> {
    match call.method {
        Method::Check => check(call, &request, settings, presentation),
        Method::Outline => {
            let (text, tree) = parse(&request, settings, presentation)?;
            let outline = graph::outline(&tree, &text.text, &request.graph)
                .map_err(|findings| refused(&text, findings))?;
            let answer = match call.json {
                true => call::outline_json(&outline, &text.text),
                false => call::outline_text(&outline),
            };
            print_product(&answer)?;
            Ok(ExitCode::SUCCESS)
        }
        Method::Targets => {
            let (text, tree) = parse(&request, settings, presentation)?;
            let targets = graph::targets(&tree, &text.text);
            let answer = match call.json {
                true => call::targets_json(&targets, &text.text),
                false => call::targets_text(&targets),
            };
            print_product(&answer)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Exit code 1 when a rule is broken, as in docker buildx.
fn check(
    call: Call,
    request: &BuildRequest,
    settings: &Settings,
    presentation: Presentation,
) -> Result<ExitCode, ProgramError> {
    let report = ports::serve(settings, presentation, request.threads, async |ports| {
        engine::check(request, ports).await
    })?;
    let broken = report.findings.iter().any(|finding| finding.rule.is_some());
    let answer = if call.json {
        call::check_json(&report)
    } else {
        let colour = presentation.colour && settings.stdout_is_terminal;
        let file = LintedFile {
            name: report.name,
            text: report.text,
            findings: report.findings,
            rules_are_errors: false,
        };
        match file.findings.len() {
            0 => format!("{}: no findings\n", file.name),
            _ => lint::render(&[file], LintFormat::Text, colour),
        }
    };
    print_product(&answer)?;
    Ok(if broken && !call.ignore_status {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Checks the Dockerfiles of several images; one that several images have is told once.
pub(super) fn check_several(
    call: Call,
    set: &SetRequest,
    threads: usize,
    settings: &Settings,
    presentation: Presentation,
) -> Result<ExitCode, ProgramError> {
    match call.method {
        Method::Check if !call.json => {}
        Method::Check => {
            return Err(ProgramError::input(
                "--call check,format=json is about one Dockerfile, and this is about those of kiln.yaml",
            )
            .hint("`kiln lint --format json` takes several"));
        }
        Method::Outline | Method::Targets => {
            return Err(ProgramError::input(
                "--call outline and targets are about one Dockerfile, and this is about those of kiln.yaml",
            )
            .hint("name the context: `kiln build --call outline .`"));
        }
    }
    let reports = ports::serve(settings, presentation, threads, async |ports| {
        engine::check_set(set, ports).await
    })?;
    let colour = presentation.colour && settings.stdout_is_terminal;
    let mut files: Vec<LintedFile> = Vec::new();
    for report in reports {
        let file = LintedFile {
            name: report.name,
            text: report.text,
            findings: report.findings,
            rules_are_errors: false,
        };
        let is_known = |known: &LintedFile| {
            (&known.name, &known.text, &known.findings) == (&file.name, &file.text, &file.findings)
        };
        if !files.iter().any(is_known) {
            files.push(file);
        }
    }
    let mut findings = files.iter().flat_map(|file| &file.findings);
    let broken = findings.any(|finding| finding.rule.is_some());
    let (clean, odd): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.findings.is_empty());
    let mut answer: String = clean
        .iter()
        .map(|file| format!("{}: no findings\n", file.name))
        .collect();
    if !odd.is_empty() {
        answer.push_str(&lint::render(&odd, LintFormat::Text, colour));
    }
    print_product(&answer)?;
    Ok(if broken && !call.ignore_status {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn parse(
    request: &BuildRequest,
    settings: &Settings,
    presentation: Presentation,
) -> Result<(DockerfileText, dockerfile::Dockerfile), ProgramError> {
    let text = ports::serve(settings, presentation, request.threads, async |ports| {
        engine::read(request, ports).await
    })?;
    let Parse { tree, diagnostics } = dockerfile::parse(&text.text);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(refused(&text, diagnostics));
    }
    Ok((text, tree))
}

fn refused(text: &DockerfileText, diagnostics: Vec<Diagnostic>) -> ProgramError {
    ProgramError::from(BuildError::Dockerfile {
        name: text.name.clone(),
        text: text.text.clone(),
        diagnostics,
    })
}
