//! What our account may do at the repository of an image.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use oci::{Reference, Repository};
use registry::{Access, Client};

use super::bounded;
use super::finding::{Finding, Level};
use crate::command::auth::whoami::{kind, look_up};
use crate::error::ProgramError;

const ACCOUNT: &str = "account";
const PULL: &str = "pull";
const PUSH: &str = "push";
const CLOCK: &str = "clock";

/// Repositories that are looked at at the same time.
const AT_ONCE: usize = 8;

/// What clocks may differ by before tokens and signatures are refused, in seconds (spec section 6.5).
const SKEW_SECONDS_MAX: u64 = 60;

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Nothing that needs the network.
    pub(super) offline: bool,
    /// Only what it takes to pull.
    pub(super) pull_only: bool,
}

/// Looks at all of them, in their order.
pub(super) async fn check(
    client: &Client,
    references: &[Reference],
    extent: Extent,
) -> Vec<Finding> {
    let each = references
        .iter()
        .map(|reference| of_one(client, reference, extent));
    let mut found = futures_util::stream::iter(each).buffered(AT_ONCE);
    let mut findings = Vec::new();
    while let Some(more) = found.next().await {
        findings.extend(more);
    }
    let mut registries = BTreeSet::new();
    for reference in references {
        let repository = reference.repository();
        if !extent.offline && registries.insert(repository.registry()) {
            findings.extend(clock(client, repository).await);
        }
    }
    findings
}

async fn of_one(client: &Client, reference: &Reference, extent: Extent) -> Vec<Finding> {
    let repository = reference.repository();
    let mut findings = vec![account(client, repository).await];
    if extent.offline || findings.iter().any(|found| found.level == Level::Problem) {
        return findings;
    }
    let pull = bounded(client.may_pull(reference)).await;
    let is_silent = !matches!(pull, Some(Ok(_)));
    findings.push(access(PULL, &reference.to_string(), pull));
    // Who does not answer once is not waited for twice.
    if !extent.pull_only && !is_silent {
        let push = bounded(client.may_push(repository)).await;
        findings.push(access(PUSH, &repository.to_string(), push));
    }
    findings
}

async fn account(client: &Client, repository: &Repository) -> Finding {
    let lookup = match bounded(look_up(client, repository)).await {
        None => {
            let said = format!("{repository}: nobody said in time which account it is");
            return Finding::problem(ACCOUNT, said)
                .fix("run the credential helper by hand to see what it waits for");
        }
        Some(Err(error)) => return Finding::of_error(Level::Problem, ACCOUNT, &error),
        Some(Ok(lookup)) => lookup,
    };
    let Some(found) = &lookup.found else {
        let said = match lookup.trail.is_empty() {
            true => format!("{repository}: none, as anybody"),
            false => format!(
                "{repository}: none, as anybody ({})",
                lookup.trail.join("; ")
            ),
        };
        return Finding::ok(ACCOUNT, said);
    };
    let mut said = format!(
        "{repository}: {}, {} from {}",
        found.account.name,
        kind(found),
        found.account.source
    );
    if let Some(left) = found.time_left {
        said.push_str(&format!(", for {} min", left.as_secs() / 60));
    }
    match found.time_left {
        Some(left) if left < Duration::from_secs(60) => Finding::warning(ACCOUNT, said),
        Some(_) | None => Finding::ok(ACCOUNT, said),
    }
}

fn access(
    check: &'static str,
    name: &str,
    access: Option<Result<Access, registry::Error>>,
) -> Finding {
    match access {
        None => Finding::warning(check, format!("{name}: no answer in time"))
            .fix("check the network and the proxy settings"),
        Some(Ok(Access::Allowed)) => Finding::ok(check, format!("{name}: allowed")),
        Some(Ok(Access::Missing)) => Finding::ok(
            check,
            format!("{name}: nothing of that name is there, or may be seen"),
        ),
        Some(Ok(Access::Refused(error))) => {
            Finding::problem(check, format!("{name}: refused: {error}")).perhaps(error.advice())
        }
        Some(Err(error)) => {
            let said = ProgramError::failed(format!("{name} could not be asked")).because(&error);
            Finding::of_error(Level::Problem, check, &said).perhaps(error.advice())
        }
    }
}

/// Compares our clock with a registry's. One that does not say what time it is has said all it will
/// say elsewhere.
async fn clock(client: &Client, repository: &Repository) -> Option<Finding> {
    let host = repository.registry();
    let date = bounded(client.date(repository)).await?.ok()??;
    let theirs = jiff::fmt::rfc2822::parse(&date).ok()?.timestamp();
    let skew = Timestamp::now().duration_since(theirs);
    let seconds = skew.unsigned_abs().as_secs();
    Some(match seconds > SKEW_SECONDS_MAX {
        false => Finding::ok(CLOCK, format!("as at {host}")),
        true => {
            let way = if skew.is_negative() {
                "behind"
            } else {
                "ahead of"
            };
            Finding::problem(
                CLOCK,
                format!("this machine is {seconds} s {way} {host}: tokens will be refused"),
            )
            .fix("set the clock, such as with `timedatectl set-ntp true`")
        }
    })
}
