//! Registries, prefixes, and what is below them.

use oci::Repository;

use super::Findings;
use crate::form::cut;

pub(super) fn check(findings: &mut Findings<'_>) {
    let project = findings.project();
    if let Some(registry) = &project.registry {
        self::registry(findings, &["registry"], registry);
    }
    if let Some(prefix) = &project.prefix {
        self::prefix(findings, &["prefix"], prefix);
    }
    for (name, destination) in &project.destinations {
        if let Some(registry) = &destination.registry {
            self::registry(findings, &["destinations", name, "registry"], registry);
        }
        if let Some(prefix) = &destination.prefix {
            self::prefix(findings, &["destinations", name, "prefix"], prefix);
        }
        let known: Vec<&str> = project.signers.keys().map(String::as_str).collect();
        for (index, signer) in destination.sign.iter().enumerate() {
            if !known.contains(&signer.as_str()) {
                let index = index.to_string();
                let path = ["destinations", name.as_str(), "sign", &index];
                findings.unknown(&path, "signer", signer, &known);
            }
        }
    }
    for (name, channel) in &project.channels {
        if let Some(registry) = &channel.registry {
            self::registry(findings, &["channels", name, "registry"], registry);
        }
        if let Some(prefix) = &channel.prefix {
            self::prefix(findings, &["channels", name, "prefix"], prefix);
        }
    }
}

/// A host, with a path if it has one.
fn registry(findings: &mut Findings<'_>, path: &[&str], text: &str) {
    if let Some((message, help)) = registry_fault(text) {
        findings.report(path, &message, "not a registry", help);
    }
}

/// What is wrong with a registry, and what to do about it.
pub(crate) fn registry_fault(text: &str) -> Option<(String, Option<String>)> {
    let expected = "expected a host, with a path if it has one: `registry.example/team`";
    if let Some(fault) = fault(text) {
        return Some(fault);
    }
    let (host, _) = text.split_once('/').unwrap_or((text, ""));
    let is_host = host.contains(['.', ':']) || host == "localhost" || host.starts_with('[');
    if !is_host {
        let help = format!("`docker.io/{text}` is what docker would understand by it");
        let message = format!("`{}` does not begin with a host: {expected}", cut(host));
        return Some((message, Some(help)));
    }
    // Whatever it is, images lie below it.
    match format!("{text}/x").parse::<Repository>() {
        Ok(_) => None,
        Err(error) => Some((format!("{}: {expected}", error.reason), None)),
    }
}

/// A path.
fn prefix(findings: &mut Findings<'_>, path: &[&str], text: &str) {
    if let Some((message, help)) = prefix_fault(text) {
        findings.report(path, &message, "not a path", help);
    }
}

/// What is wrong with a prefix, and what to do about it.
pub(crate) fn prefix_fault(text: &str) -> Option<(String, Option<String>)> {
    if let Some(fault) = fault(text) {
        return Some(fault);
    }
    match format!("registry.example/{text}").parse::<Repository>() {
        Ok(_) => None,
        Err(error) => Some((error.reason, None)),
    }
}

/// What is no part of a name of repositories. Nothing is taken away silently: a separator too many
/// is often one that is missing elsewhere.
fn fault(text: &str) -> Option<(String, Option<String>)> {
    let write = |better: &str| (!better.is_empty()).then(|| format!("write `{}`", cut(better)));
    if text.is_empty() {
        return Some((
            "this is empty".to_owned(),
            Some("remove the key".to_owned()),
        ));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let message = format!("there must be no scheme (`{}://`)", cut(scheme));
        return Some((message, write(rest.trim_end_matches('/'))));
    }
    if text.contains('@') {
        return Some(("there must be no digest and no user (`@`)".to_owned(), None));
    }
    let trimmed = text.trim_matches(['/', '-', '.', '_', ':']);
    if trimmed != text && !text.starts_with('[') {
        let message = "there must be no separator at its beginning or end";
        return Some((message.to_owned(), write(trimmed)));
    }
    let last = text.rsplit('/').next().unwrap_or(text);
    if text.contains('/') && last.contains(':') {
        let (name, tag) = text.rsplit_once(':').unwrap_or((text, ""));
        return Some((
            format!("there must be no tag (`:{}`)", cut(tag)),
            write(name),
        ));
    }
    None
}
