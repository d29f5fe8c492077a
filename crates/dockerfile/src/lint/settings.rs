//! Which rules count: `# check=skip=A,B;experimental=C;error=true`, at the top of the file, in a
//! comment above one instruction, or in the build argument `BUILDKIT_DOCKERFILE_CHECK`.

use std::collections::BTreeSet;
use std::ops::Range;

use super::comments;
use crate::suggest::nearest;
use crate::{Diagnostic, DirectiveKind, Dockerfile, Rule, Span};

/// The most rules that one option may name: all of them, with room for repetitions.
pub const RULES_MAX: usize = 1000;

/// What is wanted of the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    skip: Choice,
    experimental: Choice,
    /// Whether a finding keeps the file from being built.
    pub error: bool,
}

/// Some of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Some(BTreeSet<Rule>),
    All,
}

/// A rule that a setting names and that there is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRule {
    /// As written.
    pub name: String,
    /// The bytes of the setting that name it.
    pub range: Range<usize>,
    /// The rule that was probably meant.
    pub nearest: Option<Rule>,
}

/// Why a setting cannot be understood, and the bytes of it that are wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not `option=value`.
    #[error("`{text}` is not a setting of checks: expected skip=, experimental= or error=")]
    Form {
        /// As written.
        text: String,
        /// Where.
        range: Range<usize>,
    },
    /// An option that there is not.
    #[error("`{name}` is not a setting of checks: expected skip, experimental or error")]
    Unknown {
        /// As written.
        name: String,
        /// Where.
        range: Range<usize>,
    },
    /// Neither yes nor no.
    #[error("`{value}` is neither true nor false")]
    Bool {
        /// As written.
        value: String,
        /// Where.
        range: Range<usize>,
    },
    /// More than [`RULES_MAX`].
    #[error("more than {RULES_MAX} names of rules")]
    TooMany {
        /// Where.
        range: Range<usize>,
    },
}

impl SettingsError {
    /// The bytes of the setting that are wrong.
    pub fn range(&self) -> Range<usize> {
        match self {
            Self::Form { range, .. }
            | Self::Unknown { range, .. }
            | Self::Bool { range, .. }
            | Self::TooMany { range } => range.clone(),
        }
    }

    /// The option that was probably meant.
    fn help(&self) -> Option<String> {
        let (Self::Form { text: word, .. } | Self::Unknown { name: word, .. }) = self else {
            return None;
        };
        let near = nearest(word, ["skip", "experimental", "error"]);
        near.map(|near| format!("did you mean `{near}=`?"))
    }
}

impl Default for Choice {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Choice {
    fn has(&self, rule: Rule) -> bool {
        match self {
            Self::All => true,
            Self::Some(rules) => rules.contains(&rule),
        }
    }
}

impl Settings {
    /// Reads settings as they stand behind `check=`. Names that are no rule change nothing and are
    /// told beside.
    pub fn parse(text: &str) -> Result<(Self, Vec<UnknownRule>), SettingsError> {
        let mut settings = Self::default();
        let mut unknown = Vec::new();
        if text.trim().is_empty() {
            return Ok((settings, unknown));
        }
        for option in pieces(text, 0..text.len(), ';') {
            let Some((name, value)) = text[option.clone()].split_once('=') else {
                return Err(SettingsError::Form {
                    text: text[option.clone()].to_owned(),
                    range: option,
                });
            };
            let value = trimmed(text, option.end - value.len()..option.end);
            let name = trimmed(text, option.start..option.start + name.len());
            match &text[name.clone()] {
                "skip" => settings.skip = choice(text, value, &mut unknown)?,
                "experimental" => settings.experimental = choice(text, value, &mut unknown)?,
                "error" => settings.error = boolean(text, value)?,
                other => {
                    return Err(SettingsError::Unknown {
                        name: other.to_owned(),
                        range: name,
                    });
                }
            }
        }
        Ok((settings, unknown))
    }

    /// The settings of a file, and what is wrong with its directive.
    pub fn of_file(tree: &Dockerfile) -> (Self, Vec<Diagnostic>) {
        let Some(directive) = tree.directive(DirectiveKind::Check) else {
            return (Self::default(), Vec::new());
        };
        let start = directive.value.span.start;
        let place = |range: &Range<usize>| Span::new(start + range.start, start + range.end);
        match Self::parse(&directive.value.value) {
            Ok((settings, unknown)) => {
                let findings = unknown.iter().map(|unknown| {
                    let message = format!("there is no check `{}`", unknown.name);
                    let span = place(&unknown.range);
                    let finding = Diagnostic::warning(span, message, "changes nothing");
                    match unknown.nearest {
                        Some(near) => finding.with_help(format!("did you mean `{near}`?")),
                        None => finding.with_help("docs/lint/README.md has the names"),
                    }
                });
                (settings, findings.collect())
            }
            Err(error) => {
                let span = place(&error.range());
                let finding = Diagnostic::error(span, error.to_string(), "not understood");
                let finding = match error.help() {
                    Some(help) => finding.with_help(help),
                    None => finding,
                };
                (Self::default(), vec![finding])
            }
        }
    }

    /// Whether findings of a rule are wanted. What is experimental must be asked for, and then is
    /// not skipped by `skip=all`.
    pub fn wants(&self, rule: Rule) -> bool {
        if rule.is_experimental() {
            self.experimental.has(rule)
        } else {
            !self.skip.has(rule)
        }
    }

    /// Takes the findings of rules that are not wanted out of all findings: by these settings, or by
    /// a `# check=` in the comment above the instruction that a finding is about.
    pub fn select(&self, tree: &Dockerfile, text: &str, findings: &mut Vec<Diagnostic>) {
        let local: Vec<(Span, Self)> = comments::above(tree, text)
            .iter()
            .zip(&tree.instructions)
            .filter_map(|(comments, instruction)| {
                let comment = comments.iter().find_map(|comment| {
                    let (key, value) = comment.value.split_once('=')?;
                    let is_check = key.trim().eq_ignore_ascii_case("check");
                    is_check.then(|| value.trim())
                })?;
                // What follows the first blank is for people.
                let setting = comment.split(' ').next().unwrap_or("");
                let (settings, _) = Self::parse(setting).ok()?;
                let first = comments.first().map_or(instruction.span, |one| one.span);
                Some((first.to(instruction.span), settings))
            })
            .collect();
        findings.retain(|finding| {
            let Some(rule) = finding.rule else {
                return true;
            };
            let here = local
                .iter()
                .find(|(span, _)| (span.start..span.end).contains(&finding.span.start))
                .map(|(_, settings)| settings);
            if rule.is_experimental() {
                self.wants(rule) || here.is_some_and(|settings| settings.wants(rule))
            } else {
                self.wants(rule) && here.is_none_or(|settings| settings.wants(rule))
            }
        });
    }
}

fn choice(
    text: &str,
    value: Range<usize>,
    unknown: &mut Vec<UnknownRule>,
) -> Result<Choice, SettingsError> {
    if &text[value.clone()] == "all" {
        return Ok(Choice::All);
    }
    let mut rules = BTreeSet::new();
    for (count, range) in pieces(text, value.clone(), ',').into_iter().enumerate() {
        if count == RULES_MAX {
            return Err(SettingsError::TooMany { range: value });
        }
        let name = &text[range.clone()];
        match Rule::from_name(name) {
            Some(rule) => {
                rules.insert(rule);
            }
            None if name.is_empty() => {}
            None => {
                let near = nearest(name, Rule::ALL.iter().map(|rule| rule.name()));
                unknown.push(UnknownRule {
                    name: name.to_owned(),
                    range,
                    nearest: near.and_then(Rule::from_name),
                });
            }
        }
    }
    Ok(Choice::Some(rules))
}

/// As Go's `strconv.ParseBool` has it, because BuildKit reads it with that.
fn boolean(text: &str, value: Range<usize>) -> Result<bool, SettingsError> {
    match &text[value.clone()] {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(SettingsError::Bool {
            value: other.to_owned(),
            range: value,
        }),
    }
}

/// The parts between separators, without blanks around.
fn pieces(text: &str, range: Range<usize>, separator: char) -> Vec<Range<usize>> {
    let mut start = range.start;
    let mut all = Vec::new();
    for piece in text[range].split(separator) {
        all.push(trimmed(text, start..start + piece.len()));
        start += piece.len() + separator.len_utf8();
    }
    all
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let piece = &text[range.clone()];
    let start = range.start + (piece.len() - piece.trim_start().len());
    start..start + piece.trim().len()
}
