//! Commands on bases that are not unpacked: read from the registry as they are needed, or mounted
//! on this machine already. What they see and what they leave is the same as on unpacked ones.
//!
//! Needs root and `/dev/fuse` where a base is shown and not unpacked.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use oci::Compression;
use rustix::process::Signal;
use testkit::tar::Entry;
use testkit::{Action, Endpoint, Image, Layer, Match, Method, image};

use crate::site::{Caller, Site};

const BUSYBOX: &str = "/bin/busybox";

/// What the scripts below use.
const APPLETS: [&str; 24] = [
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "dd",
    "echo",
    "find",
    "grep",
    "head",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "od",
    "readlink",
    "rm",
    "sh",
    "sha256sum",
    "sort",
    "stat",
    "tail",
    "touch",
    "tr",
];

/// A site whose registry has the image `zoo`; `None` where it cannot be.
fn site(compression: Compression) -> Option<(Site, Image)> {
    let site = Site::new(Caller::Ourselves)?;
    if !rustix::process::geteuid().is_root() || fs::File::open("/dev/fuse").is_err() {
        eprintln!("skipped: needs root and /dev/fuse");
        return None;
    }
    let zoo = zoo(compression);
    site.registry.seed("zoo", "1", &zoo);
    Some((site, zoo))
}

/// Bytes that do not compress well, the same each time.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0] & 0x3f
    };
    (0..count).map(next).collect()
}

fn entry(path: &str, kind: u8) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o644,
        mtime: 1_000_000,
        ..Entry::default()
    }
}

/// One of everything, in three layers.
fn zoo(compression: Compression) -> Image {
    let busybox = fs::read(BUSYBOX).expect("busybox");
    let mut system = Layer::new()
        .compressed(compression)
        .directory("bin", 0o755)
        .file_with("bin/busybox", 0o755, &busybox)
        .directory("tmp", 0o1777)
        .directory("etc", 0o755)
        .file(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n",
        )
        .file("etc/group", "root:x:0:\napp:x:1000:\n");
    for applet in APPLETS {
        system = system.symlink(&format!("bin/{applet}"), "busybox");
    }
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let things = Layer::new()
        .compressed(compression)
        .directory("zoo", 0o755)
        .file("zoo/large", noise(9_000_000))
        .file("zoo/empty", "")
        .file("zoo/gone", "hidden by the next layer")
        .file("zoo/first", "of two names\n")
        .hardlink("zoo/second", "zoo/first")
        .symlink("zoo/link", "first")
        .symlink("zoo/dangling", "/not/there")
        .file_with("zoo/busybox-set-uid", 0o4755, &busybox)
        .directory("zoo/opaque", 0o755)
        .file("zoo/opaque/below", "hidden")
        .directory("zoo/moved", 0o750)
        .file("zoo/moved/file", "moves with its directory\n")
        .directory("zoo/moved/deep", 0o700)
        .file("zoo/moved/deep/file", "as well\n")
        .entry(Entry {
            uid: 1000,
            gid: 1000,
            mode: 0o600,
            xattrs: BTreeMap::from([(b"user.note".to_vec(), b"kept".to_vec())]),
            content: b"of somebody\n".to_vec(),
            ..entry("zoo/owned", b'0')
        })
        .entry(Entry {
            mode: 0o755,
            xattrs: BTreeMap::from([(b"security.capability".to_vec(), capability.to_vec())]),
            content: b"capable\n".to_vec(),
            ..entry("zoo/capable", b'0')
        })
        .entry(Entry {
            device: (1, 3),
            ..entry("zoo/null", b'3')
        })
        .entry(entry("zoo/pipe", b'6'));
    let over = Layer::new()
        .compressed(compression)
        .whiteout("zoo/gone")
        .opaque("zoo/opaque")
        .file("zoo/opaque/above", "seen\n")
        .file("zoo/second-layer", "more\n");
    image()
        .layer(system)
        .layer(things)
        .layer(over)
        .env("PATH=/bin")
        .build()
}

/// Writes down all that can be seen, then changes what is hard to change.
const DOCKERFILE: &str = r#"FROM REGISTRY/zoo:1
COPY added /zoo/added
RUN find / -xdev ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' ! -path '/tmp*' ! -path '/etc/hos*' ! -path '/etc/resolv*' | sort > /tmp/names; \
    while read -r name; do \
      if [ -d "$name" ] && ! [ -h "$name" ]; then stat -c '%A %u:%g %n' "$name"; \
      else stat -c '%A %u:%g %h %s %Y %t,%T %N' "$name"; fi; \
    done < /tmp/names > /seen; \
    find /bin /etc/passwd /zoo -xdev -type f | sort | while read -r name; do sha256sum "$name"; done > /sums
RUN chmod 640 /zoo/first && echo more >> /zoo/second && cat /zoo/first > /one-file \
    && mv /zoo/moved /zoo/elsewhere && cat /zoo/elsewhere/deep/file > /moved \
    && rm /zoo/empty /zoo/dangling && chown 1000:1000 /zoo/second-layer \
    && echo x >> /zoo/large && tail -c 3 /zoo/large > /tail \
    && touch /zoo/capable && cp -a /zoo/owned /zoo/copy \
    && ln /zoo/link /zoo/another && rm -r /zoo/opaque && mkdir /zoo/opaque \
    && dd if=/zoo/large bs=1000 skip=4000 count=3 2>/dev/null | sha256sum > /middle \
    && readlink /proc/self/exe > /program && /zoo/busybox-set-uid sh -c 'echo ran' > /ran
USER app
RUN cat /zoo/second-layer > /tmp/read && ! cat /zoo/owned.not 2>/dev/null && ! ls /zoo/elsewhere/deep 2>/dev/null
"#;

/// Builds it, and gives the digest of what was pushed.
#[track_caller]
fn built(site: &Site, store: &str, more: &[&str]) -> String {
    let context = site.context("everything", DOCKERFILE);
    fs::write(context.join("added"), "by COPY\n").expect("a file");
    site.built(store, "made", &context, more)
}

/// Puts an image's files into a directory, as a container runtime would.
fn unpack(image: &Image, directory: &Path) {
    fs::create_dir(directory).expect("a directory");
    for layer in &image.layers {
        let mut tar = Command::new("tar")
            .args([
                "--extract",
                "--gzip",
                "--xattrs",
                "--xattrs-include=*",
                "--same-owner",
                "-p",
                "-C",
            ])
            .arg(directory)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("tar starts");
        let mut stdin = tar.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut stdin, &layer.bytes).expect("tar reads");
        drop(stdin);
        assert!(tar.wait().expect("tar ends").success());
        for hidden in ["zoo/.wh.gone", "zoo/opaque/.wh..wh..opq"] {
            let mark = directory.join(hidden);
            if fs::remove_file(&mark).is_ok() {
                let _ = fs::remove_file(directory.join("zoo/gone"));
                let _ = fs::remove_file(directory.join("zoo/opaque/below"));
            }
        }
    }
}

/// How many bytes of layers the registry was asked for in answers, of this image.
fn layers_asked_for(site: &Site, image: &Image) -> usize {
    let layers: Vec<String> = image
        .layers
        .iter()
        .map(|layer| layer.digest.to_string())
        .collect();
    let log = site.registry.log();
    let of_layers = log.iter().filter(|request| {
        request.endpoint == Endpoint::Blob
            && request.method == "GET"
            && layers.iter().any(|digest| request.path.ends_with(digest))
    });
    of_layers.count()
}

/// Its directory is the lower one, as it is; nothing of its layers is fetched.
#[test]
fn a_base_that_is_mounted_is_used_where_it_is() {
    let Some((site, zoo)) = site(Compression::Gzip) else {
        return;
    };
    let expected = built(&site, "unpacked", &["--lazy", "never"]);
    let directory = site.path("volume");
    unpack(&zoo, &directory);
    site.registry.clear_log();
    let mount = format!("--base-mount=REGISTRY/zoo:1={}", directory.display());
    assert_eq!(built(&site, "mounted", &[&mount]), expected);
    assert_eq!(
        layers_asked_for(&site, &zoo),
        0,
        "{:#?}",
        site.registry.lines()
    );

    // As a container runtime mounts it: an overlay, whose owners the kernel does not map.
    let overlay = Overlay::of(&site, &directory);
    let mount = format!("--base-mount=REGISTRY/zoo:1={}", overlay.0.display());
    assert_eq!(built(&site, "overlay", &[&mount]), expected);
    drop(overlay);
    site.verify("mounted");
    site.nothing_is_left();
}

/// An overlay mount in this mount namespace, until it is dropped.
struct Overlay(PathBuf);

impl Overlay {
    fn of(site: &Site, lower: &Path) -> Self {
        let (point, empty) = (site.path("overlay"), site.path("empty"));
        fs::create_dir(&point).expect("a directory");
        fs::create_dir(&empty).expect("a directory");
        let options = format!("lowerdir={}:{}", empty.display(), lower.display());
        let mounted = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(&point)
            .status();
        assert!(mounted.expect("mount starts").success());
        Self(point)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// What is copied is compared: a file that somebody changed comes from the layers.
#[test]
fn files_are_copied_from_a_base_that_is_mounted() {
    let Some((site, zoo)) = site(Compression::Gzip) else {
        return;
    };
    let text = "FROM scratch\nCOPY --from=REGISTRY/zoo:1 /zoo/large /zoo/second /zoo/opaque /\n";
    let context = site.context("copying", text);
    let expected = site.built("unpacked", "made", &context, &[]);
    let directory = site.path("volume");
    unpack(&zoo, &directory);
    let mount = format!("--base-mount=REGISTRY/zoo:1={}", directory.display());
    indexed(&site, "store");
    assert_eq!(site.built("store", "made", &context, &[&mount]), expected);
    assert_eq!(
        layers_asked_for(&site, &zoo),
        0,
        "{:#?}",
        site.registry.lines()
    );

    let mut changed = fs::read(directory.join("zoo/large")).expect("a file");
    changed[5_000_000] ^= 1;
    fs::write(directory.join("zoo/large"), changed).expect("our file");
    let again = [mount.as_str(), "--no-cache"];
    assert_eq!(site.built("store", "made", &context, &again), expected);
}

#[test]
fn a_mount_for_no_base_is_an_error_with_the_names_of_those_there_are() {
    let Some((site, _)) = site(Compression::Gzip) else {
        return;
    };
    let context = site.context("context", "FROM REGISTRY/zoo:1\nRUN true\n");
    let check = |image: &str, directory: &str, expected: &str| {
        let mount = format!("--base-mount={image}={directory}");
        let output = site.build("store", "made", &context, &[&mount]).output();
        let said = site.describe(&output.expect("kiln starts"));
        assert!(said.contains(expected), "{said}");
        assert!(said.starts_with("exit 2"), "{said}");
    };
    check("REGISTRY/other:1", "/", "its bases are REGISTRY/zoo:1");
    check(
        "REGISTRY/zoo:1",
        "/not/there",
        "/not/there is not a directory",
    );
    check("", "/", "--base-mount");
}

#[test]
fn what_does_not_fit_is_said_before_it_is_fetched() {
    let Some((site, zoo)) = site(Compression::Gzip) else {
        return;
    };
    let context = site.context("context", "FROM REGISTRY/zoo:1\nRUN true\n");
    site.registry.clear_log();
    let output = site
        .build(
            "store",
            "made",
            &context,
            &["--disk-budget", "1m", "--lazy", "never"],
        )
        .output();
    let said = site.describe(&output.expect("kiln starts"));
    assert!(
        said.contains("of disk, and 1.0 MB of --disk-budget 1.0 MB are left"),
        "{said}"
    );
    assert_eq!(layers_asked_for(&site, &zoo), 0);
    // Nothing is unpacked for a COPY.
    let copying = site.context("copying", "FROM REGISTRY/zoo:1\nCOPY Dockerfile /\n");
    site.built("store", "made", &copying, &["--disk-budget", "1m"]);
    // It may fit, and does not.
    let output = site
        .build(
            "late",
            "made",
            &context,
            &["--disk-budget", "9m", "--lazy", "never"],
        )
        .output();
    let said = site.describe(&output.expect("kiln starts"));
    assert!(said.contains("of --disk-budget 9.4 MB are left"), "{said}");
    // It may fit, and does.
    let output = site
        .kiln(
            "build",
            "other",
            &[
                "--progress",
                "plain",
                "--disk-budget",
                "14m",
                "--lazy",
                "never",
                context.to_str().expect("UTF-8"),
            ],
        )
        .output()
        .expect("kiln starts");
    let said = site.describe(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("unpacking the base will take about"),
        "{said}"
    );
}

/// A store that knows the indexes of the image's layers, and has none of its files.
fn indexed(site: &Site, store: &str) {
    let context = site.context("indexing", "FROM REGISTRY/zoo:1\nCOPY Dockerfile /\n");
    site.built(store, "indexed", &context, &["--lazy", "never"]);
    site.registry.clear_log();
}

/// Bytes of layers that the registry sent, and whether all of them were asked for in parts.
fn layer_bytes(site: &Site, image: &Image) -> (u64, bool) {
    let layers: Vec<String> = image
        .layers
        .iter()
        .map(|layer| layer.digest.to_string())
        .collect();
    let log = site.registry.log();
    let of_layers = log.iter().filter(|request| {
        request.endpoint == Endpoint::Blob
            && request.method == "GET"
            && layers.contains(&request.reference)
    });
    of_layers.fold((0, true), |(bytes, in_parts), request| {
        let part = request.header("range").is_some();
        (bytes + request.bytes_out, in_parts && part)
    })
}

const ALWAYS: &[&str] = &["--lazy", "always"];

#[test]
fn a_base_that_is_read_as_it_is_needed_is_no_other_base() {
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let Some((site, zoo)) = site(compression) else {
            return;
        };
        let expected = built(&site, "unpacked", &["--lazy", "never"]);
        indexed(&site, "store");
        assert_eq!(built(&site, "store", ALWAYS), expected, "{compression:?}");
        let (_, in_parts) = layer_bytes(&site, &zoo);
        assert!(in_parts, "{:#?}", site.registry.lines());
        // What was fetched is at hand.
        site.registry.clear_log();
        let again = [ALWAYS, &["--no-cache"]].concat();
        assert_eq!(built(&site, "store", &again), expected, "{compression:?}");
        assert_eq!(layer_bytes(&site, &zoo).0, 0);
        // A budget that no file fits into, and nobody asked for a view.
        indexed(&site, "small");
        let small = ["--disk-budget", "100k"];
        assert_eq!(built(&site, "small", &small), expected, "{compression:?}");
        let kept = bytes_below(&site.path("home/small/spans"));
        assert!(kept <= 100 * 1024, "{kept} bytes of parts are kept");
        // Where nothing is known, the one pass that learns what is in the layers unpacks nothing.
        assert_eq!(built(&site, "fresh", ALWAYS), expected, "{compression:?}");
        for store in ["store", "small", "fresh"] {
            site.verify(store);
        }
        site.nothing_is_left();
    }
}

fn bytes_below(directory: &Path) -> u64 {
    let Ok(listed) = fs::read_dir(directory) else {
        return 0;
    };
    let sizes = listed.map(|entry| {
        let path = entry.expect("an entry").path();
        let metadata = path.symlink_metadata().expect("our file");
        if metadata.is_dir() {
            bytes_below(&path)
        } else {
            metadata.len()
        }
    });
    sizes.sum()
}

/// The program, and what it reads.
#[test]
fn only_what_is_read_is_fetched() {
    let Some((site, zoo)) = site(Compression::Gzip) else {
        return;
    };
    indexed(&site, "store");
    let context = site.context(
        "context",
        "FROM REGISTRY/zoo:1\nRUN cat /zoo/first > /out\n",
    );
    site.built("store", "made", &context, ALWAYS);
    let (bytes, in_parts) = layer_bytes(&site, &zoo);
    let whole: u64 = zoo
        .layers
        .iter()
        .map(|layer| layer.bytes.len() as u64)
        .sum();
    assert!(in_parts && bytes < whole / 2, "{bytes} of {whole} bytes");

    // The next time the same is fetched, and nothing else, even on another base layer of ours.
    fs::remove_dir_all(site.path("home/store/spans")).expect("our own");
    site.registry.clear_log();
    let text = "FROM REGISTRY/zoo:1\nCOPY Dockerfile /\nRUN cat /zoo/first > /out\n";
    let changed = site.context("changed", text);
    site.built("store", "made", &changed, ALWAYS);
    assert_eq!(layer_bytes(&site, &zoo), (bytes, true));
}

#[test]
fn two_commands_at_once_share_a_view() {
    let Some((site, zoo)) = site(Compression::Gzip) else {
        return;
    };
    let text = "FROM REGISTRY/zoo:1 AS one\nRUN sha256sum /zoo/large /bin/busybox > /one\n\
                FROM REGISTRY/zoo:1 AS two\nRUN sha256sum /bin/busybox /zoo/large > /two\n\
                FROM REGISTRY/zoo:1\nCOPY --from=one /one /\nCOPY --from=two /two /\n";
    let context = site.context("context", text);
    let expected = site.built("unpacked", "made", &context, &["--lazy", "never"]);
    indexed(&site, "store");
    let threads = [ALWAYS, &["--threads", "4"]].concat();
    assert_eq!(site.built("store", "made", &context, &threads), expected);
    let (bytes, in_parts) = layer_bytes(&site, &zoo);
    let whole: u64 = zoo
        .layers
        .iter()
        .map(|layer| layer.bytes.len() as u64)
        .sum();
    assert!(
        in_parts && bytes <= whole + whole / 10,
        "{bytes} of {whole} bytes"
    );
}

#[test]
fn a_registry_that_knows_no_parts_gives_the_whole() {
    let Some((site, _)) = site(Compression::Gzip) else {
        return;
    };
    let expected = built(&site, "unpacked", &["--lazy", "never"]);
    indexed(&site, "store");
    let parts = Match::new(Method::GET, Endpoint::Blob).times(1000);
    site.registry.fault(parts, Action::IgnoreRange);
    assert_eq!(built(&site, "store", ALWAYS), expected);
    site.verify("store");
}

/// A command that does not mind: its exit code is 0, and its step fails all the same.
const CARELESS: &str = "FROM REGISTRY/zoo:1\nRUN cat /zoo/large > /out 2>/dev/null; true\n";

/// Builds what must fail, and gives what was said.
#[track_caller]
fn fails(site: &Site, text: &str) -> String {
    let context = site.context("failing", text);
    let output = site.build("store", "failed", &context, ALWAYS).output();
    let output = output.expect("kiln starts");
    let said = site.describe(&output);
    assert!(said.starts_with("exit 1"), "{said}");
    assert!(site.registry.tags("failed").is_empty(), "it was pushed");
    said
}

#[test]
fn what_the_registry_does_not_give_fails_the_step() {
    let Some((site, zoo)) = site(Compression::Gzip) else {
        return;
    };
    indexed(&site, "store");
    let layer = zoo.layers[1].digest.to_string();
    for (code, reason) in [(404, "404"), (403, "403")] {
        let parts = Match::new(Method::GET, Endpoint::Blob).reference(&layer);
        site.registry.fault(parts.times(1000), Action::status(code));
        let said = fails(&site, CARELESS);
        assert!(
            said.contains("could not read /zoo/large of the base image"),
            "{said}"
        );
        assert!(said.contains(reason), "{said}");
        site.registry.clear_faults();
    }
    // Nothing of it was kept.
    let context = site.context("failing", CARELESS);
    let made = site.built("store", "made", &context, ALWAYS);
    let expected = site.built("unpacked", "made", &context, &["--lazy", "never"]);
    assert_eq!(made, expected);
    site.verify("store");
}

/// Parts that do not come as parts, when the command asks for them: it runs again on a base that is
/// unpacked.
#[test]
fn a_command_whose_base_cannot_be_read_in_parts_runs_again() {
    let Some((site, zoo)) = site(Compression::Gzip) else {
        return;
    };
    indexed(&site, "store");
    let layer = zoo.layers[1].digest.to_string();
    let parts = Match::new(Method::GET, Endpoint::Blob).reference(&layer);
    site.registry.fault(parts, Action::IgnoreRange);
    let context = site.context("context", CARELESS);
    let made = site.built("store", "made", &context, ALWAYS);
    let expected = site.built("unpacked", "made", &context, &["--lazy", "never"]);
    assert_eq!(made, expected);
    site.verify("store");
}

/// The parts of a layer are not what they were when it was read as a whole.
#[test]
fn a_layer_that_was_changed_is_found_out() {
    let Some((site, zoo)) = site(Compression::None) else {
        return;
    };
    indexed(&site, "store");
    let layer = &zoo.layers[1];
    let mut changed = layer.bytes.to_vec();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    site.registry.put_blob_as("zoo", &layer.digest, changed);
    // A part that is not what it was has the layer read as a whole, which shows it too; and so from
    // now on.
    for _ in 0..2 {
        let said = fails(&site, CARELESS);
        assert!(said.contains("digest"), "{said}");
    }
    site.registry
        .put_blob_as("zoo", &layer.digest, layer.bytes.to_vec());
    let context = site.context("failing", CARELESS);
    site.built("store", "made", &context, ALWAYS);
    site.verify("store");
}

/// Nobody waits for a registry that says nothing, neither a command nor the end of the build; and
/// a kill leaves no mount.
#[test]
fn a_command_that_waits_for_its_base_can_be_stopped() {
    let Some((site, zoo)) = site(Compression::Gzip) else {
        return;
    };
    let layer = zoo.layers[1].digest.to_string();
    for (round, signal) in [Signal::INT, Signal::KILL].into_iter().enumerate() {
        let store = format!("store-{round}");
        indexed(&site, &store);
        let parts = Match::new(Method::GET, Endpoint::Blob).reference(&layer);
        site.registry
            .fault(parts.times(1000), Action::Stall { after: Some(10) });
        let mark = site.mark();
        let text = format!("FROM REGISTRY/zoo:1\nRUN cat /zoo/large /{mark} > /out\n");
        let context = site.context("context", &text);
        let mut build = site
            .build(&store, "made", &context, ALWAYS)
            .spawn()
            .expect("kiln starts");
        let asked = || {
            let log = site.registry.log();
            log.iter()
                .any(|request| request.reference == layer && request.bytes_out > 0)
        };
        site.until("the command reads", || {
            asked() && site.running(&format!("/{mark}")) > 0
        });
        let id = rustix::process::Pid::from_child(&build);
        rustix::process::kill_process(id, signal).expect("it runs");
        build.wait().expect("it ends");
        site.nothing_is_left();
        site.registry.clear_faults();
        site.built(&store, "made", &site.context("good", CARELESS), ALWAYS);
    }
}

/// Whether `/dev/fuse` is theirs or not.
#[test]
fn an_ordinary_user_gets_the_same_of_a_base() {
    let Some((root, _)) = site(Compression::Gzip) else {
        return;
    };
    let Some(site) = Site::new(Caller::Ordinary) else {
        return;
    };
    // Without the devices, which an ordinary user cannot make.
    let text = "FROM REGISTRY/base:1\nRUN ls -lnR /data /etc/passwd > /seen; sha256sum /bin/busybox \
                /data/* > /sums; echo more >> /data/one; mv /data/deep /data/moved; true\n";
    let made = |site: &Site, store: &str, more: &[&str]| {
        let context = site.context("context", text);
        site.built(store, "made", &context, more)
    };
    let expected = made(&root, "unpacked", &["--lazy", "never"]);
    assert_eq!(made(&root, "store", ALWAYS), expected);
    assert_eq!(made(&site, "store", ALWAYS), expected);
    site.verify("store");

    // As on most machines, where everybody may open it.
    let context = site.context("indexing", "FROM REGISTRY/base:1\nCOPY Dockerfile /\n");
    site.built("viewed", "indexed", &context, &[]);
    site.registry.clear_log();
    let context = site.context("context", text);
    let build = site.build("viewed", "made", &context, ALWAYS);
    let output = with_fuse_for_everybody(&site, &build).output();
    assert_eq!(site.success(&output.expect("unshare starts")), expected);
    let log = site.registry.log();
    let mut blobs = log
        .iter()
        .filter(|request| request.endpoint == Endpoint::Blob && request.method == Method::GET);
    assert!(
        blobs.all(|request| request.header("range").is_some()),
        "{:#?}",
        site.registry.lines()
    );
    site.nothing_is_left();
}

/// The same command of an ordinary user, in a mount namespace whose `/dev/fuse` is open to all.
fn with_fuse_for_everybody(site: &Site, command: &Command) -> Command {
    let home = fs::metadata(site.path("home")).expect("a directory");
    let (uid, gid) = (home.uid().to_string(), home.gid().to_string());
    let node = site.path("fuse");
    let device = rustix::fs::makedev(10, 229);
    let character = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, &node, character, 0o600.into(), device)
        .expect("we are root");
    fs::set_permissions(&node, fs::Permissions::from_mode(0o666)).expect("our node");
    let mut wrapped = Command::new("unshare");
    wrapped
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind \"$1\" /dev/fuse && shift && exec setpriv \"$@\"")
        .arg("sh")
        .arg(&node)
        .args(["--reuid", &uid, "--regid", &gid, "--clear-groups"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(site.path("work"))
        .env_clear()
        .stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        wrapped.env(name, value.unwrap_or_default());
    }
    wrapped
}
