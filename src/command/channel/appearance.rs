//! How channels look: columns, ages, short digests.

use std::fmt::Write;
use std::time::SystemTime;

use oci::Platform;
use publish::channel::{ChannelImage, ChannelRecord, KeptRecord, Who};
use serde_json::{Value, json};

/// As many digits of a commit as people read.
const COMMIT_DIGITS: usize = 12;

/// Rows as columns, two blanks apart, the last one as wide as it likes.
pub(super) fn table(out: &mut String, heads: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| cell.chars().count());
        widths.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut line = |cells: &[&str]| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    };
    line(heads);
    for row in rows {
        line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// `0123456789ab`, `0123456789ab and changes`, `-`.
pub(super) fn commit(commit: Option<&str>, dirty: bool) -> String {
    let short = match commit {
        Some(commit) => commit.get(..COMMIT_DIGITS).unwrap_or(commit),
        None => return "-".to_owned(),
    };
    match dirty {
        true => format!("{short} and changes"),
        false => short.to_owned(),
    }
}

/// `3 hours ago`; what cannot be read as a time is shown as it is.
pub(super) fn age(when: &str) -> String {
    match when.parse::<jiff::Timestamp>() {
        Ok(time) => crate::render::times::ago(SystemTime::from(time), SystemTime::now()),
        Err(_) => when.to_owned(),
    }
}

/// `kevin (not verified)`, `repo:org/app (verified by https://…)`.
pub(super) fn who(who: &Who) -> String {
    match (&who.issuer, who.verified) {
        (Some(issuer), true) => format!("{} (verified by {issuer})", who.name),
        (None, true) => format!("{} (verified)", who.name),
        (_, false) => format!("{} (not verified)", who.name),
    }
}

/// `epp`, `epp (debug)`.
pub(super) fn image_name(name: &str, variant: &str) -> String {
    match variant {
        project::PLAIN => name.to_owned(),
        variant => format!("{name} ({variant})"),
    }
}

/// `linux/amd64, linux/arm64`.
pub(super) fn platforms(platforms: &[Platform]) -> String {
    let texts: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// The images of a record.
pub(super) fn images(out: &mut String, record: &ChannelRecord) {
    let rows: Vec<Vec<String>> = record
        .images
        .iter()
        .map(|image| {
            let of = image.commit.as_deref().or(record.commit.as_deref());
            vec![
                image.name.clone(),
                image.variant.clone(),
                image.digest.short().to_owned(),
                commit(of, false),
                platforms(&image.platforms),
                image.repository.clone(),
            ]
        })
        .collect();
    let heads = [
        "IMAGE",
        "VARIANT",
        "DIGEST",
        "COMMIT",
        "PLATFORMS",
        "REPOSITORY",
    ];
    table(out, &heads, &rows);
}

/// A record as the JSON of several verbs has it: its digest, and all of its fields.
pub(super) fn record_json(kept: &KeptRecord) -> Value {
    let mut value = serde_json::to_value(&kept.record).unwrap_or_default();
    value["digest"] = json!(kept.digest);
    value
}

/// An image, pinned.
pub(super) fn pinned(image: &ChannelImage) -> String {
    format!("{}@{}", image.repository, image.digest)
}
