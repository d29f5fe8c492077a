//! The program as its users meet it: the real binary, in an environment that has nothing of this
//! machine in it. One file for each verb.

mod build;
mod cache;
mod call;
mod config;
mod emit;
mod lint;
mod pin;
mod program;
mod store;
mod warnings;

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A home directory, a working directory, and nothing else.
pub(crate) struct Environment {
    directory: TempDir,
}

impl Environment {
    pub(crate) fn new() -> Self {
        let environment = Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
        };
        for name in ["home", "work"] {
            std::fs::create_dir(environment.directory.path().join(name)).expect("a directory");
        }
        environment
    }

    /// Where the program runs.
    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// Writes a file below the working directory, parents included.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, content).expect("a file");
    }

    /// The program with arguments, not started yet.
    pub(crate) fn kiln(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command
            .args(arguments)
            .current_dir(self.work())
            .env_clear()
            .env("HOME", self.directory.path().join("home"))
            .env("PATH", "/usr/bin:/bin")
            .stdin(std::process::Stdio::null());
        command
    }

    /// Runs the program, and writes down what came out as one text.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.kiln(arguments).output().expect("kiln starts");
        self.describe(&output)
    }

    /// Exit code and both streams, with this environment's paths replaced.
    pub(crate) fn describe(&self, output: &Output) -> String {
        let mut text = match output.status.code() {
            Some(code) => format!("exit {code}\n"),
            None => format!("{}\n", output.status),
        };
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            if !bytes.is_empty() {
                let stream = String::from_utf8_lossy(bytes);
                text.push_str(&format!("{name}:\n{stream}"));
            }
        }
        self.normalise(&text)
    }

    /// Takes out of a text what differs from run to run.
    pub(crate) fn normalise(&self, text: &str) -> String {
        text.replace(&*self.directory.path().to_string_lossy(), "[DIR]")
    }
}

/// What a command says, character by character.
pub(crate) fn check(arguments: &[&str], expected: &str) {
    check_in(&Environment::new(), arguments, expected);
}

/// The same in an environment that was prepared.
pub(crate) fn check_in(environment: &Environment, arguments: &[&str], expected: &str) {
    let found = environment.run(arguments);
    assert_eq!(
        found,
        expected,
        "kiln {}\n\nit says:\n{found}",
        arguments.join(" ")
    );
}
