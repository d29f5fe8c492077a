//! Parts of layers, read without the rest: what comes out is what is in the tar, for streams of
//! every common writer, or it is an error.

use std::io::Write as _;
use std::process::{Command, Stdio};

use oci::{Compression, Digest};
use store::layer::{Limits, ScanOptions, Scanned, SeekTable, TableError, scan};
use testkit::tar::{Entry, write};

fn scanned(blob: &[u8], compression: Compression) -> Scanned {
    let options = ScanOptions {
        compression,
        expected_blob: None,
        expected_diff_id: None,
        limits: Limits::default(),
        unpack: None,
    };
    scan(blob, options).unwrap()
}

/// Numbers that look like chance and are always the same.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A tar with a file of words, one of zeros and one of noise, of about `megabytes` each.
fn tar(megabytes: usize) -> Vec<u8> {
    let mut dice = Dice(0x1234_5678_9abc_def1);
    let mut words = Vec::new();
    while words.len() < megabytes << 20 {
        let word = dice.next(5_000);
        write!(words, "{word:x} and {} ", word * word).unwrap();
    }
    let zeros = vec![0; megabytes << 20];
    let mut noise = Vec::new();
    while noise.len() < megabytes << 20 {
        noise.extend_from_slice(&dice.next(u64::MAX).to_le_bytes());
    }
    write(&[
        file("words", words),
        file("zeros", zeros),
        file("noise", noise),
    ])
}

fn file(name: &str, content: Vec<u8>) -> Entry {
    Entry {
        path: name.into(),
        kind: b'0',
        mode: 0o644,
        content,
        ..Entry::default()
    }
}

/// What a program makes of `input`; `None` where it is not installed.
fn through(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: no program `{program}`");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{program}");
    Some(output.stdout)
}

/// gzip members or zstd frames of `bytes` each.
fn in_parts(tar: &[u8], bytes: usize, compress: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let parts: Vec<_> = tar.chunks(bytes).map(compress).collect();
    parts.concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Spans one by one and in runs have the bytes of the tar. Returns how many bytes of blob it takes
/// to get one span, at most.
fn check(what: &str, tar: &[u8], blob: &[u8], compression: Compression) -> u64 {
    let table = scanned(blob, compression).table;
    assert_eq!(table.tar_bytes(), tar.len() as u64, "{what}");
    assert_eq!(table.blob_bytes(), blob.len() as u64, "{what}");
    let digest = Digest::of(blob);
    let bytes = table.encode(&digest);
    let again = SeekTable::decode_table(&bytes, &digest, blob.len() as u64);
    assert_eq!(again.as_ref(), Ok(&table), "{what}");
    let mut most = 0;
    let mut at = 0;
    for span in 0..table.len() {
        let range = table.tar_range(span);
        assert_eq!(range.start, at, "{what}");
        at = range.end;
        for end in [span + 1, table.len().min(span + 3)] {
            let spans = span..end;
            let part = table.blob_range(&spans);
            if end == span + 1 {
                most = most.max(part.end - part.start);
            }
            let part = &blob[part.start as usize..part.end as usize];
            let mut next = span;
            let read = table.decode(spans.clone(), part, &mut |span, content| {
                assert_eq!(span, next, "{what}");
                next += 1;
                let range = table.tar_range(span);
                let expected = &tar[range.start as usize..range.end as usize];
                assert!(
                    content == expected,
                    "{what}: span {span} of {}",
                    table.len()
                );
            });
            read.unwrap_or_else(|error| panic!("{what}: {spans:?}: {error:?}"));
            assert_eq!(next, end, "{what}");
        }
    }
    assert_eq!(at, tar.len() as u64, "{what}");
    most
}

#[test]
fn any_part_of_a_stream_of_any_writer() {
    let tar = tar(5);
    let third = tar.len() as u64 / 3;
    let check_small = |what: &str, blob: Option<Vec<u8>>, compression| {
        if let Some(blob) = blob {
            let most = check(what, &tar, &blob, compression);
            assert!(most < third, "{what}: {most} bytes for one span");
        }
    };
    check_small("plain", Some(tar.clone()), Compression::None);
    for level in ["-1", "-6", "-9"] {
        let blob = through("gzip", &["-nc", level], &tar);
        check_small(&format!("gzip {level}"), blob, Compression::Gzip);
    }
    for script in [
        "import sys,gzip; sys.stdout.buffer.write(gzip.compress(sys.stdin.buffer.read(), 6))",
        "import sys,zlib; c = zlib.compressobj(6, zlib.DEFLATED, 31, 9, zlib.Z_FIXED); \
         d = sys.stdin.buffer.read(); \
         sys.stdout.buffer.write(c.compress(d[:4000000]) + c.flush(zlib.Z_SYNC_FLUSH) \
         + c.compress(d[4000000:]) + c.flush())",
        "import sys,gzip; g = gzip.GzipFile('a name', 'wb', 0, sys.stdout.buffer); \
         g.write(sys.stdin.buffer.read()); g.close()",
    ] {
        let blob = through("python3", &["-c", script], &tar);
        check_small(script, blob, Compression::Gzip);
    }
    let members = in_parts(&tar, 100_000, gzip);
    check_small("small members", Some(members), Compression::Gzip);
    let members = in_parts(&tar, 1 << 20, gzip);
    check_small("our members", Some(members), Compression::Gzip);
    let members = in_parts(&tar, 8_000_000, gzip);
    check_small("large members", Some(members), Compression::Gzip);
    let frame = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).unwrap();
    let frames = in_parts(&tar, 1 << 20, frame);
    check_small("our frames", Some(frames), Compression::Zstd);
    // A frame to be skipped is no place where nothing begins.
    let skipped = [
        &[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..],
        &in_parts(&tar, 1_500_000, frame),
    ]
    .concat();
    check_small("a frame to be skipped", Some(skipped), Compression::Zstd);
    // Of one frame only the beginning is a place to begin.
    check("one frame", &tar, &frame(&tar), Compression::Zstd);
}

#[test]
fn small_layers_are_one_span() {
    let tar = write(&[file("a", b"hello".to_vec())]);
    for (blob, compression) in [
        (tar.clone(), Compression::None),
        (gzip(&tar), Compression::Gzip),
        (zstd::bulk::compress(&tar, 3).unwrap(), Compression::Zstd),
    ] {
        assert_eq!(check("small", &tar, &blob, compression), blob.len() as u64);
    }
}

#[test]
fn a_part_that_was_changed_is_refused() {
    let tar = tar(4);
    for (blob, compression) in [
        (tar.clone(), Compression::None),
        (gzip(&tar), Compression::Gzip),
        (in_parts(&tar, 1 << 20, gzip), Compression::Gzip),
        (
            in_parts(&tar, 1 << 20, |b| zstd::bulk::compress(b, 3).unwrap()),
            Compression::Zstd,
        ),
    ] {
        let table = scanned(&blob, compression).table;
        let mut dice = Dice(7);
        for _ in 0..60 {
            let span = dice.next(table.len() as u64) as usize;
            let range = table.blob_range(&(span..span + 1));
            let mut part = blob[range.start as usize..range.end as usize].to_vec();
            let at = dice.next(part.len() as u64) as usize;
            let bit = 1 << dice.next(8);
            part[at] ^= bit;
            let expected = table.tar_range(span);
            let expected = &tar[expected.start as usize..expected.end as usize];
            // A checksum of gzip, a name in its header or a bit of the block in front may change;
            // what comes out may not.
            let _ = table.decode(span..span + 1, &part[..], &mut |_, content| {
                assert!(content == expected, "{compression:?} {span} {at}");
            });
            let cut = &part[..at];
            let _ = table.decode(span..span + 1, cut, &mut |_, content| {
                assert!(content == expected, "{compression:?} {span} {at}");
            });
            let nothing = table.decode(span..span + 1, &b""[..], &mut |_, _| panic!("nothing"));
            assert!(nothing.is_err());
        }
    }
}

#[test]
fn a_table_that_was_changed_is_no_table() {
    let tar = tar(5);
    let blob = gzip(&tar);
    let (digest, size) = (Digest::of(&blob), blob.len() as u64);
    let good = scanned(&blob, Compression::Gzip).table.encode(&digest);
    for at in (0..good.len()).step_by(97).chain(0..80) {
        let mut bad = good.clone();
        bad[at] ^= 4;
        assert!(
            SeekTable::decode_table(&bad, &digest, size).is_err(),
            "{at}"
        );
        assert!(SeekTable::decode_table(&good[..at], &digest, size).is_err());
    }
    let other = Digest::of(b"other");
    let damaged = Err(TableError::Damaged);
    assert_eq!(SeekTable::decode_table(&good, &other, size), damaged);
    assert_eq!(SeekTable::decode_table(&good, &digest, size + 1), damaged);
    let mut future = good;
    future[8] = 9;
    let version = Err(TableError::Version(9));
    assert_eq!(SeekTable::decode_table(&future, &digest, size), version);
}
