//! What a build would do, for people and for programs.

use std::fmt::Write;
use std::time::Duration;

use engine::{DryRun, PlannedFetch, PlannedPush, PlannedStep, PlannedTag, TagPlace};
use graph::{Forecast, KeyKind};
use serde_json::{Value, json};

use super::explain::cause_line;
use super::text::{neutralise_lines, title};
use super::units;

/// The version of the JSON form.
const SCHEMA: u32 = 1;

/// The plan for people.
pub(crate) fn text(plan: &DryRun) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "plan for {}: nothing was built",
        neutralise_lines(&plan.dockerfile)
    );
    if !plan.bases.is_empty() {
        let _ = writeln!(out, "\nbase images");
    }
    for base in &plan.bases {
        let _ = writeln!(
            out,
            "  {} {}, {}, {}",
            neutralise_lines(&base.reference),
            base.digest,
            units::count(base.layers, "layer", "layers"),
            units::bytes(base.bytes)
        );
    }
    let count = |wanted: &str| {
        let steps = plan.steps.iter().map(word);
        steps.filter(|word| *word == wanted).count()
    };
    let _ = writeln!(
        out,
        "\nsteps: {} cached, {} will run, {} may run",
        count("cached"),
        count("will run"),
        count("may run")
    );
    for step in &plan.steps {
        let _ = write!(out, "  {:<8}  {}", word(step), title(&step.title));
        if let Some(seconds) = step.seconds.filter(|_| word(step) != "cached") {
            let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            let _ = write!(out, " (took {} last time)", units::duration(took));
        }
        if step.asks_address {
            let _ = write!(out, " (its address was not asked)");
        }
        out.push('\n');
    }
    if count("may run") > 0 {
        let _ = writeln!(
            out,
            "  a step that may run does not if what it is made from comes to the same as before"
        );
    }
    if !plan.explanation.causes.is_empty() && plan.explanation.compared.is_some() {
        let _ = writeln!(out, "\nbecause");
        for cause in &plan.explanation.causes {
            let _ = writeln!(out, "  {}", cause_line(cause));
        }
    }
    let _ = writeln!(out, "\nfetch: {}", fetch(&plan.fetch));
    for push in &plan.pushes {
        let _ = writeln!(out, "push to {}: {}", push.repository, sent(push));
    }
    if let Some(image) = &plan.image {
        let _ = writeln!(out, "image: {image}");
    }
    for image in &plan.images {
        let digest = match &image.digest {
            Some(digest) => digest.to_string(),
            None => "not known before it is built".to_owned(),
        };
        let _ = writeln!(out, "image {}: {digest}", neutralise_lines(&image.name));
    }
    for one in &plan.tags {
        let _ = writeln!(out, "{}", tag(one));
    }
    out
}

/// The plan for programs.
pub(crate) fn json(plan: &DryRun) -> String {
    let bases = plan.bases.iter().map(|base| {
        json!({
            "reference": base.reference,
            "digest": base.digest,
            "layers": base.layers,
            "bytes": base.bytes,
        })
    });
    let steps = plan.steps.iter().map(|step| {
        json!({
            "step": step.step,
            "title": step.title,
            "forecast": match step.forecast {
                Forecast::Cached(KeyKind::Definition) => "cached",
                Forecast::Cached(KeyKind::Content) => "cached_by_content",
                Forecast::WillRun => "will_run",
                Forecast::MayRun => "may_run",
            },
            "address_not_asked": step.asks_address,
            "last_seconds": step.seconds,
        })
    });
    let pushes = plan.pushes.iter().map(|push| {
        json!({
            "repository": push.repository.to_string(),
            "present": push.present,
            "mounted": push.mounted,
            "sent": push.sent,
            "bytes": push.bytes,
            "unknown": push.unknown,
        })
    });
    let tags = plan.tags.iter().map(|tag| {
        json!({
            "reference": tag.reference,
            "place": match tag.place {
                TagPlace::Registry => "registry",
                TagPlace::Store => "store",
            },
            "old": tag.old,
            "new": tag.new,
        })
    });
    let images = plan.images.iter();
    let images = images.map(|image| json!({"name": image.name, "digest": image.digest}));
    let fetch = &plan.fetch;
    let answer = json!({
        "schema": SCHEMA,
        "dockerfile": plan.dockerfile,
        "bases": bases.collect::<Vec<Value>>(),
        "steps": steps.collect::<Vec<Value>>(),
        "compared": plan.explanation.compared,
        "causes": plan.explanation.causes,
        "fetch": {
            "layers": fetch.layers,
            "bytes": fetch.bytes,
            "layers_maybe": fetch.layers_maybe,
            "bytes_maybe": fetch.bytes_maybe,
        },
        "push": pushes.collect::<Vec<Value>>(),
        "image": plan.image,
        "images": images.collect::<Vec<Value>>(),
        "tags": tags.collect::<Vec<Value>>(),
    });
    format!("{answer:#}\n")
}

fn word(step: &PlannedStep) -> &'static str {
    match step.forecast {
        // Nobody knows what is at the address.
        Forecast::WillRun if step.asks_address => "may run",
        Forecast::Cached(_) => "cached",
        Forecast::WillRun => "will run",
        Forecast::MayRun => "may run",
    }
}

fn fetch(fetch: &PlannedFetch) -> String {
    let layers = |count| units::count(count, "layer", "layers");
    let sure = match fetch.layers {
        0 => "0 layer bytes".to_owned(),
        count => format!("{}, {}", layers(count), units::bytes(fetch.bytes)),
    };
    match fetch.layers_maybe {
        0 => sure,
        count => format!(
            "{sure}; and up to {} of {}",
            units::bytes(fetch.bytes_maybe),
            layers(count)
        ),
    }
}

fn sent(push: &PlannedPush) -> String {
    let layers = |count| units::count(count, "layer", "layers");
    let mut parts = Vec::new();
    if push.sent > 0 {
        parts.push(format!(
            "{}, {}",
            layers(push.sent),
            units::bytes(push.bytes)
        ));
    }
    if push.unknown > 0 {
        parts.push(format!("{} that are to be made", layers(push.unknown)));
    }
    if push.mounted > 0 {
        parts.push(format!(
            "{} taken over inside the registry",
            layers(push.mounted)
        ));
    }
    if push.present > 0 {
        parts.push(format!("{} there already", layers(push.present)));
    }
    match parts.is_empty() {
        true => "nothing".to_owned(),
        false => parts.join("; "),
    }
}

fn tag(tag: &PlannedTag) -> String {
    let place = match tag.place {
        TagPlace::Registry => "tag",
        TagPlace::Store => "name in the store",
    };
    let reference = &tag.reference;
    match (&tag.old, &tag.new) {
        (Some(old), Some(new)) if old == new => format!("{place} {reference}: stays at {old}"),
        (Some(old), Some(new)) => format!("{place} {reference}: {old} → {new}"),
        (Some(old), None) => format!("{place} {reference}: {old} → what is built"),
        (None, Some(new)) => format!("{place} {reference}: new, {new}"),
        (None, None) => format!("{place} {reference}: new, what is built"),
    }
}
