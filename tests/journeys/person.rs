//! Somebody at a shell, who types what a page says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::page::Step;

/// A home directory, a place to work, programs, and variables.
pub(crate) struct Person {
    directory: PathBuf,
    variables: Vec<(String, String)>,
    aliases: Vec<(String, String)>,
}

impl Person {
    pub(crate) fn new(directory: &Path) -> Self {
        let person = Self {
            directory: directory.to_owned(),
            variables: Vec::new(),
            aliases: Vec::new(),
        };
        for name in ["home", "bin", "work"] {
            fs::create_dir_all(directory.join(name)).expect("a directory");
        }
        let built = Path::new(env!("CARGO_BIN_EXE_kiln"));
        let program = directory.join("bin/kiln");
        if fs::hard_link(built, &program).is_err() {
            fs::copy(built, &program).expect("a copy of the program");
        }
        person.home(
            ".gitconfig",
            "[user]\n\tname = Kevin Rosendahl\n\temail = kevinrosendahl@example.com\n\
             [init]\n\tdefaultBranch = master\n",
        );
        person
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    /// What stands in a page for something that is made here.
    pub(crate) fn alias(&mut self, here: &str, page: &str) {
        self.aliases.push((here.to_owned(), page.to_owned()));
    }

    /// Writes a file into the home directory; its path.
    pub(crate) fn home(&self, name: &str, text: &str) -> String {
        put(&self.directory.join("home").join(name), text)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        put(&self.work().join(name), text);
    }

    /// A program that notes how it is called, and then does `script`.
    pub(crate) fn program(&self, name: &str, script: &str) {
        let calls = self.directory.join("calls");
        let text = format!(
            "#!/bin/sh\necho \"{name} $*\" >> {}\n{script}\n",
            calls.display()
        );
        let path = self.directory.join("bin").join(name);
        put(&path, &text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a program");
    }

    /// The calls of such programs.
    pub(crate) fn calls(&self) -> String {
        fs::read_to_string(self.directory.join("calls")).unwrap_or_default()
    }

    /// Has the shell do something. What it exports is there for the next command, as in one session.
    pub(crate) fn shell(&self, command: &str) -> Output {
        let session = self.directory.join("session");
        let session = session.display();
        let script = format!(
            "if [ -f {session} ]; then . {session}; fi\n{command}\ncode=$?\nexport -p > {session}\n\
             exit $code\n"
        );
        let bin = self.directory.join("bin");
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &script])
            .current_dir(self.work())
            .env_clear()
            .env("HOME", self.directory.join("home"))
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        shell.output().expect("a shell")
    }

    /// Types a command of the page, which ends with this code and shows what the page shows; stdout,
    /// and then stderr.
    #[track_caller]
    pub(crate) fn types_with(&self, step: &Step, code: i32) -> String {
        let output = self.shell(&step.command);
        let mut said = said(&output);
        for (here, page) in &self.aliases {
            said = said.replace(here, page);
        }
        assert_eq!(
            output.status.code(),
            Some(code),
            "$ {}\n{said}",
            step.command
        );
        if let Some(missing) = step.missing_in(&said) {
            panic!("$ {}\nthe page shows\n{missing}\nin\n{said}", step.command);
        }
        assert!(!said.contains("canary"), "a secret is in {said}");
        said
    }

    /// The same for one that works.
    #[track_caller]
    pub(crate) fn types(&self, step: &Step) -> String {
        self.types_with(step, 0)
    }

    /// Tries something that no page says, and that ends with this code; what it said.
    #[track_caller]
    pub(crate) fn fails(&self, command: &str, code: i32) -> String {
        let output = self.shell(command);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "$ {command}\n{said}");
        said
    }

    /// Does something that no page says; what it printed.
    #[track_caller]
    pub(crate) fn does(&self, command: &str) -> String {
        let output = self.shell(command);
        assert!(output.status.success(), "$ {command}\n{}", said(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn put(path: &Path, text: &str) -> String {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(path, text).expect("a file");
    path.display().to_string()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
