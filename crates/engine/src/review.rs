//! What is found about a Dockerfile on its way to a graph: collected until everything is known,
//! then told at once, before anything runs. Decides nothing about the graph.

use std::sync::{Mutex, PoisonError};

use dockerfile::ignore::IgnoreFile;
use dockerfile::lint::{self, Settings, SettingsError};
use dockerfile::{Diagnostic, Dockerfile, LineColumn, Parse, frontend};
use graph::{BuildGraph, ImageName, ImageNumber, Request, StageSet, copies_of_ignored};

use crate::error::BuildError;
use crate::event::Event;
use crate::ports::Ports;
use crate::source::Text;

/// The build argument that stands in for the `# check=` of a file.
const CHECK_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// The build argument that stands in for the `# syntax=` of a file.
const SYNTAX_ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// A Dockerfile and what was found so far.
pub(crate) struct Review<'t> {
    text: &'t Text,
    tree: Dockerfile,
    settings: Settings,
    findings: Mutex<Vec<Diagnostic>>,
}

/// Which stages are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stages {
    /// Those that the target needs.
    OfTarget,
    /// All of them, unless a target is named (row F10).
    All,
}

impl<'t> Review<'t> {
    /// Reads the text.
    pub(crate) fn begin(
        text: &'t Text,
        request: &Request,
        ports: &Ports,
    ) -> Result<Self, BuildError> {
        let Parse { tree, diagnostics } = dockerfile::parse(&text.text);
        let mut findings = diagnostics;
        findings.extend(lint::file(&tree, &text.text));
        let settings = match request.build_args.get(CHECK_ARGUMENT) {
            Some(given) => given_settings(given, ports)?,
            None => {
                let (settings, wrong) = Settings::of_file(&tree);
                findings.extend(wrong);
                settings
            }
        };
        if let Some(asked) = request.build_args.get(SYNTAX_ARGUMENT)
            && !frontend::is_known(asked)
        {
            let message = format!(
                "{SYNTAX_ARGUMENT} asks for the frontend `{asked}`: {}",
                frontend::INSTEAD
            );
            ports.reporter.report(Event::Warning { message });
        }
        let review = Self {
            text,
            tree,
            settings,
            findings: Mutex::default(),
        };
        if findings.iter().any(Diagnostic::is_error) {
            return Err(review.refused(findings));
        }
        review.add(findings);
        Ok(review)
    }

    /// What the target of a request needs.
    pub(crate) fn stages(
        &self,
        request: &Request,
        which: Stages,
    ) -> Result<StageSet<ImageName>, BuildError> {
        let stages = match (which, &request.target) {
            (Stages::All, None) => graph::all_stages(&self.tree, request),
            (Stages::All, Some(_)) | (Stages::OfTarget, _) => graph::stages(&self.tree, request),
        };
        stages.map_err(|findings| self.refused(findings))
    }

    /// Takes note of findings that do not keep the file from being built.
    pub(crate) fn add(&self, findings: Vec<Diagnostic>) {
        let mut all = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(findings);
    }

    /// Takes note of copies whose sources the ignore file leaves out.
    pub(crate) fn ignored(&self, graph: &BuildGraph, image: ImageNumber, ignore: &IgnoreFile) {
        self.add(copies_of_ignored(graph, image, ignore));
    }

    /// The text cannot be built.
    pub(crate) fn refused(&self, findings: Vec<Diagnostic>) -> BuildError {
        self.add(findings);
        BuildError::Dockerfile {
            name: self.text.name.clone(),
            text: self.text.text.clone(),
            diagnostics: self.selected(),
        }
    }

    /// Tells what was found. A broken rule is an error where the settings say so.
    pub(crate) fn conclude(&self, ports: &Ports) -> Result<(), BuildError> {
        let findings = self.selected();
        if self.settings.error && findings.iter().any(|finding| finding.rule.is_some()) {
            return Err(BuildError::Rules {
                name: self.text.name.clone(),
                text: self.text.text.clone(),
                diagnostics: findings,
            });
        }
        for finding in findings {
            let place = LineColumn::of(&self.text.text, finding.span);
            ports.reporter.report(Event::Finding {
                message: finding.message,
                rule: finding.rule.map(|rule| rule.name()),
                hint: finding.help,
                file: self.text.name.clone(),
                line: place.line,
                column: place.column,
            });
        }
        Ok(())
    }

    /// What was found and is wanted, in the order of the text, nothing twice.
    pub(crate) fn selected(&self) -> Vec<Diagnostic> {
        let all = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut findings = all.clone();
        findings.sort_by_key(|finding| (finding.span.start, finding.rule));
        findings.dedup();
        self.settings
            .select(&self.tree, &self.text.text, &mut findings);
        findings
    }
}

fn given_settings(given: &str, ports: &Ports) -> Result<Settings, BuildError> {
    let wrong = |error: SettingsError| BuildError::Input {
        message: format!("the build argument {CHECK_ARGUMENT} cannot be understood"),
        hint: Some("such as skip=UndefinedVar,StageNameCasing;error=true".to_owned()),
        source: Some(error.into()),
    };
    let (settings, unknown) = Settings::parse(given).map_err(wrong)?;
    for unknown in unknown {
        let near = match unknown.nearest {
            Some(near) => format!(": did you mean `{near}`?"),
            None => String::new(),
        };
        let message = format!(
            "{CHECK_ARGUMENT}: there is no check `{}`{near}",
            unknown.name
        );
        ports.reporter.report(Event::Warning { message });
    }
    Ok(settings)
}
