//! What was found: one line each, with what to do about it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::error::{Detail, ProgramError};

/// The version of the JSON form.
const SCHEMA: u32 = 1;

/// The most characters of one line: what registries and programs say may be long.
const SAID_CHARS_MAX: usize = 2000;

/// The most errors of one text that are named.
const ERRORS_MAX: usize = 3;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Something will not be what somebody expects, or could not be looked at.
    Warning,
    /// Something will not work.
    Problem,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// How bad it is.
    pub(super) level: Level,
    /// Who found it.
    pub(super) check: &'static str,
    /// What. Never anything secret.
    pub(super) said: String,
    /// What to do about it.
    pub(super) fix: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, said: impl Into<String>) -> Self {
        Self::new(Level::Ok, check, said.into())
    }

    pub(super) fn warning(check: &'static str, said: impl Into<String>) -> Self {
        Self::new(Level::Warning, check, said.into())
    }

    pub(super) fn problem(check: &'static str, said: impl Into<String>) -> Self {
        Self::new(Level::Problem, check, said.into())
    }

    /// An error, with what caused it.
    pub(super) fn of_error(level: Level, check: &'static str, error: &ProgramError) -> Self {
        let mut parts = vec![error.headline.clone()];
        parts.extend(error.causes.iter().cloned());
        if let Some(Detail::Findings {
            name,
            text,
            diagnostics,
        }) = error.detail.as_deref()
        {
            for found in diagnostics.iter().take(ERRORS_MAX) {
                let before = text.as_bytes().iter().take(found.span.start);
                let line = before.filter(|byte| **byte == b'\n').count() + 1;
                parts.push(format!("{name}:{line}: {}", found.message));
            }
            if let Some(more) = diagnostics.len().checked_sub(ERRORS_MAX + 1) {
                parts.push(format!("and {} more", more + 1));
            }
        }
        parts.retain(|part| !part.is_empty());
        let finding = Self::new(level, check, parts.join(": "));
        match error.hints.is_empty() {
            true => finding,
            false => finding.fix(error.hints.join("; ")),
        }
    }

    fn new(level: Level, check: &'static str, said: String) -> Self {
        Self {
            level,
            check,
            said: one_line(&said),
            fix: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub(super) fn fix(mut self, fix: impl AsRef<str>) -> Self {
        self.fix = Some(one_line(fix.as_ref()));
        self
    }

    /// The same, where something is known.
    #[must_use]
    pub(super) fn perhaps(self, fix: Option<String>) -> Self {
        match fix {
            Some(fix) => self.fix(fix),
            None => self,
        }
    }
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What others said must not move the cursor, nor look like a line of ours.
fn one_line(text: &str) -> String {
    let shown = text.chars().take(SAID_CHARS_MAX);
    shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// For people.
pub(super) fn text(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let Finding {
            level,
            check,
            said,
            fix,
        } = finding;
        let _ = writeln!(out, "{:<8} {check}: {said}", level.word());
        if let Some(fix) = fix {
            let _ = writeln!(out, "         fix: {fix}");
        }
    }
    out
}

/// For programs.
pub(super) fn document(findings: &[Finding]) -> Value {
    let all = findings.iter().map(|finding| {
        json!({
            "level": finding.level.word(),
            "check": finding.check,
            "said": finding.said,
            "fix": finding.fix,
        })
    });
    json!({ "schema": SCHEMA, "findings": all.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_stays_on_its_line() {
        let finding = Finding::problem("pull", "no\nok       pull: \u{1b}[2Jyes").fix("a\rb");
        assert_eq!(
            text(&[finding]),
            "problem  pull: no ok       pull:  [2Jyes\n         fix: a b\n"
        );
    }
}
