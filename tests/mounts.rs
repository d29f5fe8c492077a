//! What RUN's mounts promise beyond one build: several processes share caches without harm, and
//! secrets and keys are nowhere but in the command that asked for them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::site::{Caller, REGISTRY, Site};

/// Both kinds of caller that this machine can play.
fn for_each_caller(test: impl Fn(&Site)) {
    for caller in [Caller::Ourselves, Caller::Ordinary] {
        if let Some(site) = Site::new(caller) {
            test(&site);
        }
    }
}

/// A file of the caller in its working directory.
fn give(site: &Site, name: &str, content: &str) {
    let path = site.path("work").join(name);
    fs::write(&path, content).expect("a file");
    site.give(&path);
}

/// Every file below a directory that has one of these texts in it or in its name.
fn files_with(directory: &Path, needles: &[&str], found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("our directory").flatten() {
        let path = entry.path();
        let name = path.to_string_lossy().into_owned();
        let kind = entry.file_type().expect("it is there");
        if kind.is_dir() {
            files_with(&path, needles, found);
            continue;
        }
        let content = if kind.is_file() {
            fs::read(&path).unwrap_or_default()
        } else {
            Vec::new()
        };
        for needle in needles {
            let inside = content
                .windows(needle.len())
                .any(|part| part == needle.as_bytes());
            if inside || name.contains(needle) {
                found.push(format!("{name} has {needle}"));
            }
        }
    }
}

/// Rows: R9, R10, R18
#[test]
fn secrets_and_keys_are_nowhere_after_a_build_that_used_them() {
    if !Path::new("/usr/bin/ssh-agent").exists() {
        eprintln!("skipped: ssh-agent is not installed (openssh-client)");
        return;
    }
    for_each_caller(|site| {
        let (first, second) = ("a-first-line-of-a-secret", "a-second-line-of-it");
        give(site, "secret", &format!("{first}\n{second}\n"));
        let key = site.path("work").join("key");
        let made = Command::new("/usr/bin/ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
            .arg(&key)
            .status();
        assert!(made.expect("ssh-keygen starts").success());
        site.give(&key);
        let private = fs::read_to_string(&key).expect("a key");
        let private = private.lines().nth(2).expect("several lines").to_owned();
        let context = site.context(
            "context",
            "FROM REGISTRY/base:1\n\
             RUN --mount=type=secret,id=file --mount=type=secret,id=token,env=TOKEN \
             --mount=type=ssh cat /run/secrets/file; echo \"$TOKEN\"; \
             test -S $SSH_AUTH_SOCK && stat -c '%a %u:%g %n' $SSH_AUTH_SOCK > /tmp/socket; \
             wc -c < /run/secrets/file > /tmp/length; echo ${#TOKEN} >> /tmp/length\n\
             RUN ls /run 2>/dev/null; test -z \"$TOKEN\" && test -z \"$SSH_AUTH_SOCK\"\n",
        );
        let token = "a-token-of-the-environment";
        let tag = format!("{REGISTRY}/secret:1");
        let arguments = [
            "--progress",
            "plain",
            "--push",
            "-t",
            &tag,
            "--metadata-file",
            "metadata.json",
            "--secret",
            "id=file,src=secret",
            "--secret",
            "id=token,env=TOKEN",
            "--ssh",
            "default=key",
            context.to_str().expect("UTF-8"),
        ];
        let output = site
            .kiln("build", "store", &arguments)
            .env("TOKEN", token)
            .output()
            .expect("kiln starts");
        site.success(&output);
        let needles = [first, second, token, private.as_str()];
        let mut found = Vec::new();
        files_with(&site.path("home"), &needles, &mut found);
        let image = site.image("secret");
        let mut texts = vec![
            ("stdout", output.stdout.clone()),
            ("stderr", output.stderr.clone()),
            ("manifest", image.manifest.to_string().into_bytes()),
            ("configuration", image.config.to_string().into_bytes()),
            (
                "metadata",
                fs::read(site.path("work").join("metadata.json")).expect("metadata"),
            ),
        ];
        let mut socket = String::new();
        for entry in image.layers.iter().flat_map(|layer| &layer.entries) {
            texts.push(("layer", entry.content.clone()));
            if entry.path == b"tmp/socket" {
                socket = String::from_utf8_lossy(&entry.content).into_owned();
            }
        }
        for (what, text) in &texts {
            for needle in needles {
                if text
                    .windows(needle.len())
                    .any(|part| part == needle.as_bytes())
                {
                    found.push(format!("{what} has {needle}"));
                }
            }
        }
        assert_eq!(found, [""; 0]);
        assert_eq!(socket, "600 0:0 /run/buildkit/ssh_agent.0\n");
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(
            printed.contains("****"),
            "what was printed is hidden: {printed}"
        );
        site.nothing_is_left();
    });
}

/// Rows: R8
#[test]
fn a_locked_cache_is_used_by_one_process_at_a_time() {
    for_each_caller(|site| {
        let context = site.context(
            "context",
            "FROM REGISTRY/base:1\n\
             ARG WHO\n\
             RUN --mount=type=cache,target=/c,sharing=locked for i in 1 2 3 4 5; do \
             n=$(cat /c/n 2>/dev/null || echo 0); sleep 0.02; echo $((n + 1)) > /c/n; done\n",
        );
        // What all need is fetched once, so that they meet at the cache.
        site.built("store", "first", &context, &["--build-arg", "WHO=0"]);
        let builds: Vec<_> = (1..4)
            .map(|who| {
                let argument = format!("WHO={who}");
                let mut build =
                    site.build("store", "counted", &context, &["--build-arg", &argument]);
                build.stdout(Stdio::null()).spawn().expect("kiln starts")
            })
            .collect();
        for mut build in builds {
            assert!(build.wait().expect("it ends").success());
        }
        let context = site.context(
            "read",
            "FROM REGISTRY/base:1\nRUN --mount=type=cache,target=/c cat /c/n > /tmp/n\n",
        );
        site.built("store", "read", &context, &[]);
        let image = site.image("read");
        let entries = image.layers.iter().flat_map(|layer| &layer.entries);
        let counted: Vec<_> = entries.filter(|entry| entry.path == b"tmp/n").collect();
        assert_eq!(String::from_utf8_lossy(&counted[0].content), "20\n");
        site.verify("store");
    });
}

/// Rows: R8
#[test]
fn who_waits_for_a_cache_can_be_stopped_and_who_is_killed_lets_go() {
    for_each_caller(|site| {
        let mark = site.mark();
        let dockerfile = |command: &str| {
            format!(
                "FROM REGISTRY/base:1\n\
                 RUN --mount=type=cache,target=/c,id=held,sharing=locked {command}\n"
            )
        };
        let holding = site.context("holds", &dockerfile(&format!("touch /c/x; sleep 9{mark}")));
        let waiting = site.context("waits", &dockerfile("ls /c > /tmp/seen"));
        let mut holds = site
            .build("store", "holds", &holding, &[])
            .spawn()
            .expect("kiln starts");
        site.until("it holds the cache", || {
            site.running(&format!("sleep 9{mark}")) > 0
        });
        let log = site.path("work").join("log");
        let tag = format!("{REGISTRY}/waits:1");
        let arguments = [
            "--progress",
            "plain",
            "-t",
            &tag,
            waiting.to_str().expect("UTF-8"),
        ];
        let mut waits = site
            .kiln("build", "store", &arguments)
            .stderr(fs::File::create(&log).expect("a file"))
            .stdout(Stdio::null())
            .spawn()
            .expect("kiln starts");
        let said = |text: &str| fs::read_to_string(&log).unwrap_or_default().contains(text);
        site.until("it waits", || said("waiting for the cache `held`"));
        let process = |id: u32| Pid::from_raw(id.cast_signed()).expect("a process");
        kill_process(process(waits.id()), Signal::INT).expect("it is there");
        assert_eq!(waits.wait().expect("it ends").code(), Some(130));
        kill_process(process(holds.id()), Signal::KILL).expect("it is there");
        holds.wait().expect("it ends");
        site.until("what it ran is gone", || {
            site.running(&format!("sleep 9{mark}")) == 0
        });
        site.built("store", "waits", &waiting, &[]);
        let image = site.image("waits");
        let entries = image.layers.iter().flat_map(|layer| &layer.entries);
        let seen: Vec<_> = entries.filter(|entry| entry.path == b"tmp/seen").collect();
        assert_eq!(String::from_utf8_lossy(&seen[0].content), "x\n");
        site.nothing_is_left();
    });
}

/// Rows: R7, R18
#[test]
fn a_mounted_context_decides_whether_a_step_runs_again() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let context = site.context(
        "context",
        "FROM REGISTRY/base:1\nRUN --mount=source=wanted,target=/in cat /in/* > /tmp/all\n",
    );
    fs::create_dir(context.join("wanted")).expect("a directory");
    fs::write(context.join("wanted/a"), "1\n").expect("a file");
    let build = || site.built("store", "image", &context, &[]);
    let first = build();
    fs::write(context.join("unwanted"), "x").expect("a file");
    assert_eq!(build(), first, "what is not mounted does not count");
    fs::write(context.join("wanted/b"), "2\n").expect("a file");
    assert_ne!(build(), first);
    // Left out by the ignore file, it is as if it were not there.
    fs::write(context.join(".dockerignore"), "wanted/b\n").expect("a file");
    assert_eq!(build(), first);
    fs::set_permissions(
        context.join("wanted/b"),
        std::os::unix::fs::PermissionsExt::from_mode(0o000),
    )
    .expect("our file");
    assert_eq!(build(), first, "what is ignored is not opened");
}

/// Rows: R9
#[test]
fn a_secret_that_is_too_large_is_refused_before_anything_runs() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let context = site.context("context", "FROM REGISTRY/base:1\nRUN touch /ran\n");
    give(&site, "large", &"x".repeat(500 * 1024 + 1));
    let output = site
        .build(
            "store",
            "image",
            &context,
            &["--secret", "id=big,src=large"],
        )
        .output()
        .expect("kiln starts");
    assert_eq!(
        site.describe(&output),
        "exit 2\nstderr:\nerror: the secret `big` is larger than 500 KiB\n"
    );
    give(&site, "large", &"x".repeat(500 * 1024));
    site.built(
        "store",
        "image",
        &context,
        &["--secret", "id=big,src=large"],
    );
}

/// A directory with a program of this machine and all that it needs to run in another root; the
/// name of its loader. None where the program is not there.
fn portable(site: &Site, program: &str) -> Option<String> {
    if !Path::new(program).exists() {
        return None;
    }
    let listed = Command::new("ldd").arg(program).output().ok()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let place = site.path("program");
    fs::create_dir(&place).expect("a directory");
    let mut loader = None;
    let libraries = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for file in libraries.chain([program]) {
        let name = Path::new(file).file_name().expect("a name");
        fs::copy(file, place.join(name)).expect("a copy");
        let name = name.to_string_lossy();
        if name.starts_with("ld-") {
            loader = Some(name.into_owned());
        }
    }
    loader
}

/// Rows: R10
#[test]
fn a_real_ssh_client_uses_the_agent_and_cannot_change_it() {
    for_each_caller(|site| {
        let Some(loader) = portable(site, "/usr/bin/ssh-add") else {
            eprintln!("skipped: ssh-add is not installed (openssh-client)");
            return;
        };
        let key = site.path("work").join("key");
        let locked = site.path("work").join("locked");
        for (path, passphrase) in [(&key, ""), (&locked, "correct horse")] {
            let made = Command::new("/usr/bin/ssh-keygen")
                .args([
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    passphrase,
                    "-C",
                    "a-comment",
                    "-f",
                ])
                .arg(path)
                .status();
            assert!(made.expect("ssh-keygen starts").success());
            site.give(path);
        }
        let add = format!("/p/{loader} --library-path /p /p/ssh-add");
        let context = site.context(
            "context",
            &format!(
                "FROM REGISTRY/base:1\n\
                 RUN --mount=type=ssh --mount=from=program,target=/p \
                 {add} -L > /tmp/keys; {add} -D; {add} -d /p; {add} -L > /tmp/after\n\
                 RUN --mount=type=ssh,target=/a,uid=1000,gid=1001,mode=0660 --mount=type=ssh \
                 --mount=from=program,target=/p \
                 echo $SSH_AUTH_SOCK > /tmp/names; ls /run/buildkit >> /tmp/names; \
                 stat -c '%a %u:%g' /a >> /tmp/names; \
                 SSH_AUTH_SOCK=/run/buildkit/ssh_agent.1 {add} -L > /tmp/second\n\
                 ENV SSH_AUTH_SOCK=/own\n\
                 RUN --mount=type=ssh,target=/own --mount=from=program,target=/p \
                 {add} -L > /tmp/own\n\
                 RUN --mount=type=ssh,id=nobody test ! -e /run/buildkit\n"
            ),
        );
        let program = format!("program={}", site.path("program").display());
        let arguments = ["--ssh", "default=key", "--build-context", &program];
        site.built("store", "ssh", &context, &arguments);
        let image = site.image("ssh");
        let file = |path: &str| {
            let mut entries = image.layers.iter().flat_map(|layer| &layer.entries);
            let entry = entries.find(|entry| entry.path == path.as_bytes());
            String::from_utf8_lossy(&entry.expect("a file").content).into_owned()
        };
        let public = fs::read_to_string(key.with_extension("pub")).expect("a key");
        for path in ["tmp/keys", "tmp/after", "tmp/second", "tmp/own"] {
            assert_eq!(file(path), public, "{path}");
        }
        assert_eq!(file("tmp/names"), "/a\nssh_agent.1\n660 1000:1001\n");
        let arguments = ["--ssh", "default=locked", "--build-context", &program];
        let output = site.build(
            "store",
            "locked",
            &context,
            &[&arguments[..], &["--no-cache"]].concat(),
        );
        let output = {
            let mut output = output;
            output.output().expect("kiln starts")
        };
        let told = site.describe(&output);
        assert!(told.contains("the key locked has a passphrase"), "{told}");
        site.nothing_is_left();
    });
}

/// Rows: R8, R9, R10
#[test]
fn an_owner_who_does_not_exist_inside_is_refused_with_the_mount() {
    for_each_caller(|site| {
        give(site, "secret", "a secret");
        for mount in [
            "type=cache,target=/c,uid=4000000000",
            "type=cache,target=/c,gid=4000000000",
            "type=secret,id=s,gid=4000000000",
        ] {
            let dockerfile = format!("FROM REGISTRY/base:1\nRUN --mount={mount} true\n");
            let context = site.context("context", &dockerfile);
            let more = ["--secret", "id=s,src=secret"];
            let output = site.build("store", "owner", &context, &more).output();
            let told = site.describe(&output.expect("kiln starts"));
            assert!(
                told.contains("is not among the users and groups that there are inside")
                    && told.contains("Dockerfile:2:13"),
                "{mount}: {told}"
            );
        }
        site.nothing_is_left();
    });
}
