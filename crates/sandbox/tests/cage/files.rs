//! What a process leaves in the upper directory, and what the sandbox does not.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use sandbox::{MountSource, Owners};

use crate::cage::{Cage, Caller, for_each_caller};

#[test]
fn owners_on_disk_are_true() {
    for_each_caller(|mut cage| {
        cage.sh("echo a > /mine; echo b > /other; chown 33:34 /other")
            .success();
        let owners = |name: &str| {
            let status = cage
                .upper(name)
                .metadata()
                .expect("it is in the upper directory");
            (status.uid(), status.gid())
        };
        match cage.caller {
            Caller::Root => {
                assert_eq!(owners("mine"), (0, 0));
                assert_eq!(owners("other"), (33, 34));
            }
            Caller::User => {
                assert_eq!(owners("mine"), cage.ids);
                assert_eq!(owners("other").0, cage.first_subordinate + 32);
            }
        }
    });
}

#[test]
fn removals_leave_whiteouts_and_opaque_directories() {
    for_each_caller(|mut cage| {
        for name in ["gone/deep", "again/deep"] {
            fs::create_dir_all(cage.lower(name)).expect("a directory");
            fs::write(cage.lower(name).join("file"), "x").expect("a file");
            cage.give(&cage.lower(name));
            cage.give(cage.lower(name).parent().expect("it has one"));
        }
        cage.sh("rm -rf /gone /again && mkdir /again && touch /again/new")
            .success();
        let gone = cage.upper("gone").symlink_metadata().expect("a whiteout");
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        let mut opaque = [0; 8];
        let length = rustix::fs::lgetxattr(cage.upper("again"), "user.overlay.opaque", &mut opaque);
        assert_eq!(&opaque[..length.expect("the attribute")], b"y");
    });
}

fn everything_in_upper(cage: &Cage) -> Vec<String> {
    fn walk(directory: &std::path::Path, prefix: &str, names: &mut Vec<String>) {
        for entry in fs::read_dir(directory).expect("readable") {
            let entry = entry.expect("readable");
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().expect("it has one").is_dir() {
                walk(&entry.path(), &format!("{name}/"), names);
            }
            names.push(name);
        }
    }
    let mut names = Vec::new();
    walk(&cage.upper(""), "", &mut names);
    names.sort();
    names
}

#[test]
fn mount_points_do_not_stay() {
    for_each_caller(|mut cage| {
        let shared = cage.outside("shared");
        cage.make(&shared);
        cage.mount(
            "/made/for/bind",
            MountSource::Bind {
                source: shared.clone(),
                owners: Owners::AsOnDisk,
            },
            false,
        );
        cage.mount(
            "/tmp/memory",
            MountSource::Tmpfs {
                bytes_max: Some(4096),
                mode: 0o700,
            },
            false,
        );
        let secret = MountSource::File {
            content: b"secret".to_vec(),
            mode: 0o400,
            uid: 7,
            gid: 8,
        };
        cage.mount("/run/secrets/key", secret, true);
        let seen = cage
            .sh("cat /run/secrets/key; stat -c ' %a %u %g' /run/secrets/key; touch /made/for/bind/x \
                 /tmp/memory/y; stat -c %a /tmp/memory; ls /")
            .success();
        assert_eq!(
            seen,
            "secret 400 7 8\n700\nbin\ndev\netc\nmade\nproc\nrun\nsys\ntmp\n"
        );
        assert!(shared.join("x").exists());
        // A directory that was only in the lower one has been copied up to hold a mount point;
        // it is as it was, to the time.
        assert_eq!(everything_in_upper(&cage), ["tmp"]);
        let time = |path: std::path::PathBuf| path.metadata().expect("it exists").modified();
        assert_eq!(
            time(cage.upper("tmp")).unwrap(),
            time(cage.lower("tmp")).unwrap()
        );
    });
}

#[test]
fn what_the_process_puts_beside_a_mount_point_stays() {
    for_each_caller(|mut cage| {
        cage.mount(
            "/made/here",
            MountSource::Tmpfs {
                bytes_max: None,
                mode: 0o755,
            },
            false,
        );
        cage.sh("echo kept > /made/file; echo lost > /made/here/file")
            .success();
        assert_eq!(everything_in_upper(&cage), ["made", "made/file"]);
    });
}

#[test]
fn binds_are_read_only_when_asked_and_never_set_user_id() {
    for_each_caller(|mut cage| {
        let shared = cage.outside("shared");
        fs::create_dir(&shared).expect("a directory");
        fs::write(shared.join("file"), "content").expect("a file");
        fs::copy("/bin/busybox", shared.join("id")).expect("a copy");
        fs::set_permissions(shared.join("id"), fs::Permissions::from_mode(0o4755)).expect("ours");
        cage.mount(
            "/data",
            MountSource::Bind {
                source: shared,
                owners: Owners::AsOnDisk,
            },
            true,
        );
        cage.process.user.uid = 5;
        let seen = cage
            .sh("cat /data/file; touch /data/new 2>/dev/null || echo -refused; /data/id -u")
            .success();
        assert_eq!(seen, "content-refused\n5\n");
        cage.process.mounts[0].executable = false;
        let outcome = cage.run(&["/data/id"]).outcome;
        assert!(outcome.contains("not executable"), "{outcome}");
    });
}

#[test]
fn a_size_limit_holds() {
    for_each_caller(|mut cage| {
        cage.mount(
            "/small",
            MountSource::Tmpfs {
                bytes_max: Some(8192),
                mode: 0o755,
            },
            false,
        );
        let script = "yes | head -c 100000 > /small/file 2>/dev/null; stat -c %s /small/file";
        assert_eq!(cage.sh(script).success(), "8192\n");
    });
}

#[test]
fn a_link_in_etc_is_followed_inside_the_root() {
    for_each_caller(|mut cage| {
        cage.make(&cage.lower("etc"));
        symlink("../run/resolve/stub.conf", cage.lower("etc/resolv.conf")).expect("a link");
        assert_eq!(
            cage.sh("cat /etc/resolv.conf").success(),
            "nameserver 192.0.2.1\n"
        );
        assert_eq!(everything_in_upper(&cage), ["etc"]);
    });
}
