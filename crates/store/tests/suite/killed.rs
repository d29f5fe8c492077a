//! Processes that die at any moment, work at once, or run out of disk. The
//! children are `test-helper/main.rs`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use oci::Digest;
use store::Store;

use crate::{directory, open};

/// The program whose processes die.
const HELPER: &str = env!("CARGO_BIN_EXE_store-test-helper");

fn spawn(verb: &str, directory: &Path, seed: u32) -> Child {
    Command::new(HELPER)
        .arg(verb)
        .arg(directory)
        .arg(seed.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn key(number: u32) -> Digest {
    Digest::of(&number.to_le_bytes())
}

/// Everything that a record names is there and whole.
fn check_sound(store: &Store) -> usize {
    let verified = store.verify(false).unwrap();
    assert_eq!(verified.damage, []);
    let mut records = 0;
    for number in 0..40 {
        let Some(value) = store.records().get(&key(number)) else {
            continue;
        };
        let descriptor: oci::Descriptor = serde_json::from_slice(&value).unwrap();
        let mut reader = store.blobs().open(&descriptor).unwrap();
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
        records += 1;
    }
    for image in store.images().list() {
        assert!(store.blobs().has(&image.target), "{}", image.name);
    }
    records
}

#[test]
fn a_process_killed_at_any_moment_leaves_a_sound_store() {
    let directory = directory();
    let mut records = 0;
    for round in 0..80_u32 {
        // On a machine that is busy, a child may need longer to come to anything.
        if round >= 20 && records > 0 {
            break;
        }
        let slower = 1 + round / 20;
        let mut child = spawn("work-until-killed", directory.path(), round);
        // Spread over opening, writing, committing and the next round of each.
        std::thread::sleep(Duration::from_millis(u64::from(
            slower * (30 + round * 37 % 400),
        )));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(directory.path());
        records = records.max(check_sound(&store));
        let left: Vec<_> = fs::read_dir(store.path().join("tmp"))
            .unwrap()
            .map(|item| item.unwrap().file_name())
            .collect();
        assert_eq!(left.len(), 2, "only this process is there: {left:?}");
    }
    assert_ne!(records, 0, "no child ever got to a commit");
}

/// What a power cut leaves: objects under their names without their bytes, and
/// the lock file of a process of the boot before. Records are never there.
#[test]
fn a_process_that_died_with_the_machine_is_not_believed() {
    let directory = directory();
    let store = open(directory.path());
    let old = store.blobs().put(b"durable for long").unwrap();
    let torn = store.blobs().put(b"torn by the cut").unwrap();
    let whole = store.blobs().put(b"whole by luck").unwrap();
    let root = store.path().to_owned();
    let spoil = |boot: &str| {
        fs::write(
            root.join("blobs/sha256")
                .join(&torn.hex()[..2])
                .join(torn.hex()),
            "",
        )
        .unwrap();
        fs::write(root.join("tmp/1-0.lock"), boot).unwrap();
        fs::create_dir(root.join("tmp/1-0")).unwrap();
    };
    drop(store);
    // Killed, but the machine went on: the page cache has everything.
    spoil(
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .unwrap()
            .as_str(),
    );
    let store = open(directory.path());
    assert!(store.blobs().contains(&torn));
    drop(store);
    for boot in ["00000000-another-boot", ""] {
        let store = open(directory.path());
        store.blobs().put(b"torn by the cut").unwrap();
        drop(store);
        spoil(boot);
        let store = open(directory.path());
        assert!(!store.blobs().contains(&torn));
        assert!(store.blobs().contains(&old) && store.blobs().contains(&whole));
        assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 2);
    }
}

#[test]
fn several_processes_at_once_and_one_that_prunes() {
    let directory = directory();
    drop(open(directory.path()));
    let mut children: Vec<_> = (0..3)
        .map(|seed| spawn("work-for-a-while", directory.path(), seed * 100))
        .collect();
    for _ in 0..5 {
        let store = open(directory.path());
        // In use, or between two rounds of the children: both are fine.
        let _ = store.prune(&store::gc::PruneOptions {
            all: true,
            patience: Duration::from_millis(50),
            ..Default::default()
        });
        std::thread::sleep(Duration::from_millis(50));
    }
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let store = open(directory.path());
    assert_eq!(store.verify(false).unwrap().damage, []);
}

#[test]
fn a_full_disk_is_an_error_with_a_path_and_the_store_goes_on() {
    let directory = directory();
    let script = format!(
        "mount -t tmpfs -o size=8m full . && cd \"$PWD\" || exit 77
        head -c 1000000 /dev/zero > ballast
        {HELPER} fill-the-disk \"$PWD\" 0 && test -e passed"
    );
    let outcome = Command::new("unshare")
        .args(["-m", "sh", "-ec", &script])
        .current_dir(directory.path())
        .output();
    match outcome {
        Ok(outcome) if outcome.status.success() => {}
        Ok(outcome)
            if outcome.status.code() == Some(77) || !rustix::process::geteuid().is_root() =>
        {
            eprintln!("skipped: mounting a tmpfs needs root: {outcome:?}");
        }
        Ok(failed) => panic!(
            "{}{}",
            String::from_utf8_lossy(&failed.stdout),
            String::from_utf8_lossy(&failed.stderr)
        ),
        Err(error) => eprintln!("skipped: unshare(1): {error}"),
    }
}
