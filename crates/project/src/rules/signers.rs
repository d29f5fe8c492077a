//! Signers and whom to believe: keys lie in files and variables, never in the declaration.

use super::Findings;
use crate::SignerKind;

pub(super) fn check(findings: &mut Findings<'_>) {
    let project = findings.project();
    for (name, signer) in &project.signers {
        let secrets = [
            ("key", &signer.key),
            ("passphrase", &signer.passphrase),
            ("certificates", &signer.certificates),
            ("secret", &signer.secret),
        ];
        for (key, source) in secrets {
            let Some(source) = source else { continue };
            let named = ["file:", "env:"]
                .iter()
                .find_map(|kind| source.strip_prefix(kind));
            if named.is_none_or(str::is_empty) {
                // Neither the text nor its line is shown: it may be what must not be seen.
                let help = "write `file:PATH` or `env:NAME`; what is secret stays out of this file";
                let message = format!("`{key}` must say where it lies");
                findings.report(&["signers", name], &message, "here", Some(help.to_owned()));
            }
        }
        let given: Vec<&str> = [
            ("key", signer.key.is_some()),
            ("certificates", signer.certificates.is_some()),
            ("endpoint", signer.endpoint.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, given)| given.then_some(key))
        .collect();
        let needed: &[&str] = match signer.kind {
            SignerKind::Notation => &["key", "certificates"],
            SignerKind::Cosign => &["key"],
            SignerKind::Signify => &["endpoint"],
        };
        for key in needed {
            if !given.contains(key) {
                let message = format!("a signer of this kind needs the key `{key}`");
                findings.report(&["signers", name], &message, "not complete", None);
            }
        }
    }
}
