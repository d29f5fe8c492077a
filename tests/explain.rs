//! What `kiln explain` and `kiln build --dry-run` say: one file for each case, a list of things to do in order.
//!
//! ```text
//! a sentence about the case
//!
//! >> write PATH [MODE]      the lines below, into a file of the context
//! >> remove PATH            of the context
//! >> link PATH TARGET
//! >> chmod MODE PATH
//! >> base CONTENT           REGISTRY/moving:1 is an image with a file that says CONTENT
//! >> serve CONTENT          what is at WEB/file from now on
//! >> elsewhere              the context is another directory with the same files from now on
//! >> store NAME             another store, as on another machine
//! >> prune                  everything that can go from the store goes
//! >> lose                   the blobs of the store are gone
//! >> damage                 what the store knows of builds is damaged
//! >> build [FLAGS]          must succeed
//! >> fail [FLAGS]           must fail
//! >> explain [FLAGS]        the lines below are what it says
//! >> plan [FLAGS]           the lines below are what a dry run says
//! ```
//!
//! REGISTRY and WEB stand for their addresses; ids, dates and times of what was said for
//! themselves. `KILN_BLESS=1` writes down what is said; the diff is then read by a person.
//! `KILN_CASE` chooses one case.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use testkit::{Layer, Web, image};

use crate::site::{Caller, REGISTRY, Site};

#[test]
fn every_change_is_explained() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let web = Web::start();
    let bless = std::env::var_os("KILN_BLESS").is_some();
    let only = std::env::var("KILN_CASE").unwrap_or_default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    let cases = fs::read_dir(folder).expect("a directory of cases");
    let mut cases: Vec<PathBuf> = cases.map(|case| case.expect("a case").path()).collect();
    cases.sort();
    let mut wrong = Vec::new();
    let mut done = 0;
    for path in cases {
        let name = path.file_stem().expect("a name").to_string_lossy();
        if !only.is_empty() && only != name {
            continue;
        }
        done += 1;
        let text = fs::read_to_string(&path).expect("a case");
        let found = Case::new(&site, &web, &name).play(&text);
        if bless {
            fs::write(&path, &found).expect("our case");
        } else if found != text {
            wrong.push(format!("{name}:\n{found}"));
        }
    }
    assert!(done > 0, "there are no cases");
    let wrong = wrong.join("\n");
    assert!(wrong.is_empty(), "{wrong}\nKILN_BLESS=1 writes these down");
}

#[test]
fn programs_get_the_same_and_nobody_gets_secrets() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let context = site.context(
        "app",
        "FROM REGISTRY/base:1\nARG TOKEN\nRUN true\nARG HTTPS_PROXY\nRUN true again\n",
    );
    let build = |name: &str| {
        let values = [
            format!("TOKEN=canary-{name}"),
            format!("HTTPS_PROXY=http://u:canary-{name}@127.0.0.1:1"),
        ];
        let [token, proxy] = values.each_ref().map(String::as_str);
        let mut more = vec!["--build-arg", token, "--build-arg", proxy];
        more.extend(["--secret", "id=TOKEN,env=IT", "--metadata-file", "numbers"]);
        let mut command = site.build("store", "app", &context, &more);
        let output = command.env("IT", format!("canary-{name}")).output();
        site.success(&output.expect("kiln starts"))
    };
    build("one");
    let digest = build("two");
    let explain = |more: &[&str]| {
        let output = site.kiln("explain", "store", more).output();
        site.success(&output.expect("kiln starts"))
    };
    let numbers = site.numbers("numbers");
    let text = explain(&["--build", &digest[..20]]);
    let json = explain(&[
        "--format",
        "json",
        "--build",
        numbers["kiln.build"].as_str().expect("an id"),
    ]);
    for said in [&text, &json, &numbers.to_string()] {
        assert!(!said.contains("canary"), "{said}");
    }
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["schema"], 1);
    assert_eq!(json["image"], digest);
    assert_eq!(json["ran"], 2);
    assert_eq!(json["causes"], numbers["kiln.causes"]);
    let reason = &json["causes"][0]["reason"];
    assert_eq!(
        (&reason["reason"], &reason["name"]),
        (&"build_argument".into(), &"TOKEN".into())
    );
    assert_eq!(
        (&reason["old"], &reason["new"]),
        (&"****".into(), &"****".into())
    );
    assert_eq!(numbers["kiln.steps"][1]["cause"], 1);
}

/// Every file below a directory, with what is in it.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        // Whether a process is there, and what it does.
        let is_passing = path.parent().is_some_and(|parent| parent.ends_with("tmp"));
        if path.is_dir() {
            found.extend(files(&path));
        } else if !is_passing {
            found.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    found
}

#[test]
fn a_dry_run_changes_nothing_and_asks_little() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let context = site.context(
        "app",
        "FROM REGISTRY/base:1\nCOPY a /a\nADD REGISTRY_URL/no /no\nRUN false\nWORKDIR /x\n",
    );
    let dockerfile = context.join("Dockerfile");
    let text = fs::read_to_string(&dockerfile).expect("it is there");
    // Nothing listens there.
    let text = text.replace("REGISTRY_URL", "http://127.0.0.1:1");
    fs::write(&dockerfile, text).expect("our file");
    fs::write(context.join("a"), "a").expect("a file");
    let plan = |form: &str| {
        let output = site.build("store", "app", &context, &[form]).output();
        site.success(&output.expect("kiln starts"))
    };
    // What is known of the base and of the context's files may be kept.
    plan("--dry-run");
    let before = files(&site.path("home/store"));
    site.registry.clear_log();
    let said: serde_json::Value = serde_json::from_str(&plan("--dry-run=json")).expect("JSON");
    assert_eq!(files(&site.path("home/store")), before);
    assert!(
        before
            .keys()
            .all(|path| !path.to_string_lossy().contains("/records/"))
    );
    assert_eq!(
        site.registry.lines(),
        [
            "HEAD /v2/base/manifests/1".to_owned(),
            format!("HEAD /v2/app/blobs/{}", blob(&site)),
            "HEAD /v2/app/manifests/1".to_owned(),
        ]
    );
    assert!(site.registry.tags("app").is_empty(), "it was pushed");
    assert_eq!(said["schema"], 1);
    let forecasts: Vec<&str> = said["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| step["forecast"].as_str().expect("a word"))
        .collect();
    assert_eq!(forecasts, ["will_run", "may_run", "may_run", "may_run"]);
    assert_eq!(said["steps"][1]["address_not_asked"], true);
    assert_eq!(said["fetch"]["layers"], 1);
    assert_eq!(said["fetch"]["bytes"], said["bases"][0]["bytes"]);
    assert_eq!(said["push"][0]["mounted"], 1);
    assert_eq!(said["push"][0]["unknown"], 4);
    let tag = &said["tags"][0];
    assert!(tag["old"].is_null() && tag["new"].is_null(), "{tag}");
}

/// The one layer of the base.
fn blob(site: &Site) -> String {
    let (_, _, manifest) = site.registry.manifest("base", "1").expect("a base");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    manifest["layers"][0]["digest"]
        .as_str()
        .expect("a digest")
        .to_owned()
}

#[test]
fn what_is_not_known_is_said() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let said = |more: &[&str]| {
        let output = site.kiln("explain", "store", more).output();
        site.describe(&output.expect("kiln starts"))
    };
    assert_eq!(
        said(&[]),
        "exit 2\nstderr:\nerror: no build is remembered in this store\n\
         hint: `kiln build` remembers what it did\n"
    );
    let context = site.context("app", "FROM REGISTRY/base:1\nWORKDIR /x\n");
    site.built("store", "app", &context, &["--metadata-file", "numbers"]);
    let numbers = site.numbers("numbers");
    let id = numbers["kiln.build"].as_str().expect("an id");
    assert_eq!(
        said(&["--build", "xyz"]),
        format!(
            "exit 2\nstderr:\nerror: no build whose id or digest begins with `xyz` is remembered\n\
             hint: the latest are {id}\n"
        )
    );
}

struct Case<'s> {
    site: &'s Site,
    web: &'s Web,
    name: &'s str,
    store: String,
    context: PathBuf,
}

impl<'s> Case<'s> {
    fn new(site: &'s Site, web: &'s Web, name: &'s str) -> Self {
        let context = site.path(&format!("explain-{name}"));
        fs::create_dir(&context).expect("a new directory");
        Self {
            site,
            web,
            name,
            store: name.to_owned(),
            context,
        }
    }

    /// Does what the case says, and gives the case as it should be.
    fn play(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut blocks = text.split_inclusive('\n').peekable();
        while let Some(line) = blocks.next() {
            out.push_str(line);
            let Some(command) = line.strip_prefix(">> ") else {
                continue;
            };
            let mut body = String::new();
            while let Some(next) = blocks.next_if(|next| !next.starts_with(">> ")) {
                body.push_str(next);
            }
            let words: Vec<&str> = command.split_whitespace().collect();
            match self.act(&words, &body) {
                None => out.push_str(&body),
                Some(said) => {
                    out.push_str(&said);
                    // An empty line, but at the end of the file.
                    if blocks.peek().is_some() {
                        out.push('\n');
                    }
                }
            }
        }
        out
    }

    /// Does one thing; gives what was said where that is what counts.
    fn act(&mut self, words: &[&str], body: &str) -> Option<String> {
        let body = body
            .strip_suffix("\n\n")
            .map_or(body.to_owned(), |body| format!("{body}\n"));
        match words {
            ["write", path, mode @ ..] => self.write(path, mode.first(), &body),
            ["remove", path] => {
                let path = self.context.join(path);
                fs::remove_file(&path)
                    .or_else(|_| fs::remove_dir_all(&path))
                    .expect("it was there");
            }
            ["link", path, target] => {
                let path = self.context.join(path);
                let _ = fs::remove_file(&path);
                symlink(target, path).expect("a link");
            }
            ["chmod", mode, path] => set_mode(&self.context.join(path), mode),
            ["base", content] => {
                let layer = |name: &str, text: &str| Layer::new().file(name, text);
                let base = image()
                    .layer(layer("same", "same"))
                    .layer(layer("it", content));
                self.site.registry.seed("moving", "1", &base.build());
            }
            ["serve", content] => self.web.text("/file", *content),
            ["elsewhere"] => {
                let other = self.site.path(&format!("explain-elsewhere-{}", self.name));
                copy(&self.context, &other);
                self.context = other;
            }
            ["store", name] => self.store = format!("{}-{name}", self.name),
            ["prune"] => {
                let output = self.kiln("store", &["prune", "--all"], &[]);
                self.site.success(&output);
            }
            ["lose"] => {
                let blobs = self.site.path("home").join(&self.store).join("blobs");
                fs::remove_dir_all(&blobs).expect("blobs");
                fs::create_dir(&blobs).expect("a directory");
            }
            ["damage"] => damage(&self.site.path("home").join(&self.store).join("records")),
            ["build", flags @ ..] => {
                let output = self.build(flags);
                self.site.success(&output);
            }
            ["fail", flags @ ..] => {
                let output = self.build(flags);
                assert!(!output.status.success(), "{}: it should fail", self.name);
            }
            ["explain", flags @ ..] => {
                let output = self.kiln("explain", &[], flags);
                assert!(output.stderr.is_empty(), "{}", self.site.describe(&output));
                return Some(settled(&self.site.success(&output), &self.names()));
            }
            ["plan", flags @ ..] => {
                let output = self.build(&[&["--dry-run"], flags].concat());
                assert!(output.stderr.is_empty(), "{}", self.site.describe(&output));
                return Some(settled(&self.site.success(&output), &self.names()));
            }
            other => panic!("{}: what is {other:?}?", self.name),
        }
        None
    }

    fn write(&self, path: &str, mode: Option<&&str>, body: &str) {
        let path = self.context.join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        let text = body
            .replace("REGISTRY/", &format!("{}/", self.site.registry.host()))
            .replace("WEB/", &format!("http://{}/", self.web.host()));
        fs::write(&path, text).expect("a file");
        set_mode(&path, mode.unwrap_or(&"644"));
    }

    fn build(&self, flags: &[&str]) -> std::process::Output {
        let context = self.context.to_str().expect("UTF-8");
        self.kiln(
            "build",
            &["--progress", "quiet"],
            &[flags, &[context]].concat(),
        )
    }

    fn kiln(&self, verb: &str, first: &[&str], more: &[&str]) -> std::process::Output {
        let words = [first, more].concat();
        let command = self.site.kiln(verb, &self.store, &words).output();
        command.expect("kiln starts")
    }

    /// What stands for addresses and places.
    fn names(&self) -> Vec<(String, &'static str)> {
        vec![
            (self.site.registry.host(), REGISTRY),
            (format!("http://{}", self.web.host()), "WEB"),
            (self.context.display().to_string(), "CONTEXT"),
        ]
    }
}

fn set_mode(path: &Path, mode: &str) {
    let mode = u32::from_str_radix(mode, 8).expect("a mode");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our file");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Overwrites the middle of every file below a directory.
fn damage(directory: &Path) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            damage(&path);
        } else {
            let mut bytes = fs::read(&path).expect("a file");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            fs::write(&path, bytes).expect("our file");
        }
    }
}

/// What was said, with words for what is another every time.
fn settled(said: &str, names: &[(String, &str)]) -> String {
    let mut said = said.to_owned();
    for (name, word) in names {
        said = said.replace(name, word);
    }
    let mut out = String::new();
    for line in said.lines() {
        let mut line = line.to_owned();
        if let Some(rest) = line.strip_prefix("build ") {
            let (_, rest) = rest.split_once(' ').expect("an id and more");
            line = format!("build [ID] {rest}");
        }
        out.push_str(&line);
        out.push('\n');
    }
    let out = replaced(&out, " UTC", "[DATE]", |c| {
        c.is_ascii_digit() || "-: ".contains(c)
    });
    // busybox is larger in one place than in another.
    let out = replaced(&out, " MB", "[SIZE]", |c| {
        c.is_ascii_digit() || ". ".contains(c)
    });
    let out = with_times(&out);
    with_digests(&out)
}

/// Replaces every text that ends in `end`, and begins with characters that are `part` of it.
fn replaced(text: &str, end: &str, word: &str, part: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(end) {
        let before = &rest[..at];
        let kept = before.trim_end_matches(&part);
        out.push_str(kept);
        out.push_str(if before.len() > kept.len() { " " } else { "" });
        out.push_str(word);
        rest = &rest[at + end.len()..];
    }
    out + rest
}

/// `[TIME]` for words such as `0.1s` and `2m05s`.
fn with_times(text: &str) -> String {
    let is_time = |word: &str| {
        let word = word.trim_end_matches([',', ':', ')']);
        word.ends_with('s')
            && word.starts_with(|c: char| c.is_ascii_digit())
            && word
                .trim_end_matches('s')
                .chars()
                .all(|c| c.is_ascii_digit() || ".m".contains(c))
    };
    let lines = text.lines().map(|line| {
        let words = line.split(' ').map(|word| match is_time(word) {
            true => {
                let rest =
                    word.trim_start_matches(|c: char| c.is_ascii_digit() || ".ms".contains(c));
                format!("[TIME]{rest}")
            }
            false => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    });
    // A column is as wide as its time.
    let lines = lines.map(|line| match line.trim_start().strip_prefix("[TIME]") {
        Some(rest) => format!("    [TIME]{rest}"),
        None => line,
    });
    lines.map(|line| line + "\n").collect()
}

/// `[DIGEST 1]` for the first digest that is seen, and so on.
fn with_digests(text: &str) -> String {
    let mut seen: Vec<String> = Vec::new();
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("sha256:") {
        let (before, digest) = rest.split_at(at);
        let end = digest[7..].find(|c: char| !c.is_ascii_hexdigit());
        let end = end.map_or(digest.len(), |end| end + 7);
        let (digest, after) = digest.split_at(end);
        let number = seen
            .iter()
            .position(|one| one == digest)
            .unwrap_or_else(|| {
                seen.push(digest.to_owned());
                seen.len() - 1
            });
        out.push_str(before);
        out.push_str(&format!("[DIGEST {}]", number + 1));
        rest = after;
    }
    out + rest
}
