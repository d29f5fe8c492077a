//! MultipleInstructionsDisallowed: of several CMD, ENTRYPOINT or HEALTHCHECK in one stage only the
//! last counts.

use crate::{Diagnostic, Instruction, Keyword, Rule};

pub(super) fn check(instructions: &[Instruction], findings: &mut Vec<Diagnostic>) {
    for keyword in [Keyword::Cmd, Keyword::Entrypoint, Keyword::Healthcheck] {
        let mut same: Vec<&Instruction> = instructions
            .iter()
            .filter(|instruction| instruction.keyword.value == keyword)
            .collect();
        same.pop();
        // The finding is about the one that has no effect, which is the earlier one.
        for instruction in same {
            let message =
                format!("this {keyword} has no effect: another one follows in this stage");
            findings.push(
                Diagnostic::warning(instruction.keyword.span, message, "has no effect")
                    .with_help("remove it")
                    .of_rule(Rule::MultipleInstructionsDisallowed),
            );
        }
    }
}
