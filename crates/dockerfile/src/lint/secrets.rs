//! SecretsUsedInArgOrEnv: names of ARG and ENV that look like those of a password. The values of
//! both are in the image for everybody to read.

use crate::{Diagnostic, Instruction, InstructionKind, Keyword, Rule, Spanned};

/// Words that name a secret, between underscores or at an end of the name.
const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "passwd",
    "password",
    "pword",
    "secret",
    "token",
];

/// Words that take it back: what is public, where the secret is, and which edition it has.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

pub(super) fn check(instructions: &[Instruction], findings: &mut Vec<Diagnostic>) {
    for instruction in instructions {
        match &instruction.kind {
            InstructionKind::Arg(declarations) => {
                for declaration in declarations {
                    judge(Keyword::Arg, &declaration.name, findings);
                }
            }
            InstructionKind::Env(pairs) => {
                for pair in &pairs.pairs {
                    judge(Keyword::Env, &pair.key, findings);
                }
            }
            _ => {}
        }
    }
}

/// Whether a variable of this name likely holds a password or the like.
pub fn sounds_like_a_secret(name: &str) -> bool {
    let has = |words: &[&str]| {
        let mut parts = name.split('_');
        parts.any(|part| words.iter().any(|word| word.eq_ignore_ascii_case(part)))
    };
    has(&SECRET) && !has(&HARMLESS)
}

fn judge(keyword: Keyword, name: &Spanned<String>, findings: &mut Vec<Diagnostic>) {
    if !sounds_like_a_secret(&name.value) {
        return;
    }
    let message = format!(
        "`{}` sounds like a secret, and {keyword} keeps none",
        name.value
    );
    let help = "use `RUN --mount=type=secret`: nothing of it stays in the image";
    findings.push(
        Diagnostic::warning(name.span, message, "readable in the image")
            .with_help(help)
            .of_rule(Rule::SecretsUsedInArgOrEnv),
    );
}
