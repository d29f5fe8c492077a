//! The machine: how RUN would be isolated, what runs programs of other processors, and what room
//! there is.
//!
//! An ordinary user's sandbox begins with a process that enters a user namespace before it has a
//! second thread. So this program is started again, tries everything there, and says what it found.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use oci::Platform;
use sandbox::{Requested, Rung};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::bounded;
use super::finding::Finding;
use crate::command::{enter_user_namespace, print_product};
use crate::error::ProgramError;
use crate::ports;
use crate::project::LoadedProject;
use crate::render::units;
use crate::settings::Settings;

const SANDBOX: &str = "sandbox";
const EMULATOR: &str = "emulator";
const DISK: &str = "disk";

/// The flag that has this program try.
const FLAG: &str = "--machine-trial";

/// Less than this is soon full.
const FREE_BYTES_FEW: u64 = 2_000_000_000;

/// What a trial found.
#[derive(Debug, Serialize, Deserialize)]
enum Tried {
    /// A check was good.
    Good { check: Check, said: String },
    /// It was not.
    Bad {
        check: Check,
        said: String,
        fix: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Check {
    Sandbox,
    Emulator,
}

/// All of it.
pub(super) fn check(settings: &Settings, project: Option<&LoadedProject>) -> Vec<Finding> {
    let mut findings = trials(settings, &platforms(project));
    findings.extend(disk(settings));
    findings
}

/// Platforms that are declared.
fn platforms(project: Option<&LoadedProject>) -> BTreeSet<String> {
    let images = project
        .into_iter()
        .flat_map(|project| &project.values().images);
    images
        .flat_map(|(_, image)| image.platforms.iter().cloned())
        .collect()
}

fn trials(settings: &Settings, platforms: &BTreeSet<String>) -> Vec<Finding> {
    let words: Vec<&str> = platforms.iter().map(String::as_str).collect();
    let words = words.join(",");
    let asked = ports::block_on(async {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["doctor", FLAG, &words])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        if let Ok(store) = settings.store() {
            command.arg("--store").arg(store);
        }
        bounded(command.output()).await
    });
    let output = match asked {
        Ok(Some(Ok(output))) => output,
        Ok(Some(Err(error))) => {
            return vec![Finding::warning(
                SANDBOX,
                format!("could not be tried: {error}"),
            )];
        }
        Ok(None) => {
            return vec![Finding::warning(
                SANDBOX,
                "the trial gave no answer in time",
            )];
        }
        Err(error) => return vec![Finding::warning(SANDBOX, error.headline)],
    };
    let tried: Result<Vec<Tried>, _> = serde_json::from_slice(&output.stdout);
    let Ok(tried) = tried else {
        let said = format!("the trial ended without a word ({})", output.status);
        return vec![Finding::warning(SANDBOX, said)];
    };
    tried.into_iter().map(Finding::from).collect()
}

impl From<Tried> for Finding {
    fn from(tried: Tried) -> Self {
        let name = |check| match check {
            Check::Sandbox => SANDBOX,
            Check::Emulator => EMULATOR,
        };
        match tried {
            Tried::Good { check, said } => Self::ok(name(check), said),
            // Many Dockerfiles need neither.
            Tried::Bad { check, said, fix } => Self::warning(name(check), said).perhaps(fix),
        }
    }
}

/// Tries, and prints what was found for the process that started this one. Platforms are separated by
/// commas.
pub(super) fn run_trials(settings: &Settings, platforms: &str) -> Result<ExitCode, ProgramError> {
    let mut tried = Vec::new();
    match enter_user_namespace(&settings.invocation) {
        Ok(Some(code)) => return Ok(code),
        Ok(None) => try_all(settings, platforms, &mut tried),
        Err(error) => tried.push(Tried::Bad {
            check: Check::Sandbox,
            said: format!("RUN cannot be isolated: {}", with_causes(&error)),
            fix: Some("docs/sandbox.md says what it needs".to_owned()),
        }),
    }
    let text = serde_json::to_string(&tried)
        .map_err(|error| ProgramError::failed("the trial cannot be told").because(&error))?;
    print_product(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn try_all(settings: &Settings, platforms: &str, tried: &mut Vec<Tried>) {
    let store = settings.store().ok().filter(|store| store.is_dir());
    let scratch = match store {
        // Whether the kernel can stack depends on the file system.
        Some(store) => tempfile::tempdir_in(store),
        None => tempfile::tempdir(),
    };
    let scratch = match scratch {
        Ok(scratch) => scratch,
        Err(error) => {
            let said = format!("could not be tried: no directory can be made: {error}");
            tried.push(Tried::Bad {
                check: Check::Sandbox,
                said,
                fix: None,
            });
            return;
        }
    };
    let rung = match sandbox::probe(Requested::Auto, scratch.path()) {
        Ok(rung) => rung,
        Err(error) => {
            tried.push(Tried::Bad {
                check: Check::Sandbox,
                said: format!("RUN cannot be isolated: {}", with_causes(&error)),
                fix: Some("docs/sandbox.md says what it needs".to_owned()),
            });
            return;
        }
    };
    tried.push(Tried::Good {
        check: Check::Sandbox,
        said: match rung {
            Rung::Root => "RUN runs as nobody, started by root".to_owned(),
            Rung::UserNamespace => "RUN runs in a user namespace of yours".to_owned(),
        },
    });
    for word in platforms.split(',') {
        // What is no platform is kiln.yaml's to say.
        let Ok(platform) = word.parse::<Platform>() else {
            continue;
        };
        let path = settings.program_path.clone();
        tried.push(
            match engine::runner_of(&platform, path, scratch.path(), rung) {
                Ok(by) => Tried::Good {
                    check: Check::Emulator,
                    said: format!("programs for {platform} are run by {by}"),
                },
                Err(error) => Tried::Bad {
                    check: Check::Emulator,
                    said: error.reason,
                    fix: Some(error.advice),
                },
            },
        );
    }
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        next = error.source();
    }
    said
}

/// Room for the store.
fn disk(settings: &Settings) -> Option<Finding> {
    let store = match settings.store() {
        Ok(store) => store,
        Err(error) => {
            let level = super::finding::Level::Problem;
            return Some(Finding::of_error(level, DISK, &error));
        }
    };
    let there = store.ancestors().find(|path| path.exists());
    let there = there.unwrap_or(Path::new("."));
    let free = match rustix::fs::statvfs(there) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(error) => {
            let said = format!("{} could not be measured: {error}", store.display());
            return Some(Finding::warning(DISK, said));
        }
    };
    let said = format!("{} free for {}", units::bytes(free), store.display());
    Some(match free < FREE_BYTES_FEW {
        false => Finding::ok(DISK, said),
        true => Finding::warning(DISK, said)
            .fix("`kiln store prune --all`, or another directory with --store or KILN_STORE"),
    })
}
