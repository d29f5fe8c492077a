//! Builds in which nothing has changed: what they may cost.

use std::time::{Duration, SystemTime};

use engine::StepOutcome;

use crate::Bench;
use crate::large::Ears;

/// Longer than a file must be at rest before its hash is remembered.
const AT_REST: Duration =
    Duration::from_millis(1000 * (1 + store::stat_cache::SETTLED_SECONDS as u64));

/// One question to the registry for the base's tag and one for the image's, and no file opened.
#[test]
fn a_build_without_changes_asks_two_questions_and_opens_no_file() {
    let bench = Bench::new();
    bench.file("src/a: A").file("src/below/b: B").file("c: C");
    let began = SystemTime::now();
    let dockerfile = "FROM BASE\nCOPY src /src\nWORKDIR /w\nCOPY c .\n";
    while began.elapsed().is_ok_and(|rested| rested < AT_REST) {
        std::thread::sleep(Duration::from_millis(100));
    }
    bench.build(dockerfile).unwrap();
    let root = bench.context.path();
    let ears = Ears::new([root.to_owned(), root.join("src"), root.join("src/below")]);
    bench.registry.clear_log();
    let report = bench.build(dockerfile).unwrap();
    let cached = |step: &engine::StepReport| step.outcome == StepOutcome::Cached;
    assert!(report.steps.iter().all(cached));
    assert_eq!(ears.heard_of_files(), Vec::<String>::new());
    let asked = bench.registry.lines();
    assert!(asked.len() <= 2, "{asked:?}");
    // The ears are not deaf.
    bench.file("c: changed");
    let ours = ears.heard_of_files();
    bench.build(dockerfile).unwrap();
    assert_eq!(
        (ours.len(), ears.heard_of_files().contains(&"c".to_owned())),
        (1, true)
    );
}

/// An edit within the second of the one before it, of the same size and with the old time.
#[test]
fn an_edit_in_the_same_second_is_seen() {
    let bench = Bench::new();
    let path = bench.context.path().join("f");
    let mut digests = Vec::new();
    for content in ["one", "two", "six"] {
        std::fs::write(&path, content).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        file.set_modified(time).unwrap();
        digests.push(
            bench
                .build("FROM BASE\nCOPY f /f\n")
                .unwrap()
                .manifest
                .digest,
        );
    }
    digests.dedup();
    assert_eq!(digests.len(), 3);
}

/// Builds that begin at the same moment and want the same base: its layer is read by one.
#[test]
fn builds_at_once_on_one_store_fetch_a_layer_once() {
    let bench = Bench::new();
    bench.file("c: C");
    let of_blobs = |lines: &[String]| {
        let blobs = lines
            .iter()
            .filter(|line| line.starts_with("GET") && line.contains("/base/blobs/"));
        blobs.count()
    };
    bench.build("FROM BASE\nCOPY c /\n").unwrap();
    let alone = of_blobs(&bench.registry.lines());
    std::fs::remove_dir_all(bench.store.path()).unwrap();
    std::fs::create_dir(bench.store.path()).unwrap();
    bench.registry.clear_log();
    // Long enough for the others to come and wait.
    let slowly = testkit::Action::SlowBytes {
        bytes: 50,
        pause_ms: 20,
    };
    let layers = testkit::Match::any().repository("base");
    bench.registry.fault(layers, slowly);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let bench = &bench;
            scope.spawn(move || {
                let dockerfile = format!("FROM BASE\nLABEL n={number}\nCOPY c /\n");
                bench.build(&dockerfile).unwrap();
            });
        }
    });
    let together = of_blobs(&bench.registry.lines());
    // The configuration is each one's own.
    assert!(
        alone > 1 && together < alone + 4,
        "{alone} alone, {together} together"
    );
}
