//! Repositories made here, read as others' would be.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fetch::{CheckOut, Git, GitOptions, GitRepository};
use tempfile::TempDir;
use testkit::Web;

fn git_program() -> Git {
    Git::find(GitOptions {
        search_path: "/usr/local/bin:/usr/bin:/bin".into(),
        ..GitOptions::default()
    })
    .expect("git is installed")
}

/// Runs git as a user would, with a clock that stands still.
fn git(directory: &Path, arguments: &[&str]) -> String {
    let date = "2001-02-03T04:05:06Z";
    let output = Command::new("git")
        .args(["-c", "protocol.file.allow=always"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
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

struct Repositories {
    directory: TempDir,
}

impl Repositories {
    /// `top` with a submodule, a tag, two branches, a program and a link.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let module = directory.path().join("module");
        let top = directory.path().join("top");
        for path in [&module, &top] {
            fs::create_dir(path).unwrap();
            git(path, &["init", "--quiet", "--initial-branch=main"]);
        }
        fs::write(module.join("inner.txt"), "inner\n").unwrap();
        git(&module, &["add", "--all"]);
        git(&module, &["commit", "--quiet", "--message=module"]);
        fs::write(top.join("a.txt"), "one\n").unwrap();
        fs::write(top.join("run.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(top.join("run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", top.join("link")).unwrap();
        git(&top, &["add", "--all"]);
        git(&top, &["commit", "--quiet", "--message=one"]);
        git(&top, &["tag", "--annotate", "--message=v1", "v1"]);
        git(&top, &["branch", "old"]);
        git(&top, &["submodule", "--quiet", "add", "../module", "sub"]);
        fs::write(top.join("a.txt"), "two\n").unwrap();
        git(&top, &["add", "--all"]);
        git(&top, &["commit", "--quiet", "--message=two"]);
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn local(&self) -> GitRepository {
        let url = format!("file://{}", self.path("top").display());
        GitRepository {
            shown: "TOP".to_owned(),
            url,
            local: true,
            authorization: None,
        }
    }

    /// An empty directory.
    fn fresh(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

#[tokio::test]
async fn names_mean_commits() {
    let all = Repositories::new();
    let top = all.path("top");
    let commit = |name: &str| git(&top, &["rev-parse", &format!("{name}^{{commit}}")]);
    let scratch = all.fresh("scratch");
    let long = commit("old");
    let table: &[(Option<&str>, &str)] = &[
        (None, "HEAD"),
        (Some("HEAD"), "HEAD"),
        (Some("main"), "main"),
        (Some("old"), "old"),
        (Some("v1"), "v1"),
        (Some("refs/tags/v1"), "v1"),
        (Some("heads/old"), "old"),
        (Some(&long), "old"),
    ];
    for (asked, expected) in table {
        let found = git_program().resolve(&all.local(), *asked, &scratch).await;
        assert_eq!(found.unwrap().id, commit(expected), "{asked:?}");
    }
    for (asked, expected) in [
        ("nope", "TOP has no branch, tag or commit `nope`"),
        (
            "refs/heads/v1",
            "TOP has no branch, tag or commit `refs/heads/v1`",
        ),
        (
            &long[..8],
            &format!("TOP has no branch, tag or commit `{}`", &long[..8]),
        ),
    ] {
        let (program, repository) = (git_program(), all.local());
        let found = program.resolve(&repository, Some(asked), &scratch).await;
        assert_eq!(found.unwrap_err().to_string(), expected);
    }
}

#[tokio::test]
async fn files_of_commits() {
    let all = Repositories::new();
    let scratch = all.fresh("scratch");
    let check_out = async |name: &str, reference: Option<&str>, submodules, keep_git_dir| {
        let directory = all.fresh(name);
        let git = git_program();
        let commit = git.resolve(&all.local(), reference, &scratch).await;
        let wanted = CheckOut {
            submodules,
            keep_git_dir,
        };
        let commit = commit.unwrap();
        git.check_out(&all.local(), &commit, &directory, wanted)
            .await
            .unwrap();
        directory
    };
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    let one = check_out("one", Some("v1"), true, false).await;
    assert_eq!(read(one.join("a.txt")).as_deref(), Some("one\n"));
    assert!(!one.join(".git").exists());
    assert_eq!(
        fs::read_link(one.join("link")).unwrap(),
        Path::new("/etc/passwd")
    );
    let mode = fs::metadata(one.join("run.sh"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o111, 0o111, "a program for everybody");

    let two = check_out("two", None, true, false).await;
    assert_eq!(read(two.join("a.txt")).as_deref(), Some("two\n"));
    assert_eq!(read(two.join("sub/inner.txt")).as_deref(), Some("inner\n"));
    assert!(!two.join("sub/.git").exists());

    let without = check_out("without", None, false, false).await;
    assert!(!without.join("sub/inner.txt").exists());

    // Two checkouts with `.git` are the same, byte for byte.
    let kept = check_out("kept", None, false, true).await;
    let again = check_out("again", None, false, true).await;
    for file in ["HEAD", "config", "index", "shallow"] {
        let bytes = |directory: &Path| fs::read(directory.join(".git").join(file)).unwrap();
        assert_eq!(bytes(&kept), bytes(&again), ".git/{file}");
    }
    assert!(!kept.join(".git/FETCH_HEAD").exists());
    assert!(!kept.join(".git/logs").exists());
    assert_eq!(git(&kept, &["status", "--short"]), "");
}

/// The old protocol, which is but files: no commit by its id and no shallow ones. Everything is
/// fetched then.
#[tokio::test]
async fn a_server_of_files_only() {
    let all = Repositories::new();
    let bare = all.path("bare.git");
    let bare_text = bare.to_str().unwrap();
    git(
        &all.path("top"),
        &["clone", "--quiet", "--bare", ".", bare_text],
    );
    git(&bare, &["update-server-info"]);
    let web = Web::start();
    serve(&web, &bare, "/bare.git");
    let repository = GitRepository {
        url: web.url("/bare.git"),
        shown: "BARE".to_owned(),
        local: false,
        authorization: None,
    };
    let scratch = all.fresh("scratch");
    let directory = all.fresh("out");
    let commit = git_program()
        .resolve(&repository, Some("old"), &scratch)
        .await;
    let wanted = CheckOut {
        submodules: false,
        keep_git_dir: false,
    };
    git_program()
        .check_out(&repository, &commit.unwrap(), &directory, wanted)
        .await
        .unwrap();
    assert_eq!(
        fs::read_to_string(directory.join("a.txt")).unwrap(),
        "one\n"
    );
}

/// What is of this machine, and what runs programs, is not reached from an address that is not.
#[tokio::test]
async fn other_transports() {
    let all = Repositories::new();
    let scratch = all.fresh("scratch");
    for url in [
        format!("file://{}", all.path("top").display()),
        all.path("top").display().to_string(),
        format!("ext::sh -c touch% {}", all.path("touched").display()),
    ] {
        let repository = GitRepository {
            url: url.clone(),
            shown: "IT".to_owned(),
            local: false,
            authorization: None,
        };
        let found = git_program().resolve(&repository, None, &scratch).await;
        let error = found.unwrap_err().to_string();
        assert!(error.contains("not allowed"), "{url}: {error}");
    }
    assert!(!all.path("touched").exists());
}

#[test]
fn without_git() {
    let nowhere = tempfile::tempdir().unwrap();
    let options = GitOptions {
        search_path: format!(".:relative:{}", nowhere.path().display()).into(),
        ..GitOptions::default()
    };
    let error = Git::find(options).unwrap_err().to_string();
    assert!(error.contains("apt-get install git"), "{error}");
}

/// Puts all files of a directory on a server.
fn serve(web: &Web, directory: &Path, prefix: &str) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let page = format!("{prefix}/{name}");
        if path.is_dir() {
            serve(web, &path, &page);
        } else {
            web.text(&page, fs::read(&path).unwrap());
        }
    }
}
