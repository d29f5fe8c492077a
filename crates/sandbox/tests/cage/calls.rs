//! System calls that must be refused, made by a real program in the sandbox.

use sandbox::{MountSource, Owners};

use crate::cage::for_each_caller;

#[test]
fn dangerous_system_calls_are_refused() {
    const REFUSED: &str = "1";
    const UNKNOWN: &str = "38";
    for_each_caller(|mut cage| {
        // The helper is a dynamic program: it gets the libraries that it runs with here.
        for directory in ["/lib", "/lib64", "/usr/lib"] {
            if std::path::Path::new(directory).exists() {
                cage.mount(
                    directory,
                    MountSource::Bind {
                        source: directory.into(),
                        owners: Owners::AsOnDisk,
                    },
                    true,
                );
            }
        }
        cage.mount(
            "/helper",
            MountSource::Bind {
                source: cage.helper(),
                owners: Owners::AsOnDisk,
            },
            true,
        );
        let answers = cage.run(&["/helper", "calls"]).success();
        let mut answers: Vec<(&str, &str)> = answers
            .lines()
            .map(|line| line.split_once(' ').expect("name and number"))
            .collect();
        let mut expected: Vec<(&str, &str)> = [
            "unshare-user",
            "clone-user",
            "setns",
            "mount",
            "umount2",
            "pivot_root",
            "open_tree",
            "fsopen",
            "keyctl",
            "add_key",
            "bpf",
            "perf_event_open",
            "userfaultfd",
            "io_uring_setup",
            "open_by_handle_at",
            "personality-odd",
            "socket-alg",
            "socket-vsock",
        ]
        .map(|name| (name, REFUSED))
        .to_vec();
        expected.extend(["clone3", "far-future", "x32", "int80"].map(|name| (name, UNKNOWN)));
        expected.push(("socket-unix", "0"));
        answers.sort_unstable();
        expected.sort_unstable();
        assert_eq!(answers, expected);
    });
}
