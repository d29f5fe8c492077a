//! A context that a RUN mounts, against those who would make it more than files to read: it is
//! never written to, what is ignored is never there, and nobody on the machine is at its other end.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::site::{Caller, Site};

/// Both kinds of caller that this machine can play.
fn for_each_caller(test: impl Fn(&Site)) {
    for caller in [Caller::Ourselves, Caller::Ordinary] {
        if let Some(site) = Site::new(caller) {
            test(&site);
        }
    }
}

/// What is in a directory: path, kind and permissions, owner, length, times of content and of
/// state, and content.
fn state(directory: &Path, found: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.push(directory.to_owned());
    entries.sort();
    for path in entries {
        let metadata = fs::symlink_metadata(&path).expect("it is there");
        let content = if metadata.is_file() {
            fs::read(&path).unwrap_or_default()
        } else {
            Vec::new()
        };
        found.push(format!(
            "{} {:o} {}:{} {} {}.{} {}.{} {content:?}",
            path.display(),
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ));
        if metadata.is_dir() && path != directory {
            state(&path, found);
        }
    }
}

/// A file of the last layer of an image.
#[track_caller]
fn left(site: &Site, image: &str, path: &str) -> String {
    let image = site.image(image);
    let entries = image.layers.iter().rev().flat_map(|layer| &layer.entries);
    let found = entries.clone().find(|entry| entry.path == path.as_bytes());
    let found = found.unwrap_or_else(|| panic!("there is no {path}"));
    String::from_utf8_lossy(&found.content).into_owned()
}

/// Writes a file with its directories.
fn write(path: PathBuf, content: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    fs::write(path, content).expect("a file");
}

/// The commands of a hostile Dockerfile: whatever can be written to in `/src`, in every way.
const ATTACK: &str = "\
    for f in $(find /src /file 2>/dev/null); do \
      chmod 777 $f; chown 1:1 $f; touch $f; mv $f $f.moved; ln $f $f.link; \
      [ -p $f ] || echo hostile >> $f; setfattr -n user.x -v y $f; rm -rf $f/*; \
    done >/dev/null 2>&1; mkdir /src/new; echo hostile > /src/hostile; true";

/// Owners that the files of a context have, as far as the caller may choose them, and whether it
/// is on a file system in memory.
fn contexts(site: &Site, memory: Option<&TempDir>) -> Vec<(&'static str, PathBuf)> {
    let mut places = vec![("ours", site.path("ours"))];
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        places.push(("another user's", site.path("other")));
        places.push(("mixed", site.path("mixed")));
    }
    match memory {
        Some(memory) => places.push(("in memory", memory.path().join("context"))),
        None => eprintln!("skipped: /dev/shm cannot be written to"),
    }
    places
}

/// Rows: R7
#[test]
fn a_mounted_context_is_never_written_to_and_shows_what_copy_shows() {
    for_each_caller(|site| {
        let memory = tempfile::tempdir_in("/dev/shm").ok();
        if let Some(memory) = &memory {
            // The caller is somebody else.
            fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        }
        for (whose, place) in contexts(site, memory.as_ref()) {
            let dockerfile = format!(
                "FROM REGISTRY/base:1\n\
                 COPY . /copied/\n\
                 RUN --mount=target=/src cd /src && find . | sort > /tmp/mounted && \
                   find . -type f -exec cat {{}} + > /tmp/content && \
                   find . ! -user 0 -o ! -group 0 > /tmp/foreign && \
                   cd /copied && find . | sort > /tmp/copied\n\
                 RUN --mount=target=/src {ATTACK}\n\
                 RUN --mount=target=/src,rw {ATTACK}; cat /src/hostile > /tmp/written\n\
                 RUN --mount=target=/file,source=kept {ATTACK}\n\
                 RUN --mount=target=/file,source=kept,rw {ATTACK}\n\
                 RUN --mount=target=/src cat /src/secret /src/deep/secret /src/out/secret \
                   /src/link /src/deep/../secret 2>/dev/null > /tmp/ignored; true\n"
            );
            let host = format!("{}/", site.registry.host());
            write(
                place.join("Dockerfile"),
                &dockerfile.replace("REGISTRY/", &host),
            );
            write(
                place.join(".dockerignore"),
                "secret\n**/secret\nout/*\n!out/kept\nempty/*\n",
            );
            write(place.join("secret"), "not for you\n");
            write(place.join("deep/secret"), "not for you\n");
            write(place.join("deep/kept"), "kept\n");
            write(place.join("out/secret"), "not for you\n");
            write(place.join("out/kept"), "kept\n");
            write(place.join("empty/x"), "not for you\n");
            write(place.join("kept"), "kept\n");
            symlink("secret", place.join("link")).expect("a link");
            symlink("/etc", place.join("etc")).expect("a link");
            for (name, uid) in [("kept", 1000), ("deep", 1001), ("out/kept", 0)] {
                match whose {
                    "another user's" => {}
                    "mixed" => {
                        chown(place.join(name), Some(uid), Some(uid)).expect("we may");
                    }
                    _ => {}
                }
            }
            if whose == "another user's" {
                for name in [
                    "",
                    "Dockerfile",
                    ".dockerignore",
                    "deep",
                    "deep/kept",
                    "deep/secret",
                    "out",
                    "out/kept",
                    "out/secret",
                    "kept",
                    "link",
                    "etc",
                    "empty",
                    "empty/x",
                    "secret",
                ] {
                    std::os::unix::fs::lchown(place.join(name), Some(1234), Some(1234))
                        .expect("we may");
                }
            }
            let (mut before, mut after) = (Vec::new(), Vec::new());
            state(&place, &mut before);
            site.built("store", "image", &place, &[]);
            state(&place, &mut after);
            assert_eq!(before, after, "{whose}: the context was written to");
            let mounted = left(site, "image", "tmp/mounted");
            assert_eq!(mounted, left(site, "image", "tmp/copied"), "{whose}");
            assert!(mounted.contains("./out/kept\n"), "{whose}: {mounted}");
            assert!(!mounted.contains("secret"), "{whose}: {mounted}");
            assert!(
                !left(site, "image", "tmp/content").contains("not for you"),
                "{whose}"
            );
            assert_eq!(left(site, "image", "tmp/foreign"), "", "{whose}");
            assert_eq!(left(site, "image", "tmp/ignored"), "", "{whose}");
            assert_eq!(left(site, "image", "tmp/written"), "hostile\n", "{whose}");
            site.nothing_is_left();
            fs::remove_dir_all(&place).expect("our directory");
        }
    });
}

/// Rows: R7
#[test]
fn sockets_and_pipes_of_a_mounted_context_lead_to_nobody() {
    for_each_caller(|site| {
        let context = site.context(
            "context",
            "FROM REGISTRY/base:1\n\
             RUN --mount=target=/src --network=none ls /src > /tmp/seen; \
               timeout 1 sh -c 'echo hostile > /src/pipe'; timeout 1 cat /src/pipe; \
               stat -c '%F %a' /src/pipe > /tmp/pipe; \
               test -S /src/socket || echo none > /tmp/socket\n",
        );
        let _listener = UnixListener::bind(context.join("socket")).expect("a socket");
        let pipe = context.join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::empty(), 0).expect("a pipe");
        fs::set_permissions(&pipe, fs::Permissions::from_mode(0o666)).expect("our pipe");
        // Both of its ends are open here, so that who opens it does not wait.
        let ours = fs::OpenOptions::new().read(true).write(true).open(&pipe);
        let ours = ours.expect("our pipe");
        site.built("store", "image", &context, &[]);
        let written = rustix::io::ioctl_fionread(&ours).expect("a pipe");
        assert_eq!(written, 0, "the command wrote to a pipe of this machine");
        assert_eq!(left(site, "image", "tmp/seen"), "Dockerfile\npipe\n");
        assert_eq!(left(site, "image", "tmp/pipe"), "fifo 666\n");
        assert_eq!(left(site, "image", "tmp/socket"), "none\n");
    });
}

/// Rows: R7, R18
#[test]
fn a_file_that_changes_while_it_is_mounted_fails_the_step_and_nothing_is_kept() {
    for_each_caller(|site| {
        for (what, expected) in [
            ("content", ": /in/file changed while"),
            ("mode", ": /in/file changed while"),
            ("gone", ": /in/file changed while"),
            ("new", ": /in/another changed while"),
            ("ignored", ""),
            ("time", ""),
        ] {
            let name = format!("context-{what}");
            let context = site.context(
                &name,
                "FROM REGISTRY/base:1\n\
                 ARG NONCE\n\
                 RUN --mount=target=/src --mount=type=cache,target=/c,id=changes \
                   rm -f /c/go; touch /c/ran; until test -e /c/go; do sleep 0.02; done\n",
            );
            write(context.join("in/file"), "before\n");
            write(context.join(".dockerignore"), "ignored\n");
            let nonce = format!("NONCE={what}");
            let mut build = site.build("store", &name, &context, &["--build-arg", &nonce]);
            let build = build
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("kiln starts");
            let caches = site.path("home").join("store/caches");
            let cache = || {
                let shard = fs::read_dir(&caches).ok()?.next()?.ok()?.path();
                Some(fs::read_dir(shard).ok()?.next()?.ok()?.path().join("0"))
            };
            site.until("it runs", || {
                cache().is_some_and(|cache| cache.join("ran").exists())
            });
            let file = context.join("in/file");
            match what {
                "content" => write(file, "after!\n"),
                "mode" => fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap(),
                "gone" => fs::remove_file(file).unwrap(),
                "new" => write(context.join("in/another"), ""),
                "ignored" => write(context.join("ignored"), ""),
                _ => drop(
                    fs::File::open(file)
                        .unwrap()
                        .set_modified(std::time::UNIX_EPOCH),
                ),
            }
            let cache = cache().expect("it is there");
            fs::remove_file(cache.join("ran")).expect("it ran");
            write(cache.join("go"), "");
            let output = build.wait_with_output().expect("it ends");
            let told = site.describe(&output);
            if expected.is_empty() {
                assert!(output.status.success(), "{what}: {told}");
            } else {
                assert!(!output.status.success(), "{what} was not noticed");
                assert!(told.contains(expected), "{what}: {told}");
                assert_eq!(site.registry.tags(&name), [""; 0]);
            }
        }
        site.verify("store");
    });
}

/// Rows: R8
#[test]
fn two_locked_caches_in_different_orders_never_wait_for_each_other() {
    for_each_caller(|site| {
        let line = |one: &str, other: &str| {
            format!(
                "RUN --mount=type=cache,target=/{one},sharing=locked \
                 --mount=type=cache,target=/{other},sharing=locked sleep 0.05; echo $WHO >> /{one}/x\n"
            )
        };
        // Two steps of the same build that could run at once, and several processes.
        let context = |name: &str, one: &str, other: &str| {
            site.context(
                name,
                &format!(
                    "FROM REGISTRY/base:1 AS one\nARG WHO\n{}\
                     FROM REGISTRY/base:1 AS other\nARG WHO\n{}\
                     FROM scratch\nCOPY --from=one /tmp /one\nCOPY --from=other /tmp /other\n",
                    line(one, other),
                    line(other, one)
                ),
            )
        };
        let contexts = [context("there", "a", "b"), context("back", "b", "a")];
        let builds: Vec<_> = (0..6)
            .map(|who| {
                let argument = format!("WHO={who}");
                let context = &contexts[who % 2];
                let mut build = site.build("store", "image", context, &["--build-arg", &argument]);
                build.stdout(Stdio::null()).spawn().expect("kiln starts")
            })
            .collect();
        for mut build in builds {
            assert!(build.wait().expect("it ends").success());
        }
        site.nothing_is_left();
    });
}

/// Rows: R8
#[test]
fn a_private_cache_that_is_in_use_is_another_one() {
    for_each_caller(|site| {
        let mark = site.mark();
        let line = |command: &str| {
            format!(
                "FROM REGISTRY/base:1\nRUN --mount=type=cache,target=/c,id=mine,sharing=private,\
                 from=REGISTRY/base:1,source=data,mode=0700,uid=1000,gid=1001 {command}\n"
            )
        };
        let holding = site.context("holds", &line(&format!("touch /c/x; sleep 9{mark}")));
        let other = site.context(
            "other",
            &line("stat -c '%a %u:%g' /c > /tmp/s; ls /c >> /tmp/s"),
        );
        let mut holds = site
            .build("store", "holds", &holding, &[])
            .spawn()
            .expect("kiln starts");
        site.until("it holds the cache", || {
            site.running(&format!("sleep 9{mark}")) > 0
        });
        site.built("store", "other", &other, &[]);
        // The seed, the owner and the mode are those of a new one.
        assert_eq!(
            left(site, "other", "tmp/s"),
            "700 1000:1001\ndeep\none\ntwo\n"
        );
        let holder = Pid::from_raw(holds.id().cast_signed()).expect("a process");
        kill_process(holder, Signal::KILL).expect("it is there");
        holds.wait().expect("it ends");
        site.until("what it ran is gone", || {
            site.running(&format!("sleep 9{mark}")) == 0
        });
        let again = site.context("again", &line("ls /c > /tmp/s # again"));
        site.built("store", "again", &again, &[]);
        assert_eq!(left(site, "again", "tmp/s"), "deep\none\ntwo\nx\n");
        // Directories of other users, closed to us, are counted and removed.
        for words in [&["du"][..], &["prune", "--all"]] {
            let output = site.kiln("store", "store", words).output();
            site.success(&output.expect("kiln starts"));
        }
        let caches = site.path("home").join("store/caches");
        let left = fs::read_dir(caches).map(Iterator::count).unwrap_or(0);
        let more = fs::read_dir(site.path("home").join("store/trash"))
            .map(Iterator::count)
            .unwrap_or(0);
        assert_eq!(more, 0, "what was pruned is gone ({left} shards)");
        site.nothing_is_left();
    });
}
