//! Root file systems that were made to break out (reliability-security, group C; CVE-2019-16884,
//! CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, CVE-2026-41579).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use sandbox::MountSource;

use crate::cage::{Cage, for_each_caller};

/// A directory of the host that a link of the root points to.
fn victim(cage: &Cage) -> std::path::PathBuf {
    let victim = cage.outside("victim");
    cage.make(&victim);
    victim
}

fn untouched(victim: &Path) {
    assert_eq!(
        fs::read_dir(victim).expect("it exists").count(),
        0,
        "something was written"
    );
}

#[test]
fn mount_points_that_are_links_are_refused() {
    for name in ["proc", "sys", "dev"] {
        for_each_caller(|mut cage| {
            let victim = victim(&cage);
            symlink(&victim, cage.lower(name)).expect("a link");
            let outcome = cage.sh("true").outcome;
            let expected = format!("error: cannot mount on /{name} in the root: it is a symbolic");
            assert!(outcome.starts_with(&expected), "{outcome}");
            untouched(&victim);
        });
    }
}

#[test]
fn mount_points_that_are_files_are_refused() {
    for_each_caller(|mut cage| {
        fs::write(cage.lower("proc"), "").expect("a file");
        let outcome = cage.sh("true").outcome;
        assert!(
            outcome.contains("/proc in the root: it is not a directory"),
            "{outcome}"
        );
    });
}

#[test]
fn links_out_of_the_root_lead_into_it() {
    for_each_caller(|mut cage| {
        let victim = victim(&cage);
        symlink(&victim, cage.lower("etc")).expect("a link");
        assert_eq!(cage.sh("cat /etc/hostname").success(), "cage\n");
        untouched(&victim);
        // The way to it, made inside the root, is gone but for the copied-up /tmp.
        let left = fs::read_dir(cage.upper(""))
            .expect("readable")
            .map(|entry| entry.expect("readable").file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["tmp"]);
        assert_eq!(
            fs::read_dir(cage.upper("tmp")).expect("readable").count(),
            0
        );
    });
    for_each_caller(|mut cage| {
        let victim = victim(&cage);
        cage.make(&cage.lower("etc"));
        let climb = Path::new("../../../../../../../..")
            .join(victim.strip_prefix("/").expect("absolute").join("pwned"));
        symlink(climb, cage.lower("etc/hosts")).expect("a link");
        symlink(&victim, cage.lower("way")).expect("a link");
        cage.mount(
            "/way/out",
            MountSource::Tmpfs {
                bytes_max: None,
                mode: 0o755,
            },
            false,
        );
        cage.sh("cat /etc/hosts && touch /way/out/file").success();
        untouched(&victim);
    });
}

#[test]
fn links_in_a_circle_end() {
    for_each_caller(|mut cage| {
        cage.make(&cage.lower("etc"));
        symlink("hosts", cage.lower("etc/hosts")).expect("a link");
        let outcome = cage.sh("true").outcome;
        assert!(outcome.contains("too many symbolic links"), "{outcome}");
    });
}

#[test]
fn devices_of_the_root_are_not_used() {
    for_each_caller(|mut cage| {
        fs::create_dir_all(cage.lower("dev/pts")).expect("a directory");
        symlink("/proc/sys/kernel/core_pattern", cage.lower("dev/null")).expect("a link");
        symlink("/proc/sysrq-trigger", cage.lower("dev/console")).expect("a link");
        assert_eq!(
            cage.sh(
                "stat -c %t:%T /dev/null; ls /dev/console 2>/dev/null; echo b > /dev/null; echo"
            )
            .success(),
            "1:3\n\n"
        );
    });
}

#[test]
fn nothing_is_mounted_below_proc_or_sys() {
    for target in ["/proc/sys", "/proc/1/attr", "/sys/kernel"] {
        for_each_caller(|mut cage| {
            cage.mount(
                target,
                MountSource::Tmpfs {
                    bytes_max: None,
                    mode: 0o755,
                },
                false,
            );
            let outcome = cage.sh("true").outcome;
            assert!(outcome.contains("/proc or /sys, or inside"), "{outcome}");
        });
    }
}

#[test]
fn working_directories_in_descriptors_do_not_lead_out() {
    for_each_caller(|mut cage| {
        for descriptor in 0..64 {
            cage.process.cwd = format!("/proc/self/fd/{descriptor}").into();
            let outcome = cage.sh("ls ../../../../../../../../..");
            assert!(outcome.outcome.contains("working directory"), "{outcome:?}");
        }
        for directory in ["/proc/1/cwd", "/proc/1/root"] {
            cage.process.cwd = directory.into();
            let outcome = cage.sh("ls ../../../../../../../../..");
            let inside = outcome.stdout.starts_with("bin\ndev\netc\nproc\nsys\n");
            assert!(
                inside || outcome.outcome.contains("working directory"),
                "{outcome:?}"
            );
        }
    });
}
