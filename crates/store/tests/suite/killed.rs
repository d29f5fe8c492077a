//! Processes that die at any moment, work at once, or run out of disk. The
//! children are this very program, told by a variable which store to use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use oci::{Compression, Digest};
use store::Store;
use store::layer::{LayerError, LayerWriter};
use store::unpacked::UnpackedKey;

use crate::{add_file, directory, open, options};

const STORE: &str = "STORE_OF_THE_CHILD";
const SEED: &str = "SEED_OF_THE_CHILD";

fn spawn(test: &str, directory: &Path, seed: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(STORE, directory)
        .env(SEED, seed.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn child() -> Option<(PathBuf, u32)> {
    let directory = std::env::var_os(STORE)?.into();
    let seed = std::env::var(SEED).ok()?.parse().ok()?;
    Some((directory, seed))
}

fn key(number: u32) -> Digest {
    Digest::of(&number.to_le_bytes())
}

/// One round of everything that a build does to a store. The record of `number`
/// names the blob; keys repeat between processes, contents do not.
fn work(store: &Store, number: u32, seed: u32) {
    let threads = 1 + number as usize % 2;
    let compression = [Compression::Gzip, Compression::Zstd][number as usize % 2];
    let mut writer = LayerWriter::create(store, options(compression, threads)).unwrap();
    for file in 0..20 {
        let content = format!("{number} {seed} {file} ").repeat(5_000);
        add_file(&mut writer, &format!("file{file:02}"), content.as_bytes());
    }
    let layer = writer.finish().unwrap();
    let scratch = store.scratch().unwrap();
    let tree = scratch.directory().unwrap();
    for file in 0..20 {
        fs::write(tree.join(file.to_string()), number.to_le_bytes()).unwrap();
    }
    let unpacked = UnpackedKey::Layer(layer.diff_id.clone());
    store.unpacked().adopt(&tree, unpacked).unwrap();
    let value = serde_json::to_vec(&layer.descriptor).unwrap();
    store.records().put(&key(number), &value);
    store
        .images()
        .set(&format!("image-{number}"), &layer.descriptor);
}

#[test]
#[ignore = "the child of the tests below"]
fn works_until_killed() {
    let Some((directory, seed)) = child() else {
        return;
    };
    let store = open(&directory);
    for number in 0.. {
        work(&store, number % 40, seed);
        if number % 5 == 4 {
            store.flush().unwrap();
        }
    }
}

#[test]
#[ignore = "the child of the tests below"]
fn works_for_a_while() {
    let Some((directory, seed)) = child() else {
        return;
    };
    for round in 0..5 {
        let store = open(&directory);
        for number in 0..8 {
            work(&store, number, seed + round);
        }
        store.flush().unwrap();
    }
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
    for round in 0..20_u32 {
        let mut child = spawn("killed::works_until_killed", directory.path(), round);
        // Spread over opening, writing, committing and the next round of each.
        std::thread::sleep(Duration::from_millis(u64::from(30 + round * 37 % 400)));
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
        .map(|seed| spawn("killed::works_for_a_while", directory.path(), seed * 100))
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
#[ignore = "the child of the test below"]
fn fills_the_disk() {
    let Some((directory, _)) = child() else {
        return;
    };
    let store = open(&directory);
    let mut kept = 0;
    let full = (0..).find_map(|number: u32| {
        let mut writer = LayerWriter::create(&store, options(Compression::None, 2)).ok()?;
        let content = number.to_le_bytes().repeat(64 << 10);
        let size = content.len() as u64;
        let metadata = store::layer::Metadata::root_owned(0o644, 0);
        let outcome = writer
            .add_file(crate::path("f"), metadata, size, None, &mut &content[..])
            .and_then(|_| writer.finish());
        match outcome {
            Ok(layer) => {
                kept += 1;
                store
                    .records()
                    .put(&key(number), layer.diff_id.to_string().as_bytes());
                None
            }
            Err(LayerError::Disk(error)) => Some(error),
            Err(other) => panic!("{other}"),
        }
    });
    let full = full.unwrap();
    assert!(
        full.is_full() && full.path().starts_with(directory),
        "{full}"
    );
    assert!(full.to_string().contains("inodes are free there"), "{full}");
    assert!(kept > 2);
    assert_eq!(store.verify(false).unwrap().damage, []);
    // With room again, everything works: in the same process, too.
    fs::remove_file(store.path().parent().unwrap().join("ballast")).unwrap();
    assert!(store.blobs().put(&[1; 100_000]).is_ok());
    store.flush().unwrap();
    assert!(store.records().get(&key(0)).is_some());
    fs::write(store.path().parent().unwrap().join("passed"), "").unwrap();
}

#[test]
fn a_full_disk_is_an_error_with_a_path_and_the_store_goes_on() {
    let directory = directory();
    let test = "killed::fills_the_disk";
    let script = format!(
        "mount -t tmpfs -o size=8m full . && cd \"$PWD\" || exit 77
        head -c 1000000 /dev/zero > ballast
        {STORE}=\"$PWD\" {SEED}=0 {} --exact {test} --ignored --nocapture && test -e passed",
        std::env::current_exe().unwrap().display()
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
