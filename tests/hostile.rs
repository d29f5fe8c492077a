//! Base images made to do harm, through the whole program: `FROM evil`, with COPY on top and with
//! RUN on top. What is refused says why and publishes nothing; what is contained stays inside the
//! image. Either way a directory beside the store is as it was, the store verifies, and the next
//! build from a good base succeeds in the same store.
//!
//! The store's own tests have each case byte by byte (`crates/store/tests/hostile_layers.rs`);
//! these show that no path through the program goes around them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use oci::{Compression, Digest};
use testkit::tar::{self, Entry};
use testkit::{Image, Layer, LayerBlob, image, validate_image};

use crate::site::{Caller, REGISTRY, Site};

/// Zeros in the bomb, which zstd makes four orders of magnitude smaller.
const BOMB_BYTES: usize = 256 << 20;

/// What a file of the host has in it.
const PRECIOUS: &str = "precious";

/// What must come of an image.
enum Expected {
    /// Refused, with these words about it.
    Refused(&'static str),
    /// Built, and harmless.
    Contained,
    /// Refused with these words where it is unpacked; harmless where only its index is needed.
    Unusable(&'static str),
}

use Expected::{Contained, Refused, Unusable};

/// A hostile layer on top of busybox.
fn layers(outside: &str) -> Vec<(&'static str, Layer, Expected)> {
    let new = Layer::new;
    let entry = |path: &str, kind: u8| Entry {
        path: path.into(),
        kind,
        mode: 0o755,
        ..Entry::default()
    };
    let link = |path: &str, kind: u8, target: &str| Entry {
        link: target.into(),
        ..entry(path, kind)
    };
    let parent = "../".repeat(12) + &outside[1..];
    vec![
        // A01
        ("parent-name", new().file("../evil", "x"), Refused("`..`")),
        (
            "parent-name-inside",
            new().file("a/../../evil", "x"),
            Refused("`..`"),
        ),
        (
            "parent-name-of-a-directory",
            new().directory("a/..", 0o777),
            Refused("`..`"),
        ),
        // A02
        (
            "absolute-name",
            new().file(&format!("{outside}/file"), "overwritten"),
            Contained,
        ),
        // A03
        (
            "link-and-write-through",
            new().symlink("a", outside).file("a/file", "overwritten"),
            Contained,
        ),
        (
            "relative-link-and-write-through",
            new().symlink("a", &parent).file("a/file", "overwritten"),
            Contained,
        ),
        // A04
        (
            "chain-of-links",
            new()
                .symlink("x", "y/..")
                .symlink("y", outside)
                .file("x/file", "overwritten"),
            Contained,
        ),
        // A05
        (
            "root-is-a-link",
            new().entry(link("./", b'2', outside)),
            Refused("root"),
        ),
        // A06
        (
            "directory-over-link",
            new().symlink("a", outside).directory("a", 0o777),
            Contained,
        ),
        // A07
        (
            "hard-link-out",
            new().hardlink("h", &format!("{outside}/file")),
            Unusable("hard link"),
        ),
        (
            "hard-link-up",
            new().hardlink("h", &format!("{parent}/file")),
            Refused("`..`"),
        ),
        // A08
        (
            "hard-link-to-link",
            new()
                .symlink("s", &format!("{outside}/file"))
                .hardlink("h", "s"),
            Contained,
        ),
        // A09
        (
            "file-over-link",
            new()
                .symlink("s", &format!("{outside}/file"))
                .file("s", "overwritten"),
            Contained,
        ),
        // A11
        (
            "whiteout-of-nothing",
            new().file(".wh.", ""),
            Refused("whiteout"),
        ),
        (
            "whiteout-of-the-parent",
            new().file(".wh...", ""),
            Refused("whiteout"),
        ),
        // A12
        (
            "file-as-directory",
            new()
                .directory("d", 0o755)
                .file("d/f", "")
                .file("d", "")
                .file("d/x", ""),
            Refused("lies below"),
        ),
        // A17
        (
            "bomb",
            new()
                .compressed(Compression::Zstd)
                .file("zeros", vec![0; BOMB_BYTES]),
            Refused("times"),
        ),
        // A21
        (
            "long-name",
            new().file(&"a/".repeat(2100), ""),
            Refused("bytes"),
        ),
        (
            "long-component",
            new().file(&"a".repeat(256), ""),
            Refused("bytes"),
        ),
        // A22
        (
            "unknown-type",
            new().entry(entry("z", b'Z')),
            Refused("type"),
        ),
        (
            "memory-device",
            new().entry(Entry {
                device: (1, 5),
                ..entry("device", b'3')
            }),
            Contained,
        ),
        (
            "pipe-as-passwd",
            new().entry(entry("etc/passwd", b'6')),
            Contained,
        ),
        // A26
        (
            "owner-out-of-range",
            new().entry(Entry {
                uid: 1 << 32,
                ..entry("f", b'0')
            }),
            Refused("4294967296"),
        ),
        // C03, C04
        (
            "dev-proc-sys-are-links",
            new()
                .symlink("dev", outside)
                .symlink("proc", outside)
                .symlink("sys", outside),
            Unusable("symbolic link"),
        ),
        // B08, B09: what the Dockerfile writes goes through links of the image.
        (
            "destinations-are-links",
            new().symlink("to", outside).symlink("work", outside),
            Contained,
        ),
    ]
}

/// Streams that no writer of archives makes.
fn streams() -> Vec<(&'static str, LayerBlob, Expected)> {
    let plain = |name: &str| {
        tar::write(&[Entry {
            path: name.into(),
            kind: b'0',
            content: b"content".to_vec(),
            ..Entry::default()
        }])
    };
    let gzip = |stream: &[u8]| LayerBlob::from_tar(stream, Compression::Gzip);
    let extended = |records: &[u8]| {
        let mut header = tar::write(&[Entry {
            path: b"pax".to_vec(),
            kind: b'0',
            content: records.to_vec(),
            ..Entry::default()
        }]);
        header[156] = b'x';
        checksum(&mut header[..512]);
        header.truncate(512 + records.len().next_multiple_of(512));
        header.extend(plain("file"));
        header
    };
    let mut truncated = plain("file");
    truncated.truncate(600);
    let mut bad_sum = plain("file");
    bad_sum[148] ^= 1;
    let mut cut = gzip(&plain("file"));
    cut.bytes = cut.bytes.slice(..cut.bytes.len() - 9);
    cut.digest = Digest::of(&cut.bytes);
    let mut mislabelled = gzip(&plain("file"));
    mislabelled.bytes = plain("file").into();
    mislabelled.digest = Digest::of(&mislabelled.bytes);
    let mut other_diff_id = gzip(&plain("file"));
    other_diff_id.diff_id = Digest::of(b"another layer");
    vec![
        // A13
        (
            "size-said-twice",
            gzip(&extended(b"13 size=1024\n")),
            Contained,
        ),
        // A14
        (
            "pax-length",
            gzip(&extended(b"99 size=1024\n")),
            Refused("PAX"),
        ),
        (
            "pax-without-value",
            gzip(&extended(b"8 size7\n")),
            Refused("PAX"),
        ),
        (
            "pax-name-out",
            gzip(&extended(b"17 path=../evil1\n")),
            Refused("`..`"),
        ),
        // A15
        (
            "pax-bomb",
            gzip(&extended(&vec![b'x'; 3 << 20])),
            Refused(""),
        ),
        // A34
        ("truncated-archive", gzip(&truncated), Refused("end")),
        ("wrong-checksum", gzip(&bad_sum), Refused("checksum")),
        ("truncated-compression", cut, Refused("")),
        // A20
        ("compression-mislabelled", mislabelled, Refused("gzip")),
        // D15
        (
            "other-diff-id",
            other_diff_id,
            Refused("should decompress to"),
        ),
    ]
}

/// Sums a header up again after it was changed (POSIX ustar: the field itself counts as blanks).
fn checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn hostile_layers_are_refused_or_contained() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let outside = Outside::new(&site);
    let shown = outside.directory.to_str().expect("UTF-8");
    let bare = busybox();
    let mut images: Vec<(&str, Image, Expected)> = Vec::new();
    for (name, layer, expected) in layers(shown) {
        images.push((
            name,
            image().layer_blob(bare.clone()).layer(layer).build(),
            expected,
        ));
    }
    for (name, layer, expected) in streams() {
        images.push((
            name,
            image().layer_blob(bare.clone()).layer_blob(layer).build(),
            expected,
        ));
    }
    let mut wrong = Vec::new();
    for (name, evil, expected) in &images {
        let repository = format!("evil-{name}");
        site.registry.seed(&repository, "1", evil);
        let base = format!("FROM {REGISTRY}/{repository}:1\n");
        let from = format!("FROM scratch\nCOPY --from={REGISTRY}/{repository}:1 / /taken/\n");
        for (kind, text) in [
            (
                "copy",
                base.clone() + "COPY Dockerfile /to/\nWORKDIR /work\n",
            ),
            ("from", from),
            (
                "run",
                base + "RUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo overwritten > /h; : > /made; \
                 ! /bin/busybox head -c 1 /device\"]\n",
            ),
        ] {
            let context = site.context(&format!("{name}-{kind}"), &text);
            let target = format!("made-{name}-{kind}");
            let output = (site.build("hostile", &target, &context, &[]).output()).expect("kiln");
            let said = site.describe(&output);
            let mut broken = |what: String| wrong.push(format!("{name} ({kind}): {what}"));
            let succeeded = output.status.success();
            let refused = match expected {
                Contained => None,
                Refused(words) => Some(words),
                Unusable(words) => (kind == "run" || !succeeded).then_some(words),
            };
            match refused {
                None if !succeeded => broken(format!("not built\n{said}")),
                None => {
                    let made = match validate_image(&site.registry, &target, "1") {
                        Ok(made) => made,
                        Err(error) => {
                            broken(format!("made {error}"));
                            continue;
                        }
                    };
                    let listing: Vec<_> = (made.layers.iter())
                        .flat_map(|layer| &layer.entries)
                        .filter(|entry| entry.content == PRECIOUS.as_bytes())
                        .map(Entry::line)
                        .collect();
                    if !listing.is_empty() {
                        broken(format!("took a file of the host: {listing:?}"));
                    }
                }
                Some(words) => {
                    let hint = format!("/{repository}:1, which is damaged");
                    let stderr = String::from_utf8_lossy(&output.stderr);
                    if output.status.code() != Some(1)
                        || !output.stdout.is_empty()
                        || !stderr.contains(words)
                        || matches!(expected, Refused(_)) && !stderr.contains(&hint)
                        || !stderr.starts_with("error: ")
                    {
                        broken(format!("expected `{words}`\n{said}"));
                    }
                    if !site.registry.tags(&target).is_empty() {
                        broken("published".to_owned());
                    }
                }
            }
            if let Some(change) = outside.changed() {
                broken(change);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    site.verify("hostile");
    let good = site.context(
        "good",
        &format!("FROM {REGISTRY}/base:1\nCOPY Dockerfile /\nRUN cat /Dockerfile\n"),
    );
    site.built("hostile", "good", &good, &[]);
    site.nothing_is_left();
}

/// Something that RUN can run.
fn busybox() -> LayerBlob {
    let program = fs::read("/bin/busybox").expect("busybox, which the site has too");
    let layer = Layer::new().directory("bin", 0o755);
    layer.file_with("bin/busybox", 0o755, program).build()
}

/// A directory of the host that images name and nothing may touch.
struct Outside {
    directory: PathBuf,
    before: String,
}

impl Outside {
    fn new(site: &Site) -> Self {
        let directory = site.path("outside");
        fs::create_dir(&directory).expect("a directory");
        fs::write(directory.join("file"), PRECIOUS).expect("a file");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("ours");
        let before = state(&directory);
        Self { directory, before }
    }

    /// What is different, if anything is.
    fn changed(&self) -> Option<String> {
        let now = state(&self.directory);
        (now != self.before).then(|| format!("outside was {} and is {now}", self.before))
    }
}

fn state(directory: &Path) -> String {
    let line = |path: &Path| {
        let metadata = fs::symlink_metadata(path).expect("metadata");
        format!(
            "{} {:o} {}:{} {}.{} {}\n",
            path.display(),
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ino(),
        )
    };
    let mut text = line(directory);
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        text.push_str(&line(&entry.path()));
        text.push_str(&fs::read_to_string(entry.path()).unwrap_or_default());
    }
    text
}
