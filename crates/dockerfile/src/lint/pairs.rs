//! LegacyKeyValueFormat: ENV and LABEL with a blank in place of `=` (P13).

use crate::{Diagnostic, Instruction, InstructionKind, PairForm, Rule};

pub(super) fn check(instructions: &[Instruction], findings: &mut Vec<Diagnostic>) {
    for instruction in instructions {
        let (InstructionKind::Env(pairs) | InstructionKind::Label(pairs)) = &instruction.kind
        else {
            continue;
        };
        let (PairForm::Legacy, Some(pair)) = (pairs.form, pairs.pairs.first()) else {
            continue;
        };
        let keyword = instruction.keyword.value;
        let message = format!("{keyword} without `=`");
        let mut finding =
            Diagnostic::warning(pair.key.span.to(pair.value.span), message, "an old form")
                .of_rule(Rule::LegacyKeyValueFormat);
        let (key, value) = (&pair.key.value, &pair.value.value);
        // What has quotes or escapes of its own would mean something else in quotes.
        if !value.contains(['"', '\'', '\\', '`', '\n']) {
            let quotes = if value.contains(crate::words::is_blank) || value.is_empty() {
                "\""
            } else {
                ""
            };
            finding = finding.with_help(format!("write `{keyword} {key}={quotes}{value}{quotes}`"));
        } else {
            finding = finding.with_help(format!("write `{keyword} {key}=…`"));
        }
        findings.push(finding);
    }
}
