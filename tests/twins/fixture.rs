//! What is in the context of every case: made from the lines of `tests/twins/context`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::case;

/// Makes the fixture in a directory that is there.
pub(super) fn make(context: &Path) {
    let lines = fs::read_to_string(case::directory().join("context")).expect("the fixture");
    for line in lines.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let path = |word: &str| context.join(word);
        match words[..] {
            [] => {}
            ["directory", mode, name] => {
                fs::create_dir_all(path(name)).expect(line);
                set_mode(&path(name), mode);
            }
            ["file", mode, name, ..] => {
                let content = words[3..].join(" ");
                fs::write(path(name), format!("{content}\n")).expect(line);
                set_mode(&path(name), mode);
            }
            ["empty", name] => fs::write(path(name), "").expect(line),
            ["symlink", name, target] => symlink(target, path(name)).expect(line),
            ["link", name, target] => fs::hard_link(path(target), path(name)).expect(line),
            ["fifo", name] => {
                mknodat(
                    CWD,
                    path(name),
                    FileType::Fifo,
                    Mode::from_raw_mode(0o644),
                    0,
                )
                .expect(line);
            }
            ["archive", name, wrapping, directory] => archive(context, name, wrapping, directory),
            _ => panic!("not a line of the fixture: {line}"),
        }
    }
}

fn set_mode(path: &Path, mode: &str) {
    let mode = u32::from_str_radix(mode, 8).expect("an octal mode");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own file");
}

/// Packs what is in a directory, with owners that nobody here has.
fn archive(context: &Path, name: &str, wrapping: &str, directory: &str) {
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--owner=12",
        "--group=34",
        "--numeric-owner",
        "-cf",
        name,
        "-C",
    ])
    .args([directory, "."])
    .current_dir(context);
    match wrapping {
        "plain" => {}
        other => {
            tar.arg(format!("--{other}"));
        }
    }
    let output = tar.output().expect("tar starts");
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
