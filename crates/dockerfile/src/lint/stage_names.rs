//! The names of stages and how they are given: StageNameCasing, FromAsCasing, DuplicateStageName
//! (F5), ReservedStageName (F9).

use super::casing::{is_lower, is_upper};
use crate::{Diagnostic, Dockerfile, FromInstruction, Instruction, InstructionKind, Rule, Span};

/// Names that mean something else where an image or a context can stand.
const RESERVED: [&str; 2] = ["context", "scratch"];

pub(super) fn check(tree: &Dockerfile, text: &str, findings: &mut Vec<Diagnostic>) {
    let mut known: Vec<&str> = Vec::new();
    for instruction in &tree.instructions {
        let InstructionKind::From(from) = &instruction.kind else {
            continue;
        };
        let Some(name) = &from.name else {
            continue;
        };
        let written = name.span.of(text);
        if written.chars().any(char::is_uppercase) {
            let message = format!("the name of stage `{written}` has capitals");
            findings.push(
                Diagnostic::warning(name.span, message, "not in small letters")
                    .with_help(format!("write `{}`", name.value))
                    .of_rule(Rule::StageNameCasing),
            );
        }
        from_and_as(instruction, from, text, findings);
        if known.contains(&name.value.as_str()) {
            let message = format!("stage `{}` is defined twice", name.value);
            let help = "lines below this one mean this stage, lines above it the earlier one";
            findings.push(
                Diagnostic::warning(name.span, message, "again")
                    .with_help(help)
                    .of_rule(Rule::DuplicateStageName),
            );
        } else {
            known.push(&name.value);
        }
        if RESERVED.contains(&name.value.as_str()) {
            let message = format!("`{}` is a reserved name", name.value);
            findings.push(
                Diagnostic::warning(name.span, message, "a name for a stage")
                    .with_help("choose another name")
                    .of_rule(Rule::ReservedStageName),
            );
        }
    }
}

/// A FROM in mixed case is a finding of its own, and no measure for its AS.
fn from_and_as(
    instruction: &Instruction,
    from: &FromInstruction,
    text: &str,
    findings: &mut Vec<Diagnostic>,
) {
    let (Some(name), keyword) = (&from.name, instruction.keyword.span.of(text)) else {
        return;
    };
    let between = Span::new(from.image.span.end, name.span.start);
    let Some(at) = between.of(text).to_ascii_lowercase().rfind("as") else {
        return;
    };
    let span = Span::new(between.start + at, between.start + at + "as".len());
    let word = span.of(text);
    let wanted = match (is_lower(keyword), is_upper(keyword)) {
        (true, _) if !is_lower(word) => "as",
        (_, true) if !is_upper(word) => "AS",
        _ => return,
    };
    let message = format!("`{word}` is written otherwise than `{keyword}`");
    findings.push(
        Diagnostic::warning(span, message, "another case")
            .with_help(format!("write `{wanted}`"))
            .of_rule(Rule::FromAsCasing),
    );
}
