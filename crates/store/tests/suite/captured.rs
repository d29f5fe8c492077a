//! Overlays of the real kernel, captured: the layer on top of the lower tree
//! must be what the mounted overlay showed.

use std::fs;
use std::path::Path;
use std::process::Command;

use oci::Compression;
use store::Store;
use store::dir::Dir;
use store::layer::{CaptureOptions, EntryKind, Layer, LayerWriter, Node, Tree, capture};

use crate::{directory, open, options};

/// Times of the lower tree, and of everything that a step changes.
const LOWER_TIME: i64 = 500;
const EPOCH: i64 = 1_000;

fn as_layer(store: &Store, directory: &Path, lower: &Tree, epoch: i64) -> Layer {
    let writer = LayerWriter::create(store, options(Compression::Gzip, 2)).unwrap();
    let upper = Dir::open(directory).unwrap();
    capture(&upper, lower, writer, CaptureOptions { epoch }).unwrap()
}

/// `kind mode size path target` of one entry.
fn line(path: &str, kind: &EntryKind, mode: u32, time: i64) -> String {
    let (letter, detail) = match kind {
        EntryKind::Directory => ("d", String::new()),
        EntryKind::File { size, .. } => ("f", format!(" {size}")),
        EntryKind::Symlink { target } => ("l", format!(" {}", String::from_utf8_lossy(target))),
        EntryKind::HardLink { target } => ("h", format!(" {target}")),
        EntryKind::CharacterDevice { major, minor } => ("c", format!(" {major}:{minor}")),
        EntryKind::BlockDevice { major, minor } => ("b", format!(" {major}:{minor}")),
        EntryKind::Fifo => ("p", String::new()),
        EntryKind::Whiteout => return format!("w {path}"),
        EntryKind::Opaque => return format!("o {path}"),
    };
    format!("{letter} {mode:o} {time} {path}{detail}")
}

/// The merged tree in the words of `find`, below.
fn shown(tree: &Tree) -> Vec<String> {
    let describe = |node: Node<'_>| {
        let content = node.content().unwrap_or(node);
        let metadata = node.metadata();
        let path = node.path().to_string();
        match content.kind() {
            // Links by name are files to everybody but a tar.
            kind @ (EntryKind::File { .. } | EntryKind::Symlink { .. }) => {
                line(&path, kind, metadata.mode, metadata.mtime)
            }
            // Of a device, `find` shows no numbers.
            kind => line(&path, kind, metadata.mode, metadata.mtime)
                .split(' ')
                .take(4)
                .collect::<Vec<_>>()
                .join(" "),
        }
    };
    let mut lines: Vec<_> = tree
        .walk(tree.root().id())
        .filter(|node| !node.path().is_root())
        .map(describe)
        .collect();
    lines.sort();
    lines
}

/// The same of a mounted directory, times clamped.
fn found(listing: &str) -> Vec<String> {
    let mut lines: Vec<_> = listing
        .lines()
        .filter(|line| !line.starts_with("s "))
        .map(|line| {
            let mut words: Vec<&str> = line.split(' ').collect();
            let time = words[2].split('.').next().unwrap().parse::<i64>().unwrap();
            let time = time.min(EPOCH).to_string();
            words[2] = &time;
            words.join(" ")
        })
        .collect();
    lines.sort();
    lines
}

/// Makes a lower tree with one script, changes it in an overlay with another,
/// and compares the entries of the captured layer.
fn check(setup: &str, step: &str, expected: &[&str]) {
    let directory = directory();
    let root = directory.path();
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    let run = |program: &mut Command| program.current_dir(root).output().unwrap();
    let made = run(Command::new("sh").args(["-ec", &format!("cd lower; {setup}")]));
    assert!(made.status.success(), "{made:?}");
    let store = open(root);
    let base = as_layer(&store, &root.join("lower"), &Tree::empty(), LOWER_TIME);
    let lower = Tree::stack(std::slice::from_ref(&base.index));
    let script = format!(
        "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr merged || exit 77
        ( cd merged; {step} ) >&2 || exit 1
        cd merged
        find . -mindepth 1 \\( -type f -printf 'f %m %T@ /%P %s\\n' \\) -o \\( -type l -printf 'l %m %T@ /%P %l\\n' \\) -o -printf '%y %m %T@ /%P\\n' | grep -v '^d [0-9]* [0-9.]* /$'"
    );
    let mounted = Command::new("unshare")
        .args(["-m", "sh", "-ec", &script])
        .current_dir(root)
        .output();
    let mounted = match mounted {
        Ok(mounted) if mounted.status.success() => mounted,
        Ok(mounted) if matches!(mounted.status.code(), Some(77)) || !is_root() => {
            eprintln!(
                "skipped: overlay mounts need root and overlayfs with userxattr: {mounted:?}"
            );
            return;
        }
        Ok(failed) => panic!("{failed:?}"),
        Err(error) => {
            eprintln!("skipped: unshare(1): {error}");
            return;
        }
    };
    let layer = as_layer(&store, &root.join("upper"), &lower, EPOCH);
    let entries: Vec<_> = layer
        .index
        .entries
        .iter()
        .map(|entry| {
            let path = entry.path.to_string();
            line(
                &path,
                &entry.kind,
                entry.metadata.mode,
                entry.metadata.mtime,
            )
        })
        .collect();
    assert_eq!(entries, expected, "{step}");
    let merged = lower.with_layer(layer.index.clone());
    let listing = String::from_utf8(mounted.stdout).unwrap();
    assert_eq!(shown(&merged), found(&listing), "{step}");
    // Captured again, the upper directory is the same layer.
    let again = as_layer(&store, &root.join("upper"), &lower, EPOCH);
    assert_eq!(again.descriptor, layer.descriptor, "{step}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn nothing_changed() {
    check("mkdir -p a/b; echo x > a/b/f", "cat a/b/f; ls -l a", &[]);
}

/// Rows: L1
#[test]
fn files_appear_change_and_go() {
    check(
        "mkdir -p etc/x var; echo 1 > etc/a; echo 2 > etc/b; echo 3 > etc/x/c",
        "echo new > etc/aa; echo more >> etc/b; rm etc/a; touch gone; rm gone",
        &[
            "d 755 1000 /etc",
            "w /etc/a",
            "f 644 1000 /etc/aa 4",
            "f 644 1000 /etc/b 7",
        ],
    );
}

/// Rows: L10
#[test]
fn a_change_deep_down_brings_its_directories() {
    check(
        "mkdir -p a/b/c other; echo x > a/b/c/f; chmod 700 a/b",
        "chmod 600 a/b/c/f",
        &[
            "d 755 500 /a",
            "d 700 500 /a/b",
            "d 755 500 /a/b/c",
            "f 600 500 /a/b/c/f 2",
        ],
    );
}

/// Rows: L2
#[test]
fn a_directory_made_anew_hides_what_was_in_it() {
    check(
        "mkdir -p d/sub/deep d/sub2; echo 1 > d/old; echo 2 > d/keep; echo 3 > d/sub/x; echo 4 > d/sub/deep/y",
        "rm -rf d; mkdir -p d/sub; echo new > d/keep; echo n > d/sub/n",
        &[
            "d 755 1000 /d",
            "f 644 1000 /d/keep 4",
            "w /d/old",
            "d 755 1000 /d/sub",
            "w /d/sub/deep",
            "f 644 1000 /d/sub/n 2",
            "w /d/sub/x",
            "w /d/sub2",
        ],
    );
}

/// Rows: L5
#[test]
fn one_kind_takes_the_place_of_another() {
    check(
        "mkdir -p d/in; echo 1 > d/in/f; echo 2 > f; ln -s f l; mkdir e; echo 3 > e/x",
        "rm -rf d e; echo file > d; rm f; mkdir f; echo in > f/in; rm l; mkfifo l; ln -s d e",
        &[
            "f 644 1000 /d 5",
            "l 777 1000 /e d",
            "d 755 1000 /f",
            "f 644 1000 /f/in 3",
            "p 644 1000 /l",
        ],
    );
}

/// Rows: L8, L9
#[test]
fn links_devices_modes_and_holes() {
    check(
        "mkdir d; echo 1 > d/one; ln d/one d/two",
        "echo x > b; ln b a; ln b d/c; mknod null c 1 3; mknod disk b 7 200; mkfifo pipe; \
         cp /bin/true s; chmod 4755 s; : > s; chmod 4755 s; mkdir t; chmod 1777 t; \
         truncate -s 3M hole; echo 2 >> d/two; ln -s /etc/passwd link",
        &[
            "f 644 1000 /a 2",
            "h 644 1000 /b /a",
            "d 755 1000 /d",
            "h 644 1000 /d/c /a",
            "f 644 1000 /d/two 4",
            "b 644 1000 /disk 7:200",
            "f 644 1000 /hole 3145728",
            "l 777 1000 /link /etc/passwd",
            "c 644 1000 /null 1:3",
            "p 644 1000 /pipe",
            "f 4755 1000 /s 0",
            "d 1777 1000 /t",
        ],
    );
}

/// Rows: L1, L14
#[test]
fn a_directory_renamed_is_copied_and_its_old_name_hidden() {
    check(
        "mkdir -p old/in; echo 1 > old/in/f",
        "mv old new 2>/dev/null || { cp -a old new; rm -rf old; }",
        &[
            "d 755 500 /new",
            "d 755 500 /new/in",
            "f 644 500 /new/in/f 2",
            "w /old",
        ],
    );
}

/// Rows: L5
#[test]
fn directories_whose_metadata_changed_are_kept() {
    check(
        "mkdir -p a b c; echo x > c/f",
        "chmod 700 a; touch -d @300 b; touch c/g; rm c/g",
        &["d 700 500 /a", "d 755 300 /b", "d 755 1000 /c"],
    );
}

/// Rows: C19
#[test]
fn capabilities_lose_their_namespace_and_other_attributes_are_dropped() {
    let directory = directory();
    let root = directory.path();
    let upper = root.join("upper");
    fs::create_dir(&upper).unwrap();
    let file = upper.join("ping");
    fs::write(&file, "x").unwrap();
    let mut version_3 = [0u8; 24];
    version_3[..8].copy_from_slice(&[1, 0, 0, 3, 0, 0x20, 0, 0]);
    version_3[20..].copy_from_slice(&100_000_u32.to_le_bytes());
    let set = |name: &str, value: &[u8]| {
        rustix::fs::setxattr(&file, name, value, rustix::fs::XattrFlags::empty())
    };
    if set("security.capability", &version_3).is_err() || set("user.mine", b"x").is_err() {
        eprintln!("skipped: file capabilities need root, attributes a file system with them");
        return;
    }
    let store = open(root);
    let layer = as_layer(&store, &upper, &Tree::empty(), EPOCH);
    let metadata = layer.index.entries.metadata(0);
    let attributes: Vec<_> = metadata.xattrs.iter().collect();
    let mut version_2 = version_3[..20].to_vec();
    version_2[3] = 2;
    let name: Box<[u8]> = b"security.capability".as_slice().into();
    assert_eq!(attributes, [(&name, &version_2.into_boxed_slice())]);
}

/// Rows: L3
#[test]
fn a_file_named_like_a_whiteout_is_an_error_that_names_it() {
    let directory = directory();
    let upper = directory.path().join("upper");
    fs::create_dir_all(upper.join("d")).unwrap();
    fs::write(upper.join("d/.wh.x"), "").unwrap();
    let store = open(directory.path());
    let writer = LayerWriter::create(&store, options(Compression::Gzip, 1)).unwrap();
    let upper = Dir::open(&upper).unwrap();
    let error = capture(
        &upper,
        &Tree::empty(),
        writer,
        CaptureOptions { epoch: EPOCH },
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("`/d/.wh.x` cannot")
    );
}

#[test]
fn a_socket_is_left_out_but_still_hides() {
    check(
        "echo 1 > s; echo 2 > keep",
        "rm s; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")' 2>/dev/null || rm -f s",
        &["w /s"],
    );
}

#[test]
fn a_directory_that_was_only_copied_up_is_no_change_even_of_a_later_time() {
    let directory = directory();
    let root = directory.path();
    let store = open(root);
    let set_time = |path: &Path, seconds: u64| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    };
    let time = |path: &Path| rustix::fs::stat(path).unwrap().st_mtime;
    for (name, seconds) in [("lower", 5_000), ("upper", 5_000), ("touched", 7_000)] {
        fs::create_dir_all(root.join(name).join("etc")).unwrap();
        set_time(&root.join(name).join("etc"), seconds);
    }
    let base = as_layer(&store, &root.join("lower"), &Tree::empty(), 10_000);
    let lower = Tree::stack(std::slice::from_ref(&base.index));

    let upper = as_layer(&store, &root.join("upper"), &lower, EPOCH);
    assert_eq!(upper.index.entries.len(), 0);
    assert_eq!(time(&root.join("upper/etc")), 5_000);

    let touched = as_layer(&store, &root.join("touched"), &lower, EPOCH);
    assert_eq!(touched.index.entries.len(), 1);
    assert_eq!(time(&root.join("touched/etc")), EPOCH);
}
