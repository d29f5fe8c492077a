//! What is left when a process, or the builder itself, is gone: nothing.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::cage::for_each_caller;

/// A sleep so odd that only this test has it in its arguments.
fn marker() -> String {
    format!("{}.{}", 100_000 + std::process::id(), 125)
}

fn marked(marker: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
        let path = entry.ok()?.path();
        path.file_name()?.to_str()?.parse::<u32>().ok()?;
        let line = fs::read(path.join("cmdline")).ok()?;
        String::from_utf8_lossy(&line)
            .contains(marker)
            .then_some(())
    });
    processes.count()
}

/// Waits until as many are there; a machine under load may take long, and that is no failure.
fn wait_for(marker: &str, holds: impl Fn(usize) -> bool) -> usize {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let count = marked(marker);
        if holds(count) || Instant::now() > end {
            return count;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_process_in_the_background_does_not_outlive_the_command() {
    for_each_caller(|mut cage| {
        let marker = marker();
        cage.sh(&format!(
            "(sleep {marker}; touch /late) & (trap '' TERM HUP; sleep {marker}) &"
        ))
        .success();
        assert_eq!(marked(&marker), 0);
        assert!(!cage.upper("late").exists());
    });
}

#[test]
fn orphans_are_reaped() {
    for_each_caller(|mut cage| {
        let script = "for i in $(seq 50); do ( ( true & ) & ) ; done; sleep 0.2; \
                      cat /proc/[0-9]*/stat 2>/dev/null | grep -c ' Z ' || true";
        assert_eq!(cage.sh(script).success(), "0\n");
    });
}

#[test]
fn a_killed_builder_leaves_no_process_and_no_mount() {
    for_each_caller(|mut cage| {
        let marker = marker();
        // Others mount things on this machine too: ours are those that name our directory.
        let place = cage.outside("");
        let place = place.to_str().expect("a short name").to_owned();
        let mounts = || {
            let text = fs::read_to_string("/proc/self/mountinfo").expect("it is there");
            text.lines().filter(|line| line.contains(&place)).count()
        };
        assert_eq!(mounts(), 0);
        let script =
            format!("trap '' TERM HUP; (sleep {marker} & sleep {marker}) & sleep {marker}");
        cage.process.argv = ["sh", "-c", &script].map(Into::into).to_vec();
        let mut helper = cage.start(&["run"]);
        let started = wait_for(&marker, |count| count >= 3);
        helper.kill().expect("ours");
        helper.wait().expect("ours");
        assert_eq!(started, 3, "the three sleeps");
        assert_eq!(wait_for(&marker, |count| count == 0), 0);
        assert_eq!(mounts(), 0);
    });
}
