//! What is the same for every verb: version, help, verbs and flags that do not exist.

use super::{Environment, check};

#[test]
fn the_version_is_printed_to_stdout() {
    let expected = format!("exit 0\nstdout:\nkiln {}\n", env!("CARGO_PKG_VERSION"));
    check(&["version"], &expected);
    check(&["--version"], &expected);
}

#[test]
fn every_verb_has_help_on_stdout() {
    for verb in ["build", "store", "version"] {
        let said = Environment::new().run(&[verb, "--help"]);
        assert!(said.starts_with("exit 0\nstdout:\n"), "{said}");
        assert!(said.contains(&format!("Usage: kiln {verb}")), "{said}");
        assert!(!said.contains("stderr:"), "{said}");
    }
}

#[test]
fn without_a_verb_the_help_goes_to_stderr() {
    let said = Environment::new().run(&[]);
    assert!(
        said.starts_with("exit 2\nstderr:\nBuilds, tags and pushes"),
        "{said}"
    );
}

#[test]
fn unknown_flags_get_a_suggestion() {
    check(
        &["build", "--platfrom", "linux/amd64", "."],
        "exit 2
stderr:
error: unexpected argument '--platfrom' found

  tip: a similar argument exists: '--platform'

Usage: kiln build --platform <OS/ARCH[/VARIANT]> [CONTEXT]

For more information, try '--help'.
",
    );
    let said = Environment::new().run(&["biuld"]);
    assert!(
        said.contains("tip: a similar subcommand exists: 'build'"),
        "{said}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let environment = Environment::new();
    let mut child = environment
        .kiln(&["build", "--help"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("kiln starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("an end").success());
}
