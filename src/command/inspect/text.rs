//! What is known of an image, for people. Nothing from outside reaches the terminal with control
//! characters in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::facts::{ConfigFacts, Facts, ImageFacts};
use crate::render::units;

pub(super) fn text(facts: &Facts) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "{:<12} {}", format!("{name}:"), plain(value));
    };
    row("Address", &facts.address);
    row("Digest", facts.digest.as_str());
    row("Type", &facts.media_type);
    if let Some(kind) = &facts.artifact_type {
        row("Artifact", kind);
    }
    if let Some(subject) = &facts.subject {
        row("Subject", subject.as_str());
    }
    if !facts.platforms.is_empty() {
        row("Platforms", &facts.platforms.join(", "));
    }
    if let Some(tags) = &facts.tags {
        let names = match tags.names.is_empty() {
            true => "none".to_owned(),
            false => tags.names.join(", "),
        };
        row("Tags", &names);
    }
    map(&mut out, "", "Annotations", &facts.annotations);
    for image in &facts.images {
        self::image(&mut out, image);
    }
    if !facts.referrers.is_empty() {
        out.push_str("\nReferrers:\n");
        for referrer in &facts.referrers {
            let what = match (&referrer.tag, &referrer.artifact_type) {
                (Some(tag), _) => tag,
                (None, Some(kind)) => kind,
                (None, None) => "without a type",
            };
            let _ = writeln!(
                out,
                "  {:<12} {} {}",
                referrer.kind.word(),
                referrer.digest,
                plain(what)
            );
            if referrer.subject != facts.digest {
                let _ = writeln!(out, "  {:<12} of {}", "", referrer.subject);
            }
        }
    }
    for note in &facts.notes {
        let _ = writeln!(out, "\nNote: {}", plain(note));
    }
    out
}

fn image(out: &mut String, image: &ImageFacts) {
    let platform = image.platform.as_deref().or(image.artifact_type.as_deref());
    let _ = writeln!(out, "\n{}:", plain(platform.unwrap_or("image")));
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "  {:<12} {}", format!("{name}:"), plain(value));
    };
    row("Digest", image.digest.as_str());
    let bytes = units::bytes(image.layers_size);
    row("Size", &format!("{bytes} in {} layers", image.layers.len()));
    if let Some(config) = &image.config {
        self::config(&mut row, config);
    }
    for layer in &image.layers {
        let bytes = units::bytes(layer.size);
        row("Layer", &format!("{} {bytes}", layer.digest));
    }
    for attestation in &image.attestations {
        let kinds = attestation.predicate_types.join(", ");
        row("Attestation", &format!("{} {kinds}", attestation.manifest));
    }
    if let Some(config) = &image.config {
        map(out, "  ", "Labels", &config.labels);
    }
    map(out, "  ", "Annotations", &image.annotations);
}

fn config(row: &mut impl FnMut(&str, &str), config: &ConfigFacts) {
    let list = |words: &[String]| serde_json::to_string(words).unwrap_or_default();
    if let Some(created) = &config.created {
        row("Created", created);
    }
    if !config.entrypoint.is_empty() {
        row("Entrypoint", &list(&config.entrypoint));
    }
    if !config.cmd.is_empty() {
        row("Cmd", &list(&config.cmd));
    }
    for variable in &config.env {
        row("Env", variable);
    }
    if let Some(user) = &config.user {
        row("User", user);
    }
    if let Some(directory) = &config.working_dir {
        row("WorkingDir", directory);
    }
    if !config.exposed_ports.is_empty() {
        row("Ports", &config.exposed_ports.join(", "));
    }
    if !config.volumes.is_empty() {
        row("Volumes", &config.volumes.join(", "));
    }
}

fn map(out: &mut String, indent: &str, name: &str, pairs: &BTreeMap<String, String>) {
    if pairs.is_empty() {
        return;
    }
    let _ = writeln!(out, "{indent}{name}:");
    for (key, value) in pairs {
        let _ = writeln!(out, "{indent}  {}={}", plain(key), plain(value));
    }
}

/// A text without control characters: labels are anybody's.
fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}
