//! MaintainerDeprecated: who made an image stands in a label.

use crate::{Diagnostic, Dockerfile, InstructionKind, Rule};

pub(super) fn check(tree: &Dockerfile, findings: &mut Vec<Diagnostic>) {
    for instruction in &tree.instructions {
        let InstructionKind::Maintainer(author) = &instruction.kind else {
            continue;
        };
        let author = author.value.replace(['"', '\\'], "");
        let message = "MAINTAINER is deprecated";
        let help = format!("write `LABEL org.opencontainers.image.authors=\"{author}\"`");
        findings.push(
            Diagnostic::warning(instruction.keyword.span, message, "deprecated")
                .with_help(help)
                .of_rule(Rule::MaintainerDeprecated),
        );
    }
}
