//! Why steps ran, for people and for programs. Every sentence says what is another than before, so
//! that it alone is enough to know what to do.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use engine::{Account, BaseFact, Cause, Change, Explanation, FileChange, Reason, StepName};
use serde_json::json;

use super::text::{neutralise_lines, title};
use super::units;

/// The version of the JSON form.
const SCHEMA: u32 = 1;

/// How many steps that only followed are listed under a cause.
const FOLLOWERS_MAX: usize = 20;

/// What a build came to, and why, for people.
pub(crate) fn account_text(account: &Account) -> String {
    let mut out = String::new();
    let target = match &account.target {
        Some(target) => format!(", target {target}"),
        None => String::new(),
    };
    let end = match account.image {
        Some(_) => "",
        None => ", and did not come to its end",
    };
    let _ = writeln!(
        out,
        "build {} of {}{}, {}: {}, {} cached, {} run{end}",
        account.id,
        neutralise_lines(&account.dockerfile),
        neutralise_lines(&target),
        date(account.at),
        units::count(account.steps, "step", "steps"),
        account.cached,
        account.ran,
    );
    out.push_str(&explanation_text(&account.explanation));
    if account.ran == 0 && account.image.is_some() {
        out.push_str("\nnothing changed: every step was found in the cache\n");
    }
    out
}

/// Why, for people; nothing when there is nothing to explain.
pub(crate) fn explanation_text(explanation: &Explanation) -> String {
    let mut out = String::new();
    if let Some(compared) = &explanation.compared {
        let place = if compared.elsewhere {
            " in another place"
        } else {
            ""
        };
        let end = if compared.complete {
            ""
        } else {
            ", which did not come to its end"
        };
        let _ = writeln!(
            out,
            "compared with the build of {}{place}{end}",
            date(compared.at)
        );
    }
    for cause in &explanation.causes {
        out.push('\n');
        cause_text(&mut out, cause);
    }
    out
}

/// The reason in one line, for summaries: `[2/3] COPY src /src: src/a changed (3 steps, 2m05s)`.
pub(crate) fn cause_line(cause: &Cause) -> String {
    let reason = reason_lines(cause);
    let reason = reason.first().map_or("", String::as_str);
    let reason = reason.trim_end_matches(':');
    let steps = cause.followers.len() + usize::from(cause.ran);
    let cost = format!(
        "({}, {})",
        units::count(steps, "step", "steps"),
        seconds(cause.seconds)
    );
    match &cause.step {
        Some(step) => format!("{}: {reason} {cost}", title(&step.title)),
        None => format!("{reason} {cost}"),
    }
}

/// What a build came to, and why, for programs.
pub(crate) fn account_json(account: &Account) -> String {
    let answer = json!({
        "schema": SCHEMA,
        "build": account.id,
        "at": account.at,
        "dockerfile": account.dockerfile,
        "target": account.target,
        "image": account.image,
        "steps": account.steps,
        "cached": account.cached,
        "ran": account.ran,
        "seconds": account.explanation.seconds,
        "compared": account.explanation.compared,
        "causes": account.explanation.causes,
    });
    format!("{answer:#}\n")
}

fn cause_text(out: &mut String, cause: &Cause) {
    let mut indent = "";
    if let Some(step) = &cause.step {
        let _ = writeln!(out, "{} ({})", title(&step.title), place(step, step.line));
        indent = "  ";
    }
    for line in reason_lines(cause) {
        let _ = writeln!(out, "{indent}{line}");
    }
    if cause.more > 0 {
        let things = units::count(cause.more, "other thing", "other things");
        let _ = writeln!(out, "{indent}{things} of it changed too");
    }
    if cause.ran && cause.followers.is_empty() {
        let _ = writeln!(out, "{indent}this step ran, {}", seconds(cause.seconds));
        return;
    }
    let own = cause.step.iter().filter(|_| cause.ran);
    let rows: Vec<&StepName> = own
        .chain(cause.followers.iter().map(|follower| &follower.name))
        .collect();
    let steps = match (cause.ran, cause.followers.len()) {
        (true, followers) => {
            let later = units::count(followers, "later step", "later steps");
            format!("this step and {later} ran")
        }
        (false, followers) => {
            format!("{} ran", units::count(followers, "step", "steps"))
        }
    };
    let _ = writeln!(out, "{indent}{steps}, {}:", seconds(cause.seconds));
    for step in rows.iter().take(FOLLOWERS_MAX) {
        let time = seconds(step.seconds);
        let _ = writeln!(out, "{indent}{time:>8}  {}", title(&step.title));
    }
    if let Some(more) = rows
        .len()
        .checked_sub(FOLLOWERS_MAX)
        .filter(|more| *more > 0)
    {
        let _ = writeln!(
            out,
            "{indent}{:>8}  {}",
            "",
            count_more(more, "step", "steps")
        );
    }
}

/// What is another, the most important line first.
fn reason_lines(cause: &Cause) -> Vec<String> {
    let file = cause.step.as_ref().map_or("", |step| &step.file);
    let at = |line: usize| format!("{}:{line}", neutralise_lines(file));
    let lines = match &cause.reason {
        Reason::NeverBuilt => vec![
            "no earlier build of this Dockerfile and target is known here: everything is new"
                .to_owned(),
        ],
        Reason::NoCache => vec!["--no-cache: nothing was to be taken from the cache".to_owned()],
        Reason::NoCacheFilter { stage } => vec![format!(
            "--no-cache-filter {stage}: nothing was to be taken from the cache for this stage"
        )],
        Reason::Files { changes, total } => {
            let mut lines: Vec<String> = changes.iter().map(file_change).collect();
            if let Some(more) = total.checked_sub(changes.len()).filter(|more| *more > 0) {
                lines.push(format!("and {}", count_more(more, "file", "files")));
            }
            lines
        }
        Reason::UnlistedFiles { too_many: true } => vec![
            "files that it takes changed; they are too many to be listed one by one".to_owned(),
        ],
        Reason::UnlistedFiles { too_many: false } => {
            vec!["files that it takes changed; which ones is not known any more".to_owned()]
        }
        Reason::BuildArgument { change } => {
            vec![values(&format!("--build-arg {}", change.name), change)]
        }
        Reason::Variable { change } => {
            let set = change.line.map(|line| format!(" (set in {})", at(line)));
            let set = set.unwrap_or_default();
            vec![values(&format!("the variable {}", change.name), change) + &set]
        }
        Reason::Setting { change } => vec![values(setting(&change.name), change)],
        Reason::Layers { change } => layers(change),
        Reason::Instruction { old, new, line } => vec![
            format!("the instruction changed in {}:", at(*line)),
            format!("  before: {old}"),
            format!("  now:    {new}"),
        ],
        Reason::Inserted => vec!["it is new: the build before had no such step".to_owned()],
        Reason::Moved { old_line } => vec![format!("it was moved: it stood in line {old_line}")],
        Reason::Removed { text, old_line } => vec![format!(
            "an instruction in front of it is gone: `{text}` (line {old_line} before)"
        )],
        Reason::Input { old, new } => vec![
            "it is made from another step:".to_owned(),
            format!("  before: {}", title(old)),
            format!("  now:    {}", title(new)),
        ],
        Reason::Base {
            old,
            new,
            same_layers,
        } => base(old, new, *same_layers),
        Reason::Unfinished { failed: true } => {
            vec!["nothing changed: it failed in the build before".to_owned()]
        }
        Reason::Unfinished { failed: false } => {
            vec!["nothing changed: the build before ended before it was done".to_owned()]
        }
        Reason::Forgotten => vec![
            "nothing changed: the cache has no record of it any more, or never had one here"
                .to_owned(),
        ],
        Reason::LayersGone => vec![
            "nothing changed: there is a record of it, but the layers that it names are gone"
                .to_owned(),
        ],
        Reason::OtherVersion => {
            vec!["nothing changed: it was made by another version of kiln".to_owned()]
        }
    };
    lines.iter().map(|line| neutralise_lines(line)).collect()
}

fn file_change(change: &FileChange) -> String {
    match change {
        FileChange::Added { path } => format!("{path} was added"),
        FileChange::Removed { path } => format!("{path} was removed"),
        FileChange::Content { path, old, new } => format!("{path} changed: {old} → {new}"),
        FileChange::Mode { path, old, new } => {
            format!("{path} has other permissions: {old:04o} → {new:04o}")
        }
        FileChange::Owner { path, old, new } => {
            format!("{path} belongs to somebody else: {old} → {new}")
        }
        FileChange::Kind { path, old, new } => format!("{path} was {old} and is {new}"),
        FileChange::Target { path } => format!("{path} is a link that leads elsewhere now"),
    }
}

fn values(what: &str, change: &Change) -> String {
    let hidden = |value: &Option<String>| value.as_deref() == Some("****");
    match (&change.old, &change.new) {
        _ if hidden(&change.old) && hidden(&change.new) => {
            format!("{what} has another value, which is not shown")
        }
        (Some(old), Some(new)) => format!("{what}: {} → {}", quoted(old), quoted(new)),
        (None, Some(new)) => format!("{what}: not set before, {} now", quoted(new)),
        (Some(old), None) => format!("{what}: {} before, not set now", quoted(old)),
        (None, None) => what.to_owned(),
    }
}

/// What is empty is shown.
fn quoted(value: &str) -> &str {
    if value.is_empty() { "``" } else { value }
}

/// A part of a key as people know it.
fn setting(name: &str) -> &str {
    let first = name.split('.').next().unwrap_or(name);
    match first {
        "argument" | "arguments" => "the command (its SHELL, or what stands in it)",
        "directory" => "the working directory",
        "user" => "the user",
        "platform" => "the platform",
        "network" => "the network mode",
        "extra-host" => "--add-host",
        "security" => "--security",
        "shm-bytes" => "--shm-size",
        "ulimit" => "--ulimit",
        "cgroup-parent" => "--cgroup-parent",
        "hostname" => "the host name",
        "mount" => "a mount",
        "source" | "sources" => "what it copies",
        "file" => "a here-document",
        "destination" | "destination-is-directory" | "path" => "where it goes",
        "owner" => "--chown",
        "mode" => "--chmod",
        "exclude" => "--exclude",
        _ => name,
    }
}

/// The words of the salt, each a name and a value.
fn layers(change: &Change) -> Vec<String> {
    let words = |value: &Option<String>| -> BTreeMap<String, String> {
        let words = value.iter().flat_map(|text| text.split_whitespace());
        words
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_lowercase()))
            .collect()
    };
    let (old, new) = (words(&change.old), words(&change.new));
    let differs: Vec<&str> = new
        .iter()
        .filter(|(name, value)| old.get(*name) != Some(value))
        .map(|(name, _)| name.as_str())
        .collect();
    // A level of another kind of compression says nothing by itself.
    let other_kind = differs.contains(&"compression");
    let lines: Vec<String> = differs
        .iter()
        .filter(|name| **name != "level" || !other_kind)
        .filter_map(|name| {
            let (old, new) = (old.get(*name)?, new.get(*name)?);
            Some(match *name {
                "format" => "this version of kiln makes layers in another way".to_owned(),
                "compression" => format!("--compression: {old} → {new}"),
                "level" => format!("the level of compression: {old} → {new}"),
                "epoch" => format!("SOURCE_DATE_EPOCH: {old} → {new}"),
                other => format!("{other}: {old} → {new}"),
            })
        })
        .collect();
    match lines.is_empty() {
        true => vec!["layers are made in another way than before".to_owned()],
        false => lines,
    }
}

fn base(old: &BaseFact, new: &BaseFact, same_layers: usize) -> Vec<String> {
    let name = |base: &BaseFact| match old.reference == new.reference {
        true => base.digest.clone(),
        false => format!("{} {}", base.reference, base.digest),
    };
    let headline = match old.reference == new.reference {
        true => format!("the image {} changed:", new.reference),
        false => format!("the image is {} now, not {}:", new.reference, old.reference),
    };
    let layers = match (same_layers, new.layers) {
        (0, _) => "none of its layers is the same".to_owned(),
        (1, all) => format!("the first of its {all} layers is the same"),
        (same, all) => format!("the first {same} of its {all} layers are the same"),
    };
    vec![
        headline,
        format!("  before: {}", name(old)),
        format!("  now:    {}", name(new)),
        format!("  {layers}"),
    ]
}

fn place(step: &StepName, line: usize) -> String {
    format!("{}:{line}", neutralise_lines(&step.file))
}

/// `1 more file`, `2 more files`.
fn count_more(more: usize, one: &str, several: &str) -> String {
    units::count(more, &format!("more {one}"), &format!("more {several}"))
}

fn seconds(seconds: f64) -> String {
    units::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// `2026-11-21 18:45:09 UTC`.
fn date(at: u64) -> String {
    units::date(at)
}
