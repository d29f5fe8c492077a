//! Where files come from: addresses and repositories in ADD, contexts of every kind, and contexts
//! with names.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::{Page, PageFault, Web};

use crate::cli::Environment;

/// A kitchen with a web server and a git that is only asked locally.
pub(crate) struct Kitchen {
    pub(crate) environment: Environment,
    pub(crate) web: Web,
}

impl Kitchen {
    pub(crate) fn new() -> Self {
        Self {
            environment: Environment::new(),
            web: Web::start(),
        }
    }

    pub(crate) fn work(&self, path: &str) -> PathBuf {
        self.environment.work().join(path)
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let content = content.replace("WEB", &self.web.host());
        self.environment.write(path, &content);
    }

    /// Builds into `out`, and writes down what is in there; or what was said.
    pub(crate) fn build(&self, arguments: &[&str]) -> String {
        self.build_from(Stdio::null(), arguments)
    }

    fn build_from(&self, stdin: impl Into<Stdio>, arguments: &[&str]) -> String {
        let out = self.work("out");
        if out.exists() {
            fs::remove_dir_all(&out).unwrap();
        }
        let arguments: Vec<String> = arguments
            .iter()
            .map(|argument| argument.replace("WEB", &self.web.host()))
            .collect();
        let arguments = arguments.iter().map(String::as_str);
        let all: Vec<&str> = ["build", "--progress", "quiet", "-o", "out"]
            .into_iter()
            .chain(arguments)
            .collect();
        let mut command = self.environment.kiln(&all);
        // `git init` of the tests' own and the program's git find it in the usual places.
        let output = command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(stdin)
            .output()
            .expect("kiln starts");
        if output.status.success() {
            return listing(&out);
        }
        let said = self.environment.describe(&output);
        said.replace(&self.web.host(), "WEB")
    }

    pub(crate) fn git(&self, directory: &str, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(self.work(directory))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "n")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "n@example.org")))
            .output()
            .expect("git starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Makes a repository of a directory, and serves it as files at `/NAME.git`.
    pub(crate) fn repository(&self, name: &str) -> String {
        let bare = format!("{name}.git");
        if !self.work(name).join(".git").exists() {
            self.git(name, &["init", "--quiet", "--initial-branch=main"]);
        }
        self.git(name, &["add", "--all"]);
        self.git(name, &["commit", "--quiet", "--message=it"]);
        if self.work(&bare).exists() {
            fs::remove_dir_all(self.work(&bare)).unwrap();
        }
        self.git(".", &["clone", "--quiet", "--bare", name, &bare]);
        self.git(&bare, &["update-server-info"]);
        self.serve(&self.work(&bare), &format!("/{bare}"));
        self.git(name, &["rev-parse", "HEAD"])
    }

    fn serve(&self, directory: &Path, prefix: &str) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let page = format!("{prefix}/{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                self.serve(&path, &page);
            } else {
                self.web.text(&page, fs::read(&path).unwrap());
            }
        }
    }

    /// A tar archive of a directory, made by tar, perhaps compressed.
    pub(crate) fn archive(&self, directory: &str, archive: &str, flags: &[&str]) {
        let made = Command::new("tar")
            .args(flags)
            .args(["-cf", archive, "-C", directory, "."])
            .current_dir(self.environment.work())
            .status()
            .expect("tar starts");
        assert!(made.success());
    }
}

/// `MODE PATH CONTENT` of everything below a directory, in order.
fn listing(directory: &Path) -> String {
    let mut lines = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(directory).unwrap().display().to_string();
            let mode = metadata.permissions().mode() & 0o7777;
            let content = if metadata.is_dir() {
                folders.push(path);
                "/".to_owned()
            } else if metadata.is_symlink() {
                format!(" -> {}", fs::read_link(&path).unwrap().display())
            } else {
                let content = String::from_utf8(fs::read(&path).unwrap());
                let text = content.ok().filter(|text| !text.contains('\0'));
                format!(" {}", text.as_deref().unwrap_or("(binary)").trim_end())
            };
            lines.push(format!("{mode:o} {name}{content}\n"));
        }
    }
    lines.sort_by_key(|line| line.split(' ').nth(1).map(str::to_owned));
    lines.concat()
}

/// Rows: C23, C24
#[test]
fn add_fetches_files() {
    let kitchen = Kitchen::new();
    let page = |body: &str| {
        kitchen.web.put(
            "/dl/tool.txt",
            Page {
                body: body.as_bytes().to_vec(),
                etag: Some(format!("\"{body}\"")),
                last_modified: Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
                fault: PageFault::None,
            },
        );
    };
    page("one");
    kitchen.web.text("/", "index");
    kitchen.write("tree/in.txt", "inside");
    kitchen.archive("tree", "tree.tar", &[]);
    kitchen
        .web
        .text("/tree.tar", fs::read(kitchen.work("tree.tar")).unwrap());
    kitchen.write(
        "Dockerfile",
        "FROM scratch\n\
         ADD http://WEB/dl/tool.txt http://WEB/ /d/\n\
         ADD --chmod=755 http://WEB/dl/tool.txt /renamed\n\
         ADD http://WEB/tree.tar /packed/\n\
         ADD --unpack=true http://WEB/tree.tar /unpacked/\n",
    );
    let expected = "755 d/\n600 d/__unnamed__ index\n600 d/tool.txt one\n755 packed/\n600 packed/tree.tar (binary)\n755 renamed one\n\
                    755 unpacked/\n644 unpacked/in.txt inside\n";
    assert_eq!(kitchen.build(&["."]), expected);
    kitchen.web.take();

    // What has not changed is asked for and not sent; what says nothing of itself is sent.
    assert_eq!(kitchen.build(&["."]), expected);
    let mut visits = kitchen.web.visits();
    visits.sort();
    assert_eq!(visits, ["200 /", "200 /tree.tar", "304 /dl/tool.txt"]);

    page("two");
    assert_eq!(kitchen.build(&["."]), expected.replace("one", "two"));
}

/// Rows: C24
#[test]
fn a_checksum_is_kept_to_and_saves_the_way() {
    let kitchen = Kitchen::new();
    kitchen.web.text("/a", "hello\n");
    let sum = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let dockerfile = format!("FROM scratch\nADD --checksum=sha256:{sum} http://WEB/a /a\n");
    kitchen.write("Dockerfile", &dockerfile);
    assert_eq!(kitchen.build(&["."]), "600 a hello\n");
    kitchen.web.take();
    kitchen.web.remove("/a");
    assert_eq!(kitchen.build(&["--no-cache", "."]), "600 a hello\n");
    assert_eq!(kitchen.web.visits(), [""; 0]);

    kitchen.web.text("/a", "other\n");
    let other = dockerfile.replace(sum, &sum.replace('5', "6"));
    kitchen.write("Dockerfile", &other);
    let said = kitchen.build(&["."]);
    assert!(
        said.contains("http://WEB/a is not what it should be"),
        "{said}"
    );
    assert!(said.starts_with("exit 2\n"), "{said}");
}

/// Rows: C25
#[test]
fn add_fetches_commits() {
    let kitchen = Kitchen::new();
    kitchen.write("repo/a.txt", "one");
    kitchen.write("repo/sub/b.txt", "b");
    kitchen.write("repo/run.sh", "#!/bin/sh");
    let program = fs::Permissions::from_mode(0o775);
    fs::set_permissions(kitchen.work("repo/run.sh"), program).unwrap();
    std::os::unix::fs::symlink("a.txt", kitchen.work("repo/link")).unwrap();
    let commit = kitchen.repository("repo");
    kitchen.write(
        "Dockerfile",
        &format!(
            "FROM scratch\n\
             ADD http://WEB/repo.git /all/\n\
             ADD http://WEB/repo.git#main:sub /sub/\n\
             ADD --checksum={} http://WEB/repo.git#{commit} /sum/\n",
            &commit[..7]
        ),
    );
    let tree = |top: &str| {
        format!(
            "755 {top}/\n644 {top}/a.txt one\n777 {top}/link -> a.txt\n755 {top}/run.sh \
             #!/bin/sh\n755 {top}/sub/\n644 {top}/sub/b.txt b\n"
        )
    };
    let expected = format!("{}755 sub/\n644 sub/b.txt b\n{}", tree("all"), tree("sum"));
    assert_eq!(kitchen.build(&["."]), expected);

    // A branch that has not moved is asked for, and nothing is fetched.
    kitchen.web.take();
    assert_eq!(kitchen.build(&["."]), expected);
    let fetched = kitchen.web.visits();
    let objects = fetched.iter().filter(|visit| visit.contains("/objects/"));
    let described = objects.filter(|visit| !visit.contains("/info/")).count();
    // Over files only, the names are read with the objects behind annotated tags: there are none.
    assert!(described <= 2, "{fetched:?}");

    kitchen.write(
        "Dockerfile",
        "FROM scratch\nADD --checksum=000 http://WEB/repo.git /\n",
    );
    let said = kitchen.build(&["."]);
    let message = format!("the commit of http://WEB/repo.git is {commit}, which does not begin");
    assert!(said.contains(&message), "{said}");
    kitchen.write(
        "Dockerfile",
        "FROM scratch\nADD --keep-git-dir=true http://WEB/repo.git /\n",
    );
    kitchen.build(&["."]);
    let config = fs::read_to_string(kitchen.work("out/.git/config")).unwrap();
    assert!(config.contains("/repo.git"), "{config}");
}

/// Rows: D1, D7
#[test]
fn contexts_of_every_kind() {
    let kitchen = Kitchen::new();
    kitchen.write("ctx/Dockerfile", "FROM scratch\nCOPY . /\n");
    kitchen.write("ctx/other/Dockerfile", "FROM scratch\nCOPY *.txt /t/\n");
    kitchen.write("ctx/a.txt", "a");
    kitchen.write("ctx/b.txt", "b");
    kitchen.write(
        "ctx/.dockerignore",
        "b.txt\nother\nDockerfile\n.git\n.dockerignore\n",
    );
    assert_eq!(kitchen.build(&["ctx"]), "644 a.txt a\n");

    // No ignore file is heeded in what is fetched or unpacked.
    let expected = "644 t/a.txt a\n644 t/b.txt b\n";
    let expected = format!("755 t/\n{expected}");
    let wrappings: [(&str, &[&str]); 4] = [
        ("plain", &[]),
        ("gz", &["--gzip"]),
        ("bz2", &["--bzip2"]),
        ("xz", &["--xz"]),
    ];
    for (name, flags) in wrappings {
        kitchen.archive("ctx", name, flags);
        let bytes = fs::read(kitchen.work(name)).unwrap();
        kitchen.web.text(&format!("/{name}"), bytes);
        let file = ["-f", "other/Dockerfile"];
        let stdin = fs::File::open(kitchen.work(name)).unwrap();
        let arguments = [&file, ["-"].as_slice()].concat();
        assert_eq!(
            kitchen.build_from(stdin, &arguments),
            expected,
            "{name} from stdin"
        );
        let arguments = [&file, [name].as_slice()].concat();
        assert_eq!(kitchen.build(&arguments), expected, "{name} as a file");
        let url = format!("http://WEB/{name}");
        let arguments = [&file, [url.as_str()].as_slice()].concat();
        assert_eq!(kitchen.build(&arguments), expected, "{name} from the web");
    }
    kitchen.repository("ctx");
    let arguments = ["-f", "other/Dockerfile", "http://WEB/ctx.git"];
    assert_eq!(kitchen.build(&arguments), expected);

    kitchen.write("sub.Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let directory = ["-f", "-", "http://WEB/ctx.git#main:other"];
    let stdin = fs::File::open(kitchen.work("sub.Dockerfile")).unwrap();
    let expected = "644 Dockerfile FROM scratch\nCOPY *.txt /t/\n";
    assert_eq!(kitchen.build_from(stdin, &directory), expected);

    let local = format!("file://{}", kitchen.work("ctx").display());
    let keep = ["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"];
    kitchen.write("head.Dockerfile", "FROM scratch\nCOPY .git/HEAD /\n");
    for (keep, copied) in [(keep.as_slice(), true), (&[], false)] {
        let stdin = fs::File::open(kitchen.work("head.Dockerfile")).unwrap();
        let arguments = [keep, &["-f", "-", local.as_str()]].concat();
        let said = kitchen.build_from(stdin, &arguments);
        assert_eq!(said.starts_with("644 HEAD"), copied, "{said}");
    }
}

/// A text where an archive could be is a Dockerfile with nothing around it.
#[test]
fn a_dockerfile_alone() {
    let kitchen = Kitchen::new();
    kitchen.web.text("/a", "hello");
    let text = "FROM scratch\nADD http://WEB/a /\n";
    kitchen.write("alone", text);
    kitchen.write("empty/.keep", "");
    let filled = fs::read(kitchen.work("alone")).unwrap();
    kitchen.web.text("/Dockerfile", filled);
    let stdin = || fs::File::open(kitchen.work("alone")).unwrap();
    assert_eq!(kitchen.build_from(stdin(), &["-"]), "600 a hello\n");
    assert_eq!(kitchen.build(&["http://WEB/Dockerfile"]), "600 a hello\n");
    let remote = ["-f", "http://WEB/Dockerfile", "empty"];
    assert_eq!(kitchen.build(&remote), "600 a hello\n");
    kitchen.write("alone", "FROM scratch\nCOPY a /\n");
    let said = kitchen.build_from(stdin(), &["-"]);
    assert!(
        said.contains("there is no build context to copy from"),
        "{said}"
    );
}

/// Rows: D8, F7
#[test]
fn named_contexts() {
    let kitchen = Kitchen::new();
    kitchen.write(
        "Dockerfile",
        "FROM example.org/image:1 AS image\n\
         FROM scratch AS stage\n\
         COPY Dockerfile /never\n\
         FROM scratch\n\
         COPY --from=stage / /stage/\n\
         COPY --from=files . /files/\n\
         COPY --from=1 a.txt /number\n\
         COPY --from=image a.txt /image\n",
    );
    kitchen.write("a/a.txt", "a");
    kitchen.write("b/b.txt", "b");
    kitchen.write("b/c.txt", "c");
    kitchen.write("b/.dockerignore", "c.txt\n.dockerignore\n");
    kitchen.repository("a");
    let arguments = [
        "--build-context",
        "Stage=http://WEB/a.git",
        "--build-context",
        "files=b",
        "--build-context",
        "example.org/image:1=a",
        "--build-context",
        "unused=http://WEB/missing",
        ".",
    ];
    // The ignore file of a directory is heeded in it.
    let expected = "755 files/\n644 files/b.txt b\n644 image a\n644 number a\n755 stage/\n\
                    644 stage/a.txt a\n";
    assert_eq!(kitchen.build(&arguments), expected);
}

/// Rows: F7, F13
#[test]
fn images_of_layouts() {
    let kitchen = Kitchen::new();
    kitchen.write(
        "base/Dockerfile",
        "FROM scratch\nENV FROM=layout\nCOPY f /f\n",
    );
    kitchen.write("base/f", "of the base");
    let made = kitchen.environment.run(&[
        "build",
        "--progress",
        "quiet",
        "-t",
        "example.org/base:1",
        "-o",
        "type=oci,dest=layout,tar=false",
        "base",
    ]);
    let digest = made
        .split_whitespace()
        .find(|word| word.starts_with("sha256:"));
    let digest = digest.unwrap_or_else(|| panic!("{made}")).to_owned();
    kitchen.write("Dockerfile", "FROM base\nCOPY --from=other f /$FROM\n");
    let at_digest = format!("base=oci-layout://layout@{digest}");
    for base in [
        "base=oci-layout://layout:1",
        "base=oci-layout://layout",
        &at_digest,
    ] {
        let other = base.replace("base=", "other=");
        // Another store: nothing is there but the layout.
        let store = format!("store-of-{}", base.len());
        let arguments = [
            "--store",
            &store,
            "--build-context",
            base,
            "--build-context",
            &other,
            ".",
        ];
        let expected = "644 f of the base\n644 layout of the base\n";
        assert_eq!(kitchen.build(&arguments), expected, "{base}");
    }
    let said = kitchen.build(&["--build-context", "base=oci-layout://layout:2", "."]);
    assert!(said.contains("it holds no image `2`"), "{said}");
    // Nothing damaged gets in.
    let blob = kitchen
        .work("layout/blobs/sha256")
        .join(&digest["sha256:".len()..]);
    fs::write(blob, "{}").unwrap();
    let arguments = [
        "--store",
        "fresh",
        "--build-context",
        "base=oci-layout://layout",
        ".",
    ];
    let said = kitchen.build(&arguments);
    assert!(said.contains("is not what its name says"), "{said}");
}

/// What can be no context, and what is missing for one that could be.
#[test]
fn contexts_that_are_none() {
    let kitchen = Kitchen::new();
    let _socket = std::os::unix::net::UnixListener::bind(kitchen.work("socket")).unwrap();
    let said = kitchen.build(&["socket"]);
    assert!(
        said.contains("socket is neither a directory nor a file"),
        "{said}"
    );

    kitchen.write("Dockerfile", "FROM scratch\nADD http://WEB/repo.git /\n");
    let mut command = kitchen
        .environment
        .kiln(&["build", "--progress", "quiet", "."]);
    let output = command
        .env("PATH", "/nowhere")
        .output()
        .expect("kiln starts");
    let said = kitchen.environment.describe(&output);
    assert!(said.contains("apt-get install git"), "{said}");
    assert!(said.contains("Dockerfile:2:5"), "{said}");

    // Damaged in the middle: an error, and never half of the files.
    kitchen.write("tree/Dockerfile", "FROM scratch\nCOPY . /\n");
    kitchen.write("tree/file", &"content ".repeat(100_000));
    kitchen.archive("tree", "whole.tar", &[]);
    let bytes = fs::read(kitchen.work("whole.tar")).unwrap();
    fs::write(kitchen.work("half.tar"), &bytes[..bytes.len() / 2]).unwrap();
    let said = kitchen.build(&["half.tar"]);
    assert!(
        said.contains("the context half.tar cannot be unpacked"),
        "{said}"
    );
}

/// A build that has failed does not wait for what it no longer needs.
#[test]
fn a_failed_build_waits_for_nobody() {
    let kitchen = Kitchen::new();
    kitchen.web.put(
        "/stalls",
        Page {
            body: b"content".to_vec(),
            fault: PageFault::Stall(3),
            ..Page::default()
        },
    );
    kitchen.write(
        "Dockerfile",
        "FROM scratch AS a\nADD http://WEB/stalls /\nFROM scratch AS b\nCOPY missing /\n\
         FROM scratch\nCOPY --from=a / /a/\nCOPY --from=b / /b/\n",
    );
    let said = kitchen.build(&["."]);
    assert!(said.contains("`missing` was not found"), "{said}");
    // Whoever waits until the server gives up asks again, more than once.
    let visits = kitchen.web.visits();
    assert!(visits.len() <= 1, "{visits:?}");
}

/// A token goes to the host that it is for: over plain http only where it is for that very host.
#[test]
fn a_token_is_for_its_host() {
    let kitchen = Kitchen::new();
    kitchen.write("repo/Dockerfile", "FROM scratch\nCOPY . /\n");
    kitchen.repository("repo");
    kitchen.write("token", "hunter2\n");
    let seen = |secret: &str| {
        kitchen.web.take();
        let arguments = ["--secret", secret, "http://WEB/repo.git"];
        let said = kitchen.build(&arguments);
        assert!(said.contains("FROM scratch"), "{said}");
        let visits = kitchen.web.take().into_iter();
        let headers: Vec<_> = visits
            .map(|mut visit| visit.headers.remove("authorization"))
            .collect();
        assert!(!headers.is_empty());
        headers
    };
    // base64 of `x-access-token:hunter2`
    let token = Some("basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMg==".to_owned());
    let for_host = seen("id=GIT_AUTH_TOKEN.WEB,src=token");
    assert!(
        for_host.iter().all(|header| *header == token),
        "{for_host:?}"
    );
    for other in [
        "id=GIT_AUTH_TOKEN,src=token",
        "id=GIT_AUTH_TOKEN.example.org,src=token",
    ] {
        let headers = seen(other);
        assert!(headers.iter().all(Option::is_none), "{other}: {headers:?}");
    }
    // Nor is it in what stays.
    let found = Command::new("grep")
        .args(["-rl", "hunter2", "."])
        .current_dir(kitchen.work("..").join("home"))
        .output()
        .expect("grep starts");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

/// An archive cannot lead out of its context, nor can a link in a repository.
#[test]
fn nothing_leads_out() {
    let kitchen = Kitchen::new();
    kitchen.write("secret", "secret");
    kitchen.write("repo/Dockerfile", "FROM scratch\nCOPY . /\n");
    std::os::unix::fs::symlink("..", kitchen.work("repo/up")).unwrap();
    let secret = kitchen.work("secret");
    std::os::unix::fs::symlink(&secret, kitchen.work("repo/out.Dockerfile")).unwrap();
    kitchen.repository("repo");
    let said = kitchen.build(&["http://WEB/repo.git#:up"]);
    assert!(said.contains("has no directory `up`"), "{said}");
    let said = kitchen.build(&["-f", "out.Dockerfile", "http://WEB/repo.git"]);
    assert!(
        said.contains("there is no Dockerfile out.Dockerfile"),
        "{said}"
    );

    // `d` is a link, then a directory that the link leads to: as tar would have it overwritten.
    let mut bytes = Vec::new();
    for (name, target, kind) in [("d", "/tmp", b'2'), ("d/f", "", b'0')] {
        bytes.extend(header(name, target, kind));
    }
    bytes.extend([0; 1024]);
    fs::write(kitchen.work("evil.tar"), bytes).unwrap();
    let said = kitchen.build(&["evil.tar"]);
    assert!(said.contains("`/d/f` cannot be made"), "{said}");
}

/// A header of ustar for an empty file or a link.
fn header(name: &str, target: &str, kind: u8) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, b"00000000000\0");
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
