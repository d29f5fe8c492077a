//! How processes end, and why they do not start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sandbox::UserIds;

use crate::cage::{Cage, Outcome, for_each_caller};

#[test]
fn the_ending_is_reported_as_it_was() {
    for_each_caller(|mut cage| {
        for code in [0, 1, 2, 125, 126, 127, 128, 137, 255] {
            assert_eq!(
                cage.sh(&format!("exit {code}")).outcome,
                format!("code {code}")
            );
        }
        for signal in [1, 2, 6, 9, 11, 15] {
            let outcome = cage.sh(&format!("kill -{signal} $$; sleep 9"));
            assert_eq!(outcome.outcome, format!("signal {signal}"));
        }
    });
}

#[test]
fn both_outputs_arrive_whole() {
    for_each_caller(|mut cage| {
        let outcome = cage.sh("yes | head -c 300000; yes | head -c 200000 >&2");
        assert_eq!(outcome.stdout.len(), 300_000);
        assert_eq!(outcome.stderr.len(), 200_000);
        assert_eq!(outcome.outcome, "code 0");
    });
}

#[test]
fn a_program_that_cannot_start_says_why() {
    for_each_caller(|mut cage| {
        let file = |cage: &Cage, name: &str, content: &[u8], mode: u32| {
            fs::write(cage.lower(name), content).expect("a file");
            fs::set_permissions(cage.lower(name), fs::Permissions::from_mode(mode)).expect("ours");
        };
        // An ELF header for a processor that no test runs on (IA-64), 64-bit little-endian.
        let mut foreign = b"\x7fELF\x02\x01\x01".to_vec();
        foreign.resize(64, 0);
        (foreign[16], foreign[18]) = (2, 50);
        file(&cage, "bin/foreign", &foreign, 0o755);
        file(&cage, "bin/text", b"just words\n", 0o755);
        file(&cage, "bin/plain", b"#!/bin/sh\n", 0o644);
        file(&cage, "bin/orphan", b"#!/no/such/shell -e\n", 0o755);
        let mut check = |argv: &[&str], expected: &str| {
            let Outcome { outcome, .. } = cage.run(argv);
            assert!(outcome.contains(expected), "{argv:?}: {outcome}");
            assert!(outcome.starts_with("error: "), "{argv:?}: {outcome}");
        };
        check(&["missing"], "missing: not found in the root file system");
        check(
            &["/bin/missing"],
            "/bin/missing: not found in the root file system",
        );
        check(&["plain"], "not executable by this user");
        check(&["/tmp"], "not executable by this user");
        check(
            &["foreign"],
            "Exec format error: it is built for ELF machine 50",
        );
        check(&["text"], "Exec format error: neither a program");
        check(
            &["orphan"],
            "the interpreter it needs, /no/such/shell, does not",
        );
        check(&[""], "not found");
    });
}

#[test]
fn what_cannot_be_described_is_refused_before_anything_starts() {
    for_each_caller(|mut cage| {
        let original = cage.process.clone();
        let mut check = |change: &dyn Fn(&mut sandbox::Process), expected: &str| {
            cage.process = original.clone();
            change(&mut cage.process);
            let outcome = cage.helped(&["run"]).outcome;
            assert!(
                outcome.starts_with("error: ") && outcome.contains(expected),
                "{outcome}"
            );
        };
        check(&|process| process.argv.clear(), "no program");
        check(&|process| process.argv.push("a\0b".into()), "zero byte");
        check(
            &|process| process.cwd = "/no/such".into(),
            "working directory /no/such",
        );
        check(&|process| process.cwd = "bin".into(), "absolute");
        check(
            &|process| process.root.work = "/elsewhere/work".into(),
            "same directory",
        );
        check(
            &|process| {
                process.user = UserIds {
                    uid: 70_000,
                    gid: 0,
                    groups: vec![],
                }
            },
            "id 70000 is not mapped",
        );
        check(
            &|process| {
                process.user = UserIds {
                    uid: 0,
                    gid: 0,
                    groups: vec![1, 99_999],
                }
            },
            "id 99999 is not mapped",
        );
        check(
            &|process| process.root.lowers = vec!["/".into(); sandbox::LOWERS_MAX + 1],
            "a root of 301 directories",
        );
    });
}

#[test]
fn bytes_that_are_not_text_arrive() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    for_each_caller(|mut cage| {
        let odd = OsString::from_vec(vec![0xC3, 0x28, 0xFF]);
        cage.process.env.push(("ODD".into(), odd.clone()));
        cage.process.argv = [
            "sh",
            "-c",
            "[ \"$ODD\" = \"$1\" ] && echo -n \"$1\" | wc -c",
            "sh",
        ]
        .map(Into::into)
        .into_iter()
        .chain([odd])
        .collect();
        assert_eq!(cage.helped(&["run"]).success(), "3\n");
    });
}

#[test]
fn three_hundred_directories_stack() {
    for_each_caller(|mut cage| {
        let lowest = cage.process.root.lowers[0].clone();
        for number in 1..sandbox::LOWERS_MAX {
            let directory = cage.outside(&format!("lower-{number}"));
            fs::create_dir(&directory).expect("an empty directory");
            fs::write(directory.join("who"), number.to_string()).expect("a file");
            cage.process.root.lowers.push(directory);
        }
        assert_eq!(cage.process.root.lowers[0], lowest);
        assert_eq!(cage.sh("cat /who").success(), "299");
    });
}

#[test]
fn cancelling_and_time_limits_end_everything() {
    for_each_caller(|mut cage| {
        cage.process.argv = ["sh", "-c", "echo ready; sleep 1000"]
            .map(Into::into)
            .to_vec();
        assert_eq!(
            cage.helped(&["run", "cancel-at", "ready"]).outcome,
            "error: cancelled"
        );
        cage.process.limits.wall_time_max = Some(Duration::from_millis(300));
        let outcome = cage.helped(&["run"]).outcome;
        assert!(outcome.contains("still running after 0.3 s"), "{outcome}");
    });
}

#[test]
fn no_new_privileges_on_request() {
    for_each_caller(|mut cage| {
        cage.process.security.no_new_privileges = true;
        let status = cage
            .sh("grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status")
            .success();
        assert_eq!(status, "NoNewPrivs:\t1\nSeccomp:\t2\n");
    });
}
