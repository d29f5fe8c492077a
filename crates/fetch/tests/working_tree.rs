//! What is known of a directory that a user works in, and what a hostile repository cannot do.

// A test that cannot run here says so.
#![allow(clippy::print_stderr)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fetch::{Git, GitOptions, UserGit, WorkingTree, WorkingTreeError, WorkingTreeRequest};
use tempfile::TempDir;

struct Place {
    directory: TempDir,
}

impl Place {
    /// A home without settings, and a repository with one commit.
    fn new() -> Self {
        let place = Self::empty(&["--initial-branch=main"]);
        place.write("a.txt", "one\n");
        place.git(&["add", "--all"]);
        place.git(&["commit", "--quiet", "--message=first"]);
        place
    }

    fn empty(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("home")).unwrap();
        fs::create_dir(directory.path().join("work")).unwrap();
        let place = Self { directory };
        place.git(&[&["init", "--quiet"], options].concat());
        place
    }

    fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn git(&self, arguments: &[&str]) -> String {
        self.git_in(&self.work(), arguments)
    }

    fn git_in(&self, directory: &Path, arguments: &[&str]) -> String {
        let date = "2001-02-03T04:05:06+0100";
        let output = Command::new("git")
            .args(["-c", "protocol.file.allow=always"])
            .args(arguments)
            .current_dir(directory)
            .env("HOME", self.directory.path().join("home"))
            .env_remove("XDG_CONFIG_HOME")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_DATE"), date)))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "n")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "n@example.org")))
            .output()
            .expect("git starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn ask(&self) -> Result<WorkingTree, WorkingTreeError> {
        self.ask_in(&self.work(), None)
    }

    fn ask_in(
        &self,
        directory: &Path,
        pattern: Option<&str>,
    ) -> Result<WorkingTree, WorkingTreeError> {
        let git = Git::find(GitOptions {
            search_path: "/usr/local/bin:/usr/bin:/bin".into(),
            ..GitOptions::default()
        })
        .expect("git is installed");
        let user = UserGit {
            home: Some(self.directory.path().join("home")),
            config_home: None,
        };
        let wanted = WorkingTreeRequest {
            describe: Some(pattern.map(str::to_owned)),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime
            .unwrap()
            .block_on(git.working_tree(directory, &user, &wanted))
    }

    fn known(&self) -> WorkingTree {
        self.ask().expect("facts")
    }
}

#[test]
fn a_clean_tree_is_its_commit() {
    let place = Place::new();
    place.git(&[
        "remote",
        "add",
        "origin",
        "https://user:secret@example.org/team/app.git",
    ]);
    place.git(&["tag", "v1.2.0"]);
    place.git(&["tag", "--annotate", "--message=x", "conformance/v9"]);
    let found = place.known();
    assert_eq!(found.commit, place.git(&["rev-parse", "HEAD"]));
    assert_eq!(found.commit_seconds, 981_169_506);
    assert!(!found.dirty);
    assert_eq!(found.changes, None);
    assert_eq!(found.branch.as_deref(), Some("main"));
    assert_eq!(found.tags, ["conformance/v9", "v1.2.0"]);
    assert_eq!(
        found.source.as_deref(),
        Some("https://example.org/team/app.git")
    );
    assert!(!found.shallow);
    // The annotated tag is what git prefers; the pattern leaves it out.
    assert_eq!(found.describe.as_deref(), Some("conformance/v9"));
    let found = place.ask_in(&place.work(), Some("v[0-9]*")).unwrap();
    assert_eq!(found.describe.as_deref(), Some("v1.2.0"));
    // Below the root it is the same repository.
    fs::create_dir(place.work().join("sub")).unwrap();
    let below = place.ask_in(&place.work().join("sub"), None).unwrap();
    assert_eq!(below.root, place.work().canonicalize().unwrap());
    assert!(!below.dirty);
}

#[test]
fn every_change_counts_and_equal_changes_are_equal() {
    let digest = |change: &dyn Fn(&Place)| {
        let place = Place::new();
        change(&place);
        let found = place.known();
        assert_eq!(found.dirty, found.changes.is_some());
        found.changes
    };
    let edited = |place: &Place| place.write("a.txt", "two\n");
    let staged = |place: &Place| {
        place.write("a.txt", "two\n");
        place.git(&["add", "a.txt"]);
    };
    let other = |place: &Place| place.write("a.txt", "three\n");
    let gone = |place: &Place| fs::remove_file(place.work().join("a.txt")).unwrap();
    let new = |place: &Place| place.write("deep/b c\n.txt", "x");
    let link = |place: &Place| std::os::unix::fs::symlink("x", place.work().join("l")).unwrap();
    let touched = |place: &Place| place.write("a.txt", "one\n");
    let ignored = |place: &Place| {
        place.write(".git/info/exclude", "*.log\n");
        place.write("x.log", "x");
    };
    let by_user = |place: &Place| {
        fs::create_dir_all(place.directory.path().join("home/.config/git")).unwrap();
        fs::write(
            place.directory.path().join("home/.config/git/ignore"),
            "*.log\n",
        )
        .unwrap();
        place.write("x.log", "x");
    };
    let program = |place: &Place| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = place.work().join("a.txt");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let mut seen = Vec::new();
    let changes: [&dyn Fn(&Place); 6] = [&edited, &other, &gone, &new, &link, &program];
    for change in changes {
        let first = digest(change).expect("a change");
        assert_eq!(Some(&first), digest(change).as_ref());
        assert!(!seen.contains(&first), "two changes have one digest");
        seen.push(first);
    }
    assert_eq!(digest(&staged), digest(&edited));
    for nothing in [&touched as &dyn Fn(&Place), &ignored, &by_user] {
        assert_eq!(digest(nothing), None);
    }
}

#[test]
fn what_is_not_there_is_said() {
    let place = Place::new();
    let outside = place.directory.path().join("home");
    let error = place.ask_in(&outside, None).expect_err("no repository");
    assert!(
        matches!(error, WorkingTreeError::NoRepository(_)),
        "{error}"
    );
    let inside = place.work().join(".git");
    let error = place.ask_in(&inside, None).expect_err("no working tree");
    assert!(
        matches!(error, WorkingTreeError::NoRepository(_)),
        "{error}"
    );
    let empty = Place::empty(&[]);
    let error = empty.ask().expect_err("no commit");
    assert!(matches!(error, WorkingTreeError::NoCommit(_)), "{error}");
    place.git(&["checkout", "--quiet", "--detach"]);
    let found = place.known();
    assert_eq!(
        (found.branch, found.describe, found.source),
        (None, None, None)
    );
}

#[test]
fn repositories_of_sha256_have_longer_commits() {
    let place = Place::empty(&["--object-format=sha256"]);
    place.write("a", "x");
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message=x"]);
    assert_eq!(place.known().commit.len(), 64);
}

#[test]
fn a_shallow_clone_says_so() {
    let place = Place::new();
    place.git(&["commit", "--quiet", "--allow-empty", "--message=second"]);
    let clone = place.directory.path().join("clone");
    let url = format!("file://{}", place.work().display());
    let to = clone.to_str().unwrap();
    place.git(&["clone", "--quiet", "--depth=1", &url, to]);
    let found = place.ask_in(&clone, None).unwrap();
    assert!(found.shallow);
    assert_eq!(found.source, None);
}

#[test]
fn changes_of_submodules_count() {
    let place = Place::new();
    let module = Place::new();
    let url = module.work();
    place.git(&["submodule", "--quiet", "add", url.to_str().unwrap(), "lib"]);
    place.git(&["commit", "--quiet", "--message=module"]);
    assert!(!place.known().dirty);
    place.write("lib/a.txt", "two\n");
    let edited = place.known().changes.expect("a change within");
    place.write("lib/a.txt", "one\n");
    assert!(!place.known().dirty);
    place.git_in(
        &place.work().join("lib"),
        &["commit", "--quiet", "--allow-empty", "--message=x"],
    );
    let moved = place.known().changes.expect("another commit");
    assert_ne!(edited, moved);
}

/// Every setting of a repository that git would run something for: nothing of it is run.
#[test]
fn a_hostile_repository_runs_nothing() {
    let place = Place::new();
    let module = Place::new();
    place.git(&[
        "submodule",
        "--quiet",
        "add",
        module.work().to_str().unwrap(),
        "lib",
    ]);
    let mark = place.directory.path().join("ran");
    let script = place.directory.path().join("script");
    fs::write(
        &script,
        format!("#!/bin/sh\ntouch {}\ncat\n", mark.display()),
    )
    .unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let run = script.to_str().unwrap();
    place.write(".gitattributes", "* filter=evil diff=evil\n");
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message=evil"]);
    let settings = [
        ("core.fsmonitor", run),
        ("core.pager", run),
        ("core.editor", run),
        ("core.sshCommand", run),
        ("core.askPass", run),
        ("core.gitProxy", run),
        ("core.alternateRefsCommand", run),
        ("credential.helper", run),
        ("diff.external", run),
        ("diff.evil.command", run),
        ("diff.evil.textconv", run),
        ("filter.evil.clean", run),
        ("filter.evil.smudge", run),
        ("filter.evil.process", run),
        ("filter.evil.required", "true"),
        ("gpg.program", run),
        ("log.showSignature", "true"),
        ("pager.status", run),
        ("alias.status", &format!("!{run}")),
        ("remote.origin.url", &format!("ext::{run}")),
        ("remote.origin.uploadpack", run),
        ("remote.origin.promisor", "true"),
    ];
    for directory in [place.work(), place.work().join("lib")] {
        for (key, value) in settings {
            place.git_in(&directory, &["config", key, value]);
        }
    }
    for hook in [
        "post-index-change",
        "pre-auto-gc",
        "reference-transaction",
        "fsmonitor-watchman",
    ] {
        for hooks in [".git/hooks", ".git/modules/lib/hooks"] {
            let path = place.work().join(hooks).join(hook);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy(&script, path).unwrap();
        }
    }
    // Same size, another content, another time: git must look inside.
    place.write("a.txt", "two\n");
    place.write("lib/a.txt", "two\n");
    let _ = fs::remove_file(&mark);
    let found = place.known();
    assert!(found.dirty);
    assert!(!mark.exists(), "something of the repository was run");
    assert_eq!(found.source, None);
    // The test can fail: with git as it is, something runs.
    let _ = Command::new("git")
        .arg("status")
        .current_dir(place.work())
        .output();
    assert!(mark.exists(), "the repository is not hostile");
}

#[test]
fn a_repository_of_another_user_is_not_trusted() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: giving a file to another user needs root");
        return;
    }
    let place = Place::new();
    for path in [place.work(), place.work().join(".git")] {
        std::os::unix::fs::chown(path, Some(12_345), Some(12_345)).unwrap();
    }
    let error = place.ask().expect_err("not ours");
    assert!(matches!(error, WorkingTreeError::Ownership(_)), "{error}");
    // As git has it, the user can say that it is meant.
    let home = place.directory.path().join("home");
    let work = place.work();
    let settings = format!("[safe]\n\tdirectory = {}\n", work.display());
    fs::write(home.join(".gitconfig"), settings).unwrap();
    assert!(place.ask().is_ok());
}
