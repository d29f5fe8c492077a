//! Further mounts: stacks of directories, owners seen differently, and limits by name.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use sandbox::{Changes, MountSource, Owners, Resource, ResourceLimit, StackLayer};

use crate::cage::{Cage, Caller, for_each_caller};

fn layer(directory: PathBuf) -> StackLayer {
    StackLayer {
        directory,
        owners: Owners::AsOnDisk,
    }
}

/// Two directories of the caller: `below/{kept,hidden,dir/file}`, and `above` that hides one.
fn layers(cage: &Cage) -> Vec<StackLayer> {
    let (below, above) = (cage.outside("below"), cage.outside("above"));
    for directory in [below.clone(), below.join("dir"), above.clone()] {
        cage.make(&directory);
    }
    for name in ["kept", "hidden", "dir/file"] {
        fs::write(below.join(name), name).expect("a file");
        cage.give(&below.join(name));
    }
    mknodat(
        CWD,
        above.join("hidden"),
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .expect("a whiteout");
    vec![layer(below), layer(above)]
}

#[test]
fn stacks_show_what_is_not_hidden_and_are_not_changed() {
    for_each_caller(|mut cage| {
        let layers = layers(&cage);
        let stack = MountSource::Stack {
            layers,
            changes: None,
            path: PathBuf::new(),
        };
        cage.mount("/seen", stack, true);
        let script = "cd /seen; ls; cat dir/file kept; touch new 2>/dev/null || echo no";
        assert_eq!(cage.sh(script).success(), "dir\nkept\ndir/filekeptno\n");
    });
}

/// Rows: R7
#[test]
fn changes_of_a_stack_are_kept_where_they_should() {
    for_each_caller(|mut cage| {
        let layers = layers(&cage);
        for name in ["changes", "changes/upper", "changes/work"] {
            cage.make(&cage.outside(name));
        }
        let stack = |path: &str| MountSource::Stack {
            layers: layers.clone(),
            changes: Some(Changes {
                upper: cage.outside("changes/upper"),
                work: cage.outside("changes/work"),
            }),
            path: path.into(),
        };
        let source = stack("dir");
        cage.mount("/seen", source, false);
        cage.sh("cd /seen; echo new > file; rm -f ../kept; ls")
            .success();
        let kept = cage.outside("changes/upper/dir/file");
        assert_eq!(fs::read_to_string(kept).expect("a change"), "new\n");
        let below = cage.outside("below/dir/file");
        assert_eq!(fs::read_to_string(below).expect("as it was"), "dir/file");
    });
}

#[test]
fn a_file_of_a_stack_is_mounted_alone() {
    for_each_caller(|mut cage| {
        let layers = layers(&cage);
        let stack = |path: &str| MountSource::Stack {
            layers: layers.clone(),
            changes: None,
            path: path.into(),
        };
        let (file, hidden) = (stack("dir/file"), stack("hidden"));
        cage.mount("/made/here", file, true);
        assert_eq!(cage.sh("cat /made/here").success(), "dir/file");
        assert!(!cage.upper("made").exists(), "the mount point stayed");
        cage.process.mounts.clear();
        cage.mount("/made/here", hidden, true);
        assert_ne!(cage.sh("true").outcome, "code 0");
    });
}

#[test]
fn owners_can_be_seen_as_root() {
    for_each_caller(|mut cage| {
        if cage.caller == Caller::User {
            return;
        }
        let directory = cage.outside("theirs");
        cage.make(&directory);
        for (name, uid) in [("mine", 1234), ("other", 77)] {
            let path = directory.join(name);
            fs::write(&path, name).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("our file");
            chown(&path, Some(uid), Some(uid)).expect("root may");
        }
        let source = MountSource::Bind {
            source: directory,
            owners: Owners::Root {
                uid: 1234,
                gid: 1234,
            },
        };
        cage.mount("/seen", source, true);
        let script = "stat -c %u:%g /seen/*; cat /seen/mine";
        assert_eq!(cage.sh(script).success(), "0:0\n65534:65534\nmine");
    });
}

/// Rows: R16
#[test]
fn shared_memory_has_the_size_that_was_asked_for() {
    for_each_caller(|mut cage| {
        let blocks = "stat -f -c '%b %S' /dev/shm | { read b s; echo $((b * s)); }";
        assert_eq!(cage.sh(blocks).success(), "67108864\n");
        cage.process.limits.shared_memory_bytes_max = 1 << 20;
        assert_eq!(cage.sh(blocks).success(), "1048576\n");
    });
}

#[test]
fn limits_are_what_was_asked_for_or_an_error() {
    for_each_caller(|mut cage| {
        let limit = |resource, soft, hard| ResourceLimit {
            resource,
            soft,
            hard,
        };
        cage.process.limits.resources = vec![
            limit(Resource::Nofile, 100, 200),
            limit(Resource::Cpu, 1000, u64::MAX),
        ];
        let script = "ulimit -n; ulimit -H -n; ulimit -t";
        assert_eq!(cage.sh(script).success(), "100\n200\n1000\n");
        // More than the kernel gives to anybody.
        cage.process.limits.resources = vec![limit(Resource::Nofile, 1 << 40, 1 << 40)];
        let outcome = cage.sh("true");
        assert!(outcome.outcome.contains("nofile"), "{}", outcome.outcome);
    });
}

#[test]
fn an_unconfined_process_has_every_capability_of_its_namespace() {
    for_each_caller(|mut cage| {
        let capabilities = "grep CapEff /proc/self/status | cut -f2; cat /proc/self/status | grep \
                            ^Seccomp: | cut -f2";
        assert_eq!(cage.sh(capabilities).success(), "00000000800405fb\n2\n");
        cage.process.security.unconfined = true;
        let all = cage.sh(capabilities).success();
        let (set, filter) = all.split_once('\n').expect("two lines");
        assert!(set.ends_with("1ffffffffff"), "{set}");
        // The filter of whoever runs the tests, if there is one, stays.
        assert!(["0\n", "2\n"].contains(&filter), "{filter}");
    });
}

#[test]
fn the_control_group_is_made_below_its_parent_and_removed() {
    for_each_caller(|mut cage| {
        let parent = format!("kiln-test-{}", std::process::id());
        cage.process.limits.control_group_parent = Some(format!("/{parent}/inner"));
        let outcome = cage.sh("true");
        match cage.caller {
            // As root everywhere where control groups may be made at all.
            Caller::Root if outcome.outcome == "code 0" => {
                let found = walk_for(&parent);
                assert!(!found.is_empty(), "no parent was made");
                for directory in &found {
                    let inner = directory.join("inner");
                    let left = fs::read_dir(&inner).expect("the parent");
                    let groups = left.flatten().filter(|one| one.path().is_dir()).count();
                    assert_eq!(groups, 0, "{}", inner.display());
                    fs::remove_dir(inner).expect("it is empty");
                    fs::remove_dir(directory).expect("it is empty");
                }
            }
            Caller::Root | Caller::User => {
                assert!(
                    outcome.outcome.contains("control group"),
                    "{}",
                    outcome.outcome
                );
            }
        }
        cage.process.limits.control_group_parent = Some("../escape".to_owned());
        let outcome = cage.sh("true").outcome;
        assert!(
            outcome.contains("not the path of a control group"),
            "{outcome}"
        );
    });
}

fn walk_for(name: &str) -> Vec<PathBuf> {
    let top = PathBuf::from("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(&top).expect("control groups").flatten();
    let all = hierarchies.map(|entry| entry.path()).chain([top]);
    all.map(|hierarchy| hierarchy.join(name))
        .filter(|path| path.is_dir())
        .collect()
}
