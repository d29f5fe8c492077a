//! What breaks a rule of style, found in the text alone. Knows no images, no values of variables
//! and no other file: rules that need those are found by whoever has them, under the same names.
//!
//! [`file()`] finds what concerns the file as a whole, reachable stages or not; [`stage()`] what
//! concerns the instructions of one stage. [`Settings`] then say which findings are wanted.

mod casing;
pub mod comments;
mod descriptions;
mod maintainer;
mod pairs;
mod repeated;
mod secrets;
mod settings;
mod stage_names;

pub use settings::{RULES_MAX, Settings, SettingsError, UnknownRule};

use crate::{Diagnostic, Dockerfile, Instruction};

/// The findings about a whole file, in the order of the text.
pub fn file(tree: &Dockerfile, text: &str) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    casing::check(tree, text, &mut findings);
    stage_names::check(tree, text, &mut findings);
    maintainer::check(tree, &mut findings);
    descriptions::check(tree, text, &mut findings);
    findings.sort_by_key(|finding| finding.span.start);
    findings
}

/// The findings about the instructions of one stage, FROM not among them, in the order of the text.
pub fn stage(instructions: &[Instruction]) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    pairs::check(instructions, &mut findings);
    secrets::check(instructions, &mut findings);
    repeated::check(instructions, &mut findings);
    findings.sort_by_key(|finding| finding.span.start);
    findings
}

#[cfg(test)]
mod tests;

pub use secrets::sounds_like_a_secret;
