//! What COPY would find in a context: how much, and what nobody wants in an image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dockerfile::ignore::{IgnoreFile, Verdict};

use super::finding::{Finding, Level};
use crate::command::lint::ignore_file;
use crate::project::LoadedProject;
use crate::render::units;

const CHECK: &str = "context";

/// The most files and directories of one context that are looked at.
const ENTRIES_MAX: usize = 200_000;
/// How long one context is looked at.
const TIME_MAX: Duration = Duration::from_secs(10);
/// The most directories in each other: each is open while those below it are read.
const DEPTH_MAX: usize = 100;
/// From here on a context is worth a word.
const BYTES_MANY: u64 = 500_000_000;
/// The most of a file that is read to see whether it is a secret.
const SECRET_BYTES_MAX: u64 = 256 * 1024;
/// The most files that are named.
const NAMED_MAX: usize = 10;

/// Looks at the contexts of a project, or of the Dockerfile in this directory.
pub(super) fn check(project: Option<&LoadedProject>) -> Vec<Finding> {
    let mut contexts: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    match project {
        Some(project) => {
            for image in project.values().images.values() {
                let context = image.context.as_deref().unwrap_or(".");
                // One that is fetched is not here to be looked at.
                if context.contains("://") {
                    continue;
                }
                let directory = project.directory.join(context);
                let directory = directory.strip_prefix(".").unwrap_or(&directory);
                let directory = match directory.as_os_str().is_empty() {
                    true => PathBuf::from("."),
                    false => directory.to_owned(),
                };
                let file = image.file.as_deref().unwrap_or("Dockerfile");
                let file = directory.join(file);
                contexts.entry(directory).or_insert(file);
            }
        }
        None if Path::new("Dockerfile").is_file() => {
            contexts.insert(PathBuf::from("."), PathBuf::from("Dockerfile"));
        }
        None => {}
    }
    let each = contexts.iter();
    each.flat_map(|(directory, file)| look(directory, file))
        .collect()
}

/// What a walk has found.
#[derive(Default)]
struct Seen {
    entries: usize,
    files: u64,
    bytes: u64,
    by_top: BTreeMap<String, u64>,
    has_git: bool,
    secrets: Vec<String>,
    /// What stopped it early.
    stopped: Option<&'static str>,
}

fn look(directory: &Path, dockerfile: &Path) -> Vec<Finding> {
    let plain: PathBuf = directory.components().collect();
    let plain = plain.strip_prefix(".").unwrap_or(&plain);
    let shown = match plain.as_os_str().is_empty() {
        true => ".".to_owned(),
        false => plain.display().to_string(),
    };
    if !directory.is_dir() {
        let said = format!("{shown} is not a directory");
        return vec![Finding::problem(CHECK, said).fix("`context` of the image in kiln.yaml")];
    }
    let ignore = match ignore_file(Some(dockerfile), Some(directory)) {
        Ok(ignore) => ignore.unwrap_or_default(),
        Err(error) => return vec![Finding::of_error(Level::Problem, CHECK, &error)],
    };
    let mut beside = dockerfile.as_os_str().to_owned();
    beside.push(".dockerignore");
    let beside = PathBuf::from(beside);
    let ignore_name = match beside.is_file() {
        true => beside,
        false => plain.join(".dockerignore"),
    };
    let ignore_name = ignore_name.display();
    let mut seen = Seen::default();
    let until = Instant::now() + TIME_MAX;
    walk(
        directory,
        "",
        Verdict::default(),
        &ignore,
        until,
        0,
        &mut seen,
    );
    let mut findings = Vec::new();
    let size = units::bytes(seen.bytes);
    let files = seen.files;
    let at_least = if seen.stopped.is_some() {
        "at least "
    } else {
        ""
    };
    let amount = format!("{shown}: {at_least}{files} files, {size}");
    if seen.bytes > BYTES_MANY {
        let largest = seen.by_top.iter().max_by_key(|(_, bytes)| **bytes);
        let finding = Finding::warning(CHECK, amount);
        findings.push(match largest {
            Some((name, bytes)) => finding.fix(format!(
                "add what no COPY needs to {ignore_name}; the largest is `{name}` with {}",
                units::bytes(*bytes)
            )),
            None => finding,
        });
    } else {
        findings.push(Finding::ok(CHECK, amount));
    }
    if let Some(why) = seen.stopped {
        findings.push(Finding::warning(
            CHECK,
            format!("{shown} was not looked at to its end: {why}"),
        ));
    }
    if seen.has_git {
        findings.push(
            Finding::warning(
                CHECK,
                format!("{shown} has its `.git`: `COPY .` takes the whole history along"),
            )
            .fix(format!("add `.git` to {ignore_name}")),
        );
    }
    for path in seen.secrets.iter().take(NAMED_MAX) {
        findings.push(
            Finding::warning(
                CHECK,
                format!("{shown} has `{path}`, which looks like a secret: `COPY .` takes it along"),
            )
            .fix(format!("add `{path}` to {ignore_name}")),
        );
    }
    if let Some(more) = seen.secrets.len().checked_sub(NAMED_MAX + 1) {
        let said = format!("{shown} has {} more that look like secrets", more + 1);
        findings.push(Finding::warning(CHECK, said));
    }
    findings
}

fn walk(
    directory: &Path,
    below: &str,
    parent: Verdict<'_>,
    ignore: &IgnoreFile,
    until: Instant,
    depth: usize,
    seen: &mut Seen,
) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        seen.stopped.get_or_insert("a directory cannot be read");
        return;
    };
    for entry in entries.flatten() {
        seen.entries += 1;
        if seen.entries > ENTRIES_MAX {
            seen.stopped.get_or_insert("it has too many files");
            return;
        }
        if Instant::now() > until {
            seen.stopped.get_or_insert("it took too long");
            return;
        }
        let name = entry.file_name();
        let mut path = below.as_bytes().to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let verdict = ignore.matches_below(parent, &path);
        let path = String::from_utf8_lossy(&path).into_owned();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            if verdict.ignored && !ignore.may_contain_included(&path, verdict) {
                continue;
            }
            if below.is_empty() && name == ".git" && !verdict.ignored {
                seen.has_git = true;
            }
            match depth < DEPTH_MAX {
                true => walk(
                    &entry.path(),
                    &path,
                    verdict,
                    ignore,
                    until,
                    depth + 1,
                    seen,
                ),
                false => {
                    seen.stopped.get_or_insert("its directories are too deep");
                }
            }
        } else if !verdict.ignored {
            let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
            seen.files += 1;
            seen.bytes += bytes;
            let top = path.split('/').next().unwrap_or_default();
            *seen.by_top.entry(top.to_owned()).or_default() += bytes;
            if kind.is_file() && is_secret(&path, || start_of(&entry.path())) {
                seen.secrets.push(path);
            }
        }
    }
    // In an order that is the same everywhere.
    if below.is_empty() {
        seen.secrets.sort();
    }
}

/// Whether a file is what nobody wants in an image, by its name and, where that is not enough, by
/// what is in it.
fn is_secret(path: &str, content: impl Fn() -> Vec<u8>) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let has = |needle: &str| {
        let content = content();
        let needle = needle.as_bytes();
        content.windows(needle.len()).any(|part| part == needle)
    };
    let is_json = name.ends_with(".json");
    match name {
        ".env" | ".netrc" | ".pypirc" => true,
        // One that only names registries is no secret.
        ".npmrc" => has("_auth") || has("_password"),
        "config.json" => path.ends_with(".docker/config.json"),
        "application_default_credentials.json" => true,
        _ if is_json && name.starts_with("gha-creds-") => true,
        _ if is_json && name.contains("service-account") => has("\"private_key\""),
        _ if name.starts_with("id_rsa") || name.starts_with("id_ed25519") => {
            !name.ends_with(".pub")
        }
        _ if name.ends_with(".pem") || name.ends_with(".key") => has("PRIVATE KEY-----"),
        _ => false,
    }
}

fn start_of(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // What can be read is enough to judge by.
        let _ = file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn secrets_are_known_by_name_and_content() {
        let check = |path: &str, content: &str, expected: bool| {
            let found = is_secret(path, || content.as_bytes().to_vec());
            assert_eq!(found, expected, "{path}: {content}");
        };
        check("a/.env", "", true);
        check(".env.example", "", false);
        check("gha-creds-1f.json", "{}", true);
        check("id_rsa", "", true);
        check("id_rsa.pub", "", false);
        check("x/id_ed25519_work", "", true);
        check("tls.pem", "-----BEGIN EC PRIVATE KEY-----", true);
        check("tls.pem", "-----BEGIN CERTIFICATE-----", false);
        check(".npmrc", "registry=https://r", false);
        check(".npmrc", "//r/:_authToken=x", true);
        check("my-service-account.json", "{\"private_key\": 1}", true);
        check("my-service-account.json", "{}", false);
        check("home/.docker/config.json", "{}", true);
        check("app/config.json", "{}", false);
    }
}
