//! InvalidDefinitionDescription: a comment above ARG or a named FROM describes what they define,
//! and begins with its name. Experimental: most comments are not meant to be descriptions.

use super::comments;
use crate::{Diagnostic, Dockerfile, InstructionKind, Rule};

pub(super) fn check(tree: &Dockerfile, text: &str, findings: &mut Vec<Diagnostic>) {
    let comments = comments::above(tree, text);
    for (instruction, comments) in tree.instructions.iter().zip(&comments) {
        let names: Vec<&str> = match &instruction.kind {
            InstructionKind::Arg(declarations) => declarations
                .iter()
                .map(|declaration| declaration.name.value.as_str())
                .collect(),
            InstructionKind::From(from) => from.name.iter().map(|name| &*name.value).collect(),
            _ => continue,
        };
        let (Some(last), Some(first_name)) = (comments.last(), names.first()) else {
            continue;
        };
        let word = last.value.split(' ').next().unwrap_or("");
        if names.contains(&word) {
            continue;
        }
        let message = format!(
            "the comment above {} does not say what it describes",
            instruction.keyword.value
        );
        let help = match names.as_slice() {
            [_, _, ..] => "begin it with one of the names, or part it from the instruction with \
                           an empty line"
                .to_owned(),
            _ => format!(
                "write `# {first_name} …`, or part it from the instruction with an empty line"
            ),
        };
        findings.push(
            Diagnostic::warning(last.span, message, "not a name of the instruction")
                .with_help(help)
                .of_rule(Rule::InvalidDefinitionDescription),
        );
    }
}
