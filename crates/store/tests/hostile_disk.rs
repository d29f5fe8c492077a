//! A disk that changes while kiln works on it, links that lie in wait there, and
//! archives made by another program. Nothing outside may change.

#![allow(clippy::print_stderr)] // a skipped test says why

mod hostile_support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use hostile_support::{Cage, Header, Tar, gzip, index, is_root, picture, tree, zstd};
use oci::Digest;
use store::dir::{Dir, RemoveError};
use store::layer::{
    Archive, ArchiveError, ArchiveKind, ContentHash, EntryKind, EntryPath, Limits, Node, Piece,
    Wrapping,
};

/// How often the race is run; each round has a hundred chances.
const RACE_ROUNDS: usize = 40;

#[test]
fn a28_somebody_swaps_a_directory_for_a_link_meanwhile() {
    let mut tar = Tar::new();
    for at in 0..100 {
        tar = tar
            .raw(Header::new("d/", b'5').mode(0o755), b"")
            .file(&format!("d/f{at}"), b"x")
            .symlink(&format!("d/l{at}"), "target")
            .file(&format!("e/g{at}"), b"y");
    }
    let tar = tar.end();
    let cage = Cage::new();
    let done = AtomicBool::new(false);
    let root = cage.root();
    let (d, aside) = (root.join("d"), root.join("aside"));
    let mut finished = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Any step may find that it came at a bad moment.
                let _ = fs::rename(&d, &aside);
                let _ = symlink(cage.outside(), &d);
                std::thread::yield_now();
                let _ = fs::remove_file(&d);
                let _ = fs::rename(&aside, &d);
            }
        });
        for _ in 0..RACE_ROUNDS {
            // Looks that nothing outside changed, whether it fails or not.
            finished += usize::from(cage.unpack(&tar, None).is_ok());
        }
        done.store(true, Ordering::Relaxed);
    });
    eprintln!("{finished} of {RACE_ROUNDS} rounds finished");
    cage.assert_untouched("the race");
}

#[test]
fn links_that_wait_in_the_target_are_replaced_or_refused() {
    let cage = Cage::new();
    let outside = cage.outside();
    symlink(format!("{outside}/file"), cage.root().join("f")).unwrap();
    symlink(&outside, cage.root().join("d")).unwrap();
    symlink(format!("{outside}/file"), cage.root().join("p")).unwrap();
    let tar = Tar::new()
        .file("f", b"new")
        .dir("d")
        .file("d/file", b"new")
        .raw(Header::new("p", b'6').mode(0o777).mtime(1), b"")
        .end();
    cage.unpack(&tar, None).unwrap();
    assert!(
        fs::symlink_metadata(cage.root().join("d"))
            .unwrap()
            .is_dir()
    );
}

#[test]
fn removing_follows_no_link_and_opens_what_is_closed() {
    let cage = Cage::new();
    let root = cage.root();
    fs::create_dir_all(root.join("t/closed/deep")).unwrap();
    fs::write(root.join("t/closed/deep/file"), b"").unwrap();
    symlink(cage.outside(), root.join("t/link")).unwrap();
    symlink(cage.outside(), root.join("t/closed/link")).unwrap();
    fs::set_permissions(
        root.join("t/closed/deep"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    fs::set_permissions(root.join("t/closed"), fs::Permissions::from_mode(0o500)).unwrap();
    let handle = Dir::open(&root).unwrap();
    handle.remove_tree(b"t").unwrap();
    handle.remove_tree(b"t").unwrap();
    assert!(handle.is_empty().unwrap());
    symlink(cage.outside(), root.join("only")).unwrap();
    handle.remove_tree(b"only").unwrap();
    assert!(handle.is_empty().unwrap());
    cage.assert_untouched("removing");
}

#[test]
fn c15_removing_stops_at_a_mount() {
    let cage = Cage::new();
    let root = cage.root();
    fs::create_dir_all(root.join("t/a/mnt")).unwrap();
    let mounted = Command::new("mount")
        .args(["--bind", &cage.outside()])
        .arg(root.join("t/a/mnt"))
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mount(8) needs root");
        return;
    }
    let result = Dir::open(&root).unwrap().remove_tree(b"t");
    let unmounted = Command::new("umount").arg(root.join("t/a/mnt")).status();
    assert!(unmounted.unwrap().success());
    match result {
        Err(RemoveError::MountPoint { path }) => assert_eq!(path, "t/a/mnt"),
        other => panic!("{other:?}"),
    }
    cage.assert_untouched("removing");
    Dir::open(&root).unwrap().remove_tree(b"t").unwrap();
}

#[test]
fn handles_take_one_name_and_never_leave() {
    let cage = Cage::new();
    let handle = Dir::open(&cage.root()).unwrap();
    symlink(cage.outside(), cage.root().join("link")).unwrap();
    for name in [&b".."[..], b".", b"", b"a/b", b"/etc", b"link/x"] {
        assert!(handle.create_file(name, 0o600).is_err(), "{name:?}");
        assert!(handle.create_dir(name, 0o700).is_err(), "{name:?}");
        assert!(handle.remove_tree(name).is_err(), "{name:?}");
        assert!(handle.stat(name).is_err(), "{name:?}");
    }
    for path in [&b"../outside"[..], b"link", b"link/dir", b"/", b"/etc"] {
        assert!(handle.open_dir(path).is_err(), "{path:?}");
    }
    for path in [&b"link/file"[..], b"../outside/file", b"/etc/passwd"] {
        assert!(handle.open_file(path).is_err(), "{path:?}");
    }
    let pipe = rustix_fifo(&cage.root().join("pipe"));
    if pipe {
        assert!(handle.open_file(b"pipe").is_err(), "and it did not wait");
    }
    cage.assert_untouched("opening");
}

fn rustix_fifo(path: &Path) -> bool {
    Command::new("mkfifo")
        .arg(path)
        .status()
        .is_ok_and(|status| status.success())
}

/// A tree with everything that is awkward in a tar.
fn awkward(root: &Path) {
    let long = "n".repeat(200);
    let deep = format!("{}/{}/{}", "a".repeat(90), "b".repeat(90), "c".repeat(90));
    fs::create_dir_all(root.join(&deep)).unwrap();
    fs::write(root.join(&deep).join("file"), b"deep").unwrap();
    fs::write(root.join(&long), b"long").unwrap();
    fs::write(root.join("umlaut-ä-\u{1f525}"), b"utf8").unwrap();
    fs::write(root.join("line\nbreak = and\ttab"), b"odd").unwrap();
    symlink("x".repeat(180), root.join("long-link")).unwrap();
    symlink("/absolute", root.join("absolute-link")).unwrap();
    fs::write(root.join("exec"), b"#!").unwrap();
    fs::set_permissions(root.join("exec"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("exec"), root.join("exec2")).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::create_dir(root.join("sticky")).unwrap();
    fs::set_permissions(root.join("sticky"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(root.join("block"), vec![7; 512 * 3]).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(9 << 20).unwrap();
    for at in 0..40 {
        use std::os::unix::fs::FileExt;
        sparse
            .write_at(&[at; 100], u64::from(at) * 200_000)
            .unwrap();
    }
}

/// What one can compare of two trees: no inodes, no change times.
fn essence(root: &Path) -> Vec<String> {
    picture(root)
        .keys()
        .map(|path| {
            let metadata = fs::symlink_metadata(path).unwrap();
            let content = if metadata.is_file() {
                Digest::of(&fs::read(path).unwrap()).to_string()
            } else if metadata.is_symlink() {
                format!("{:?}", fs::read_link(path).unwrap())
            } else {
                String::new()
            };
            let links = if metadata.is_dir() {
                0
            } else {
                metadata.nlink()
            };
            format!(
                "{:?} {:o} {}:{} {} {links} {content}",
                path.strip_prefix(root).unwrap(),
                metadata.mode(),
                metadata.uid(),
                metadata.gid(),
                metadata.mtime(),
            )
        })
        .collect()
}

#[test]
fn what_gnu_tar_packs_comes_out_the_same() {
    let source = tempfile::tempdir().unwrap();
    awkward(source.path());
    let formats: [(&str, &[&str]); 6] = [
        ("gnu", &[]),
        ("gnu", &["--sparse"]),
        ("pax", &[]),
        ("pax", &["--sparse", "--sparse-version=0.0"]),
        ("pax", &["--sparse", "--sparse-version=0.1"]),
        ("pax", &["--sparse", "--sparse-version=1.0"]),
    ];
    for (format, options) in formats {
        let packed = Command::new("tar")
            .arg(format!("--format={format}"))
            .args(options)
            .args(["-c", "-C"])
            .arg(source.path())
            .arg(".")
            .output();
        let Ok(packed) = packed else {
            eprintln!("skipped: no program `tar`");
            return;
        };
        assert!(packed.status.success(), "{packed:?}");
        let cage = Cage::new();
        let read = cage.unpack(&packed.stdout, None).unwrap();
        assert!(!read.implicit_parents, "{format} {options:?}");
        assert_eq!(
            essence(&cage.root()),
            essence(source.path()),
            "{format} {options:?}"
        );
        // The merged tree knows the same, without a disk.
        let seen = tree(&[&packed.stdout]);
        let root = seen.root().id();
        for node in seen.walk(root) {
            let on_disk = cage.inside(&String::from_utf8_lossy(node.path().as_bytes()));
            let metadata = fs::symlink_metadata(&on_disk).unwrap();
            assert_eq!(
                node.metadata().mode,
                metadata.mode() & 0o7777,
                "{on_disk:?}"
            );
            assert_eq!(node.metadata().mtime, metadata.mtime(), "{on_disk:?}");
            if let EntryKind::File { size, content } = node.content().unwrap().kind() {
                assert_eq!(*size, metadata.size());
                let bytes = fs::read(&on_disk).unwrap();
                assert_eq!(*content, ContentHash::of(&bytes));
                assert_eq!(in_tar(&packed.stdout, node.content().unwrap()), bytes);
            }
        }
        assert_eq!(seen.walk(root).count(), essence(source.path()).len());
    }
}

/// A file's content, taken from where the index says that it lies.
fn in_tar(tar: &[u8], node: Node<'_>) -> Vec<u8> {
    let extent = node.extent().unwrap();
    let mut content = Vec::new();
    for piece in extent.pieces(0, u64::MAX) {
        match piece {
            Piece::Zeros(bytes) => content.resize(content.len() + bytes as usize, 0),
            Piece::Tar { offset, bytes } => {
                content.extend_from_slice(&tar[offset as usize..][..bytes as usize]);
            }
        }
    }
    content
}

fn entries(bytes: &[u8]) -> Result<Option<Vec<(String, u64)>>, ArchiveError> {
    let Some(mut archive) = Archive::open(bytes, Limits::default())? else {
        return Ok(None);
    };
    let mut seen = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut archive, &mut content).map_err(ArchiveError::Read)?;
        if let ArchiveKind::File { size } = entry.kind {
            assert_eq!(size, content.len() as u64);
        }
        seen.push((entry.path.to_string(), content.len() as u64));
    }
    Ok(Some(seen))
}

#[test]
fn c22_an_archive_is_known_by_its_content() {
    let tar = Tar::new()
        .dir("./")
        .file("f", &[b'x'; 300_000])
        .pax(&[("GNU.sparse.size", b"100"), ("GNU.sparse.map", b"10,10")])
        .raw(Header::new("sparse", b'0').size(10), &[7; 10])
        .end();
    let expected = vec![
        ("/".to_owned(), 0),
        ("/f".to_owned(), 300_000),
        ("/sparse".to_owned(), 100),
    ];
    let mut wrapped = vec![
        (Wrapping::Plain, tar.clone()),
        (Wrapping::Gzip, gzip(&tar)),
        (Wrapping::Zstd, zstd(&tar)),
    ];
    for (wrapping, program) in [(Wrapping::Xz, "xz"), (Wrapping::Bzip2, "bzip2")] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tar");
        fs::write(&file, &tar).unwrap();
        match Command::new(program).arg("-c").arg(&file).output() {
            Ok(output) if output.status.success() => wrapped.push((wrapping, output.stdout)),
            _ => eprintln!("skipped: no program `{program}`"),
        }
    }
    for (wrapping, bytes) in wrapped {
        let archive = Archive::open(&bytes[..], Limits::default()).unwrap();
        assert_eq!(archive.unwrap().wrapping(), wrapping);
        assert_eq!(
            entries(&bytes).unwrap().as_ref(),
            Some(&expected),
            "{wrapping:?}"
        );
        // Cut off it is still an archive, and an error.
        let cut = entries(&bytes[..bytes.len() - bytes.len() / 3]);
        assert!(!matches!(cut, Ok(Some(_))), "{wrapping:?}");
    }
    // These are copied as they are.
    for bytes in [
        &b""[..],
        b"text that is no archive",
        &gzip(b"a compressed text"),
        &[0; 1024],
        &[0x1f, 0x8b, 0, 0],
        &[0xfd, b'7', b'z', b'X', b'Z', 0, 1, 2],
        &[b'B', b'Z', b'h', b'9', 0, 0, 0, 0, 0],
    ] {
        assert_eq!(entries(bytes).unwrap(), None, "{bytes:?}");
    }
}

#[test]
fn an_archive_brings_no_whiteouts_and_no_escape() {
    let marked = Tar::new().file("ok", b"").file("d/.wh.x", b"").end();
    assert!(matches!(entries(&marked), Err(ArchiveError::Whiteout(_))));
    let escaping = Tar::new().file("ok", b"").file("../x", b"").end();
    assert!(matches!(entries(&escaping), Err(ArchiveError::Entry(_))));
    let mut bomb = Tar::new().file("ok", b"").0;
    bomb.resize(600 << 20, 0);
    let limits = Limits {
        tar_bytes: 1 << 20,
        ..Limits::default()
    };
    let packed = zstd(&bomb);
    let mut archive = Archive::open(&packed[..], limits).unwrap().unwrap();
    archive.next_entry().unwrap();
    assert!(matches!(
        archive.next_entry(),
        Err(ArchiveError::Refused(_))
    ));
}

#[test]
fn paths_resolve_inside_the_tree() {
    use store::layer::{Follow, ResolveError};
    let lower = Tar::new()
        .dir("usr")
        .dir("usr/bin")
        .file("usr/bin/sh", b"")
        .symlink("bin", "usr/bin")
        .symlink("up", "../../../usr")
        .symlink("abs", "/usr/bin")
        .symlink("dangling", "/nowhere/at/all")
        .symlink("loop", "loop")
        .end();
    let seen = tree(&[&lower]);
    let check = |path: &str, follow, expected: Result<&str, ()>| {
        let resolved = seen.resolve(path.as_bytes(), follow).map_err(|_| ());
        let shown = resolved.map(|r| {
            let missing: Vec<_> = r
                .missing
                .iter()
                .map(|m| String::from_utf8_lossy(m))
                .collect();
            format!("{}|{}", r.path, missing.join("/"))
        });
        assert_eq!(shown.as_deref(), expected.as_ref().copied(), "{path}");
    };
    check("/", Follow::All, Ok("/|"));
    check("", Follow::All, Ok("/|"));
    check("bin/sh", Follow::All, Ok("/usr/bin/sh|"));
    check("/bin", Follow::All, Ok("/usr/bin|"));
    check("/bin", Follow::AllButLast, Ok("/bin|"));
    check("/bin/", Follow::AllButLast, Ok("/usr/bin|"));
    check("up/bin/sh", Follow::All, Ok("/usr/bin/sh|"));
    check("abs/../bin/sh", Follow::All, Ok("/usr/bin/sh|"));
    check("../../../bin/sh", Follow::All, Ok("/usr/bin/sh|"));
    check("dangling/x", Follow::All, Ok("/|nowhere/at/all/x"));
    check("usr/new/../other", Follow::All, Ok("/usr|other"));
    check("usr/new/../../bin", Follow::All, Ok("/usr/bin|"));
    check("loop", Follow::All, Err(()));
    check("loop", Follow::AllButLast, Ok("/loop|"));
    check("usr/bin/sh/x", Follow::All, Err(()));
    assert!(matches!(
        seen.resolve(b"usr/bin/sh/x", Follow::All),
        Err(ResolveError::NotDirectory { .. })
    ));
    let deep = seen.resolve(b"bin/a/b", Follow::All).unwrap();
    assert_eq!(deep.found(), None);
    assert_eq!(
        deep.full_path().unwrap(),
        EntryPath::parse(b"usr/bin/a/b").unwrap()
    );
}

#[test]
fn layers_on_layers() {
    let base = Tar::new()
        .dir("d")
        .file("d/a", b"a")
        .hard_link("d/b", "d/a")
        .symlink("l", "d")
        .end();
    // Through the link of the layer below; one name of two replaced.
    let second = Tar::new().file("l/c", b"c").file("d/a", b"new").end();
    let third = Tar::new()
        .file(".wh.l", b"")
        .raw(Header::new("d/", b'5').mode(0o700), b"")
        .end();
    let names = |layers: &[&[u8]]| {
        let tree = tree(layers);
        let root = tree.root().id();
        tree.walk(root)
            .map(|node| format!("{} {:?}", node.path(), node.layer()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&[&base, &second]),
        [
            "/ None",
            "/d Some(0)",
            "/d/a Some(1)",
            "/d/b Some(0)",
            "/d/c Some(1)",
            "/l Some(0)"
        ]
    );
    assert_eq!(
        names(&[&base, &second, &third]),
        [
            "/ None",
            "/d Some(2)",
            "/d/a Some(1)",
            "/d/b Some(0)",
            "/d/c Some(1)"
        ]
    );
    let both = tree(&[&base, &second]);
    let node = |path: &[u8]| both.lookup(&EntryPath::parse(path).unwrap()).unwrap();
    // The other name still means the first content.
    let content = node(b"d/b").content().unwrap();
    assert_eq!(content.layer(), Some(0));
    assert_ne!(content.id(), node(b"d/a").id());
    assert!(index(&second).implicit_parents);
    assert!(!index(&base).needs_lower());
    assert!(index(&third).needs_lower());
    // Unpacked above the first, the second's directory has the first's mode.
    let cage = Cage::new();
    let restricted = Tar::new()
        .raw(Header::new("d", b'5').mode(0o751).mtime(42), b"")
        .end();
    let lower = tree(&[&restricted]);
    cage.unpack(&Tar::new().file("d/x", b"").end(), Some(&lower))
        .unwrap();
    let made = fs::metadata(cage.root().join("d")).unwrap();
    assert_eq!((made.mode() & 0o7777, made.mtime()), (0o751, 42));
    if !is_root() {
        eprintln!("skipped: owners need root");
    }
}

/// What a kernel makes of unpacked layers, the lowest first.
fn mounted(layers: &[&[u8]]) -> Option<Vec<String>> {
    let mut below = store::layer::Tree::empty();
    let mut cages = Vec::new();
    for layer in layers {
        let cage = Cage::new();
        let index = cage.unpack(layer, Some(&below)).unwrap();
        below = below.with_layer(std::sync::Arc::new(index));
        cages.push(cage);
    }
    let lower: Vec<_> = cages
        .iter()
        .rev()
        .map(|cage| cage.root().to_str().unwrap().to_owned())
        .collect();
    let place = tempfile::tempdir().unwrap();
    let script = "mount -t overlay overlay -o \"ro,userxattr,lowerdir=$1\" \"$2\" \
                  && find \"$2\" -printf '/%P %m %T@\\n'";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh", &lower.join(":")])
        .arg(place.path())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8(output.stdout).unwrap();
            let mut lines: Vec<_> = text
                .lines()
                .map(|line| line.split('.').next().unwrap().to_owned())
                .collect();
            lines.sort();
            Some(lines)
        }
        other => {
            eprintln!("skipped: overlayfs cannot be mounted: {other:?}");
            None
        }
    }
}

#[test]
fn the_kernel_sees_what_the_tree_says() {
    let base = Tar::new()
        .raw(Header::new("d/", b'5').mode(0o751).mtime(5), b"")
        .file("d/a", b"")
        .file("d/b", b"")
        .dir("d/s")
        .file("d/s/x", b"")
        .dir("e")
        .file("e/one", b"")
        .symlink("l", "d/s")
        .file("f", b"")
        .end();
    let uppers = [
        Tar::new().file("d/.wh.a", b"").file("d/.wh.s", b""),
        Tar::new().file(".wh.d", b"").file("d/new", b""),
        Tar::new().file("d/new", b"").file(".wh.d", b""),
        Tar::new().file("e/.wh..wh..opq", b"").file("e/two", b""),
        Tar::new().file("e/two", b"").file("e/.wh..wh..opq", b""),
        Tar::new().file("l/through", b"").file("l/.wh.x", b""),
        Tar::new().file("d/s/.wh.x", b"").file(".wh.d", b""),
        Tar::new()
            .file("d/s/.wh.x", b"")
            .file("d/.wh..wh..opq", b""),
        Tar::new().file("d", b"").dir("d").file("d/n", b""),
        Tar::new().file("f/below", b""),
        Tar::new().file(".wh..wh..opq", b"").file("only", b""),
        Tar::new()
            .file(".wh.f", b"")
            .file("f", b"")
            .file(".wh.none", b""),
        Tar::new().dir("l").file("l/own", b""),
    ];
    let middle = Tar::new().file("d/.wh.b", b"").file("e/mid", b"").end();
    for (at, upper) in uppers.into_iter().enumerate() {
        let upper = upper.end();
        for stack in [&[&base[..], &upper][..], &[&base[..], &middle, &upper]] {
            let Some(seen) = mounted(stack) else { return };
            let tree = tree(stack);
            let mut expected: Vec<_> = tree
                .walk(tree.root().id())
                .map(|node| {
                    let metadata = node.metadata();
                    let mode = match node.kind() {
                        EntryKind::Symlink { .. } => 0o777,
                        _ => metadata.mode,
                    };
                    format!("{} {mode:o} {}", node.path(), metadata.mtime)
                })
                .collect();
            expected.sort();
            assert_eq!(seen, expected, "upper layer {at}");
        }
    }
}
