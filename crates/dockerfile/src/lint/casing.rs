//! ConsistentInstructionCasing: the keywords of a file are all in capitals, or all in small letters.

use crate::{Diagnostic, Dockerfile, Keyword, Rule};

/// The ARGs above the first FROM are neither counted nor judged, as in BuildKit.
pub(super) fn check(tree: &Dockerfile, text: &str, findings: &mut Vec<Diagnostic>) {
    let first_stage = tree
        .instructions
        .iter()
        .position(|instruction| instruction.keyword.value == Keyword::From);
    let keywords = &tree.instructions[first_stage.unwrap_or(tree.instructions.len())..];
    let written = |at: usize| keywords[at].keyword.span.of(text);
    let (mut lower, mut upper) = (0, 0);
    for at in 0..keywords.len() {
        lower += usize::from(is_lower(written(at)));
        upper += usize::from(is_upper(written(at)));
    }
    let majority_is_lower = lower > upper;
    for (at, instruction) in keywords.iter().enumerate() {
        let word = written(at);
        let (fits, name, wanted) = if majority_is_lower {
            let wanted = word.to_ascii_lowercase();
            (is_lower(word), "small letters", wanted)
        } else {
            (is_upper(word), "capitals", word.to_ascii_uppercase())
        };
        if fits {
            continue;
        }
        let message = format!("`{word}` is written otherwise than most instructions of this file");
        let help = format!("write `{wanted}`");
        findings.push(
            Diagnostic::warning(instruction.keyword.span, message, format!("not in {name}"))
                .with_help(help)
                .of_rule(Rule::ConsistentInstructionCasing),
        );
    }
}

/// Whether a word has no capitals.
pub(super) fn is_lower(word: &str) -> bool {
    !word.contains(|letter: char| letter.is_ascii_uppercase())
}

/// Whether a word has nothing but capitals.
pub(super) fn is_upper(word: &str) -> bool {
    !word.contains(|letter: char| letter.is_ascii_lowercase())
}
