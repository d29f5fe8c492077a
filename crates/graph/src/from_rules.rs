//! What breaks a rule in a FROM line, needed or not: UndefinedArgInFrom (V3),
//! InvalidDefaultArgInFrom, RedundantTargetPlatform, FromPlatformFlagConstDisallowed (F11).

use dockerfile::suggest::nearest;
use dockerfile::{ArgDeclaration, Diagnostic, FromInstruction, Rule, Span, Spanned, expand};
use oci::{Platform, Reference};

use crate::Request;
use crate::scope::Scope;

/// The platform of an image when FROM asks for none.
const TARGET_PLATFORM: &str = "TARGETPLATFORM";

/// What FROM lines are expanded with.
pub(crate) struct GlobalArguments<'s> {
    pub(crate) escape: char,
    /// The ARGs above the first FROM.
    pub(crate) declared: &'s [&'s ArgDeclaration],
    /// With the values of this build.
    pub(crate) values: &'s Scope,
}

pub(crate) fn check(
    froms: &[&FromInstruction],
    arguments: &GlobalArguments<'_>,
    request: &Request,
    findings: &mut Vec<Diagnostic>,
) {
    let defaults = arguments.defaults(request);
    for from in froms {
        arguments.undefined(&from.image, findings);
        if let Some(defaults) = &defaults {
            arguments.invalid_default(&from.image, defaults, findings);
        }
        if let Some(platform) = &from.platform {
            arguments.undefined(platform, findings);
            arguments.platform(from, platform, findings);
        }
    }
}

/// What is no image by default and is none now is told once, as the error that it is.
pub(crate) fn leave_out_repeated(findings: &mut Vec<Diagnostic>) {
    let errors: Vec<Span> = findings
        .iter()
        .filter(|finding| finding.is_error())
        .map(|finding| finding.span)
        .collect();
    findings.retain(|finding| {
        finding.rule != Some(Rule::InvalidDefaultArgInFrom) || !errors.contains(&finding.span)
    });
}

impl GlobalArguments<'_> {
    /// The values if nobody passed any; nothing where one of them cannot be expanded then.
    fn defaults(&self, request: &Request) -> Option<Scope> {
        let mut scope = Scope::predefined(request, None);
        for declaration in self.declared {
            if let Some(default) = &declaration.default {
                let value = expand(&default.value, self.escape, &scope).ok()?.value;
                scope.set(&declaration.name.value, &value);
            }
        }
        Some(scope)
    }

    fn undefined(&self, word: &Spanned<String>, findings: &mut Vec<Diagnostic>) {
        // A word that cannot be expanded is an error, which others report.
        let Ok(expansion) = expand(&word.value, self.escape, self.values) else {
            return;
        };
        let declared = self.declared.iter().map(|one| one.name.value.as_str());
        for name in &expansion.unset {
            // Declared and without a value: whoever builds passes it.
            if declared.clone().any(|known| known == name) {
                continue;
            }
            let set = self.values.variables().iter().map(|one| one.name.as_str());
            let message = format!("`{name}` is not set by any ARG before the first FROM");
            let finding = Diagnostic::warning(word.span, message, "becomes nothing")
                .of_rule(Rule::UndefinedArgInFrom);
            findings.push(match nearest(name, declared.clone().chain(set)) {
                Some(near) => finding.with_help(format!("did you mean `{near}`?")),
                None => finding.with_help(format!("write `ARG {name}=…` above the first FROM")),
            });
        }
    }

    fn invalid_default(
        &self,
        image: &Spanned<String>,
        defaults: &Scope,
        findings: &mut Vec<Diagnostic>,
    ) {
        let Ok(expansion) = expand(&image.value, self.escape, defaults) else {
            return;
        };
        // A name without variables is wrong with or without arguments, and an error.
        let has_variables = !expansion.used.is_empty() || !expansion.unset.is_empty();
        if !has_variables || expansion.value.parse::<Reference>().is_ok() {
            return;
        }
        let message = match expansion.value.as_str() {
            "" => format!("`{}` is empty without build arguments", image.value),
            name => format!("without build arguments this is `{name}`, which is not an image"),
        };
        findings.push(
            Diagnostic::warning(image.span, message, "not an image by default")
                .with_help("give the ARG a default that makes this the name of an image")
                .of_rule(Rule::InvalidDefaultArgInFrom),
        );
    }

    fn platform(
        &self,
        from: &FromInstruction,
        word: &Spanned<String>,
        findings: &mut Vec<Diagnostic>,
    ) {
        let Ok(expansion) = expand(&word.value, self.escape, self.values) else {
            return;
        };
        if expansion.used == [TARGET_PLATFORM] && expansion.unset.is_empty() {
            if self.values.value(TARGET_PLATFORM) == Some(&expansion.value) {
                let message = format!("--platform={} is what FROM asks for anyway", word.value);
                findings.push(
                    Diagnostic::warning(word.span, message, "changes nothing")
                        .with_help("remove the flag")
                        .of_rule(Rule::RedundantTargetPlatform),
                );
            }
            return;
        }
        if !expansion.used.is_empty() || !expansion.unset.is_empty() {
            return;
        }
        let Ok(platform) = expansion.value.parse::<Platform>() else {
            return;
        };
        // A stage that is called after its platform is meant to be for that one alone.
        let name = from.name.as_ref().map_or("", |name| name.value.as_str());
        if name.contains(&platform.os) || name.contains(&platform.architecture) {
            return;
        }
        let message = format!("this stage is for {platform}, whatever is built for");
        let help = "remove the flag, write $BUILDPLATFORM for a stage that only makes files, or \
                    name the stage after its platform";
        findings.push(
            Diagnostic::warning(word.span, message, "a constant")
                .with_help(help)
                .of_rule(Rule::FromPlatformFlagConstDisallowed),
        );
    }
}
