//! The same Dockerfiles through kiln and through buildah: the same root file system and the same
//! configuration, but for the exceptions that are written down.
//!
//! ```text
//! tests/twins/
//!   README.md       the form of the files, in short
//!   context         what every context holds, one thing on a line
//!   *.cases         Dockerfiles, several in a file: `=== name` begins one
//!   exceptions      case, what differs, row, why
//! ```
//!
//! An exception that no longer occurs is a failure too. `KILN_CASE=copy-ch` builds those
//! whose names begin so.

mod case;
mod differ;
mod fixture;
mod flat;
mod peer;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::site::{Caller, Site};
use case::Case;
use differ::{Difference, Exceptions};
use peer::Peer;

/// How many cases the folder has at least.
const CASES_MIN: usize = 150;
/// Builds that run at once. Both builders wait for the disk a good deal of their time.
const AT_ONCE: usize = 3;

#[test]
fn both_builders_make_the_same() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let peer = match Peer::new(&site) {
        Ok(peer) => peer,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let only = std::env::var("KILN_CASE").unwrap_or_default();
    let mut cases = case::all();
    assert!(cases.len() >= CASES_MIN, "only {} cases", cases.len());
    cases.retain(|case| case.name.starts_with(&only));
    let differences = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = compare(&site, &peer, case);
                    differences.lock().expect("no panic").extend(found);
                }
            });
        }
    });
    let mut differences = differences.into_inner().expect("no panic");
    differences.sort();
    let mut exceptions = Exceptions::read();
    let mut text = String::new();
    for difference in differences {
        if !exceptions.cover(&difference) {
            writeln!(text, "{difference}").expect("a string grows");
        }
    }
    if only.is_empty() {
        for unused in exceptions.unused() {
            writeln!(text, "this exception does not occur: {unused}").expect("a string grows");
        }
    }
    assert!(
        text.is_empty(),
        "kiln and {} differ:\n{text}",
        peer.version()
    );
    site.verify("twins");
}

/// Builds a case twice.
fn compare(site: &Site, peer: &Peer, case: &Case) -> Vec<Difference> {
    let context = case.make(site);
    let arguments = case.arguments(&context);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ours = site
        .build(
            "twins",
            &format!("ours/{}", case.name),
            &context,
            &arguments,
        )
        .output()
        .expect("kiln starts");
    let theirs = peer.build(&format!("theirs/{}", case.name), &context, case);
    let of = |key: &str, ours: String, theirs: String| Difference {
        case: case.name.clone(),
        key: key.to_owned(),
        ours,
        theirs,
    };
    let said = |ok: bool, text: String| if ok { "succeeds".to_owned() } else { text };
    let ours_said = said(ours.status.success(), site.describe(&ours));
    let theirs_said = said(theirs.status.success(), site.describe(&theirs));
    match (ours.status.success(), theirs.status.success()) {
        (false, false) if case.fails => return Vec::new(),
        (true, true) if !case.fails => {}
        _ => return vec![of("build", ours_said, theirs_said)],
    }
    let ours = flat::Flat::of(&site.image(&format!("ours/{}", case.name)));
    let theirs = flat::Flat::of(&site.image(&format!("theirs/{}", case.name)));
    let (ours, theirs) = (ours.facts(), theirs.facts());
    let keys: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let nothing = || "-".to_owned();
    keys.into_iter()
        .filter(|key| ours.get(*key) != theirs.get(*key))
        .map(|key| {
            let fact = |facts: &std::collections::BTreeMap<String, String>| {
                facts.get(key).cloned().unwrap_or_else(nothing)
            };
            of(key, fact(&ours), fact(&theirs))
        })
        .collect()
}
