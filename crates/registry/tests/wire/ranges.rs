//! Parts of blobs: exactly the part that was asked for, or an error that says what the registry
//! does instead.

use oci::{Descriptor, Digest, MediaType};
use registry::{Client, ErrorKind};
use testkit::{Action, Auth, Endpoint, Match, Method, Options, Registry};

use crate::common::{block_on, client, options, reference};

const BLOB_BYTES: usize = 300_000;

fn blob() -> Vec<u8> {
    (0..BLOB_BYTES).map(|at| (at * 7 / 3) as u8).collect()
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    let media_type = MediaType::from("application/octet-stream");
    Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
}

fn gets() -> Match {
    Match::new(Method::GET, Endpoint::Blob)
}

/// The kind of error of a part in the middle, after these faults; `None` where the part comes.
fn check(what: &str, faults: Vec<(Match, Action)>, expected: Option<ErrorKind>) {
    let registry = Registry::start();
    let blob = blob();
    registry.put_blob("a", blob.clone());
    for (matching, action) in faults {
        registry.fault(matching, action);
    }
    let repository = reference(&format!("{}/a:1", registry.host()))
        .repository()
        .clone();
    let range = 100_000..200_000;
    let part = block_on(client().blob_range(&repository, &descriptor(&blob), range));
    match (part, expected) {
        (Ok(part), None) => {
            assert!(part[..] == blob[100_000..200_000], "{what}");
        }
        (Err(error), Some(kind)) => assert_eq!(*error.kind(), kind, "{what}: {error}"),
        (Ok(_), Some(kind)) => panic!("{what}: expected {kind:?}"),
        (Err(error), None) => panic!("{what}: {error}"),
    }
}

#[test]
fn exactly_the_part_or_an_error() {
    let header = |value: Option<&str>| Action::ReplaceHeader {
        name: "content-range".into(),
        value: value.map(str::to_owned),
    };
    let ranges = || Some(ErrorKind::Ranges);
    check("good", vec![], None);
    let once = |action| vec![(gets().times(1), action)];
    check("reset", once(Action::Reset { after: 40_000 }), None);
    check("reset at once", once(Action::Reset { after: 0 }), None);
    check("truncated", once(Action::Truncate { after: 99_999 }), None);
    check("busy", once(Action::status(503)), None);
    let always = |action| vec![(gets(), action)];
    check("everything comes", always(Action::IgnoreRange), ranges());
    check("no such bytes", always(Action::status(416)), ranges());
    check("no header", always(header(None)), ranges());
    check("nonsense", always(header(Some("bytes */5"))), ranges());
    let other = header(Some("bytes 100001-200000/300000"));
    check("another part", always(other), ranges());
    let shorter = header(Some("bytes 100000-150000/300000"));
    check("a shorter part", always(shorter), ranges());
    check(
        "gone",
        always(Action::status(404)),
        Some(ErrorKind::NotFound),
    );
    check(
        "denied",
        always(Action::status(403)),
        Some(ErrorKind::Denied),
    );
    let longer = Action::ReplaceBody(vec![0; 100_001]);
    check("a longer body", always(longer), Some(ErrorKind::Corrupted));
    // The part breaks off, and then the registry has forgotten about ranges.
    let faults = vec![
        (gets().nth(1), Action::Reset { after: 40_000 }),
        (gets().nth(2), Action::IgnoreRange),
    ];
    check("half a part", faults, ranges());
}

#[test]
fn tokens_and_redirects_are_as_for_whole_blobs() {
    let registry = Registry::with(Options {
        auth: Auth::token("u", "secret"),
        ..Options::default()
    });
    let bytes = blob();
    registry.put_blob("a", bytes.clone());
    let repository = reference(&format!("{}/a:1", registry.host()))
        .repository()
        .clone();
    let stranger = block_on(client().blob_range(&repository, &descriptor(&bytes), 0..10));
    assert_eq!(*stranger.unwrap_err().kind(), ErrorKind::Unauthorized);

    let registry = Registry::start();
    registry.put_blob("a", bytes.clone());
    let elsewhere = Registry::start();
    elsewhere.put_blob("a", bytes.clone());
    let location = format!("{}/v2/a/blobs/{}", elsewhere.url(), Digest::of(&bytes));
    registry.fault(
        gets(),
        Action::Redirect {
            code: 307,
            location,
        },
    );
    let repository = reference(&format!("{}/a:1", registry.host()))
        .repository()
        .clone();
    let part = block_on(client().blob_range(&repository, &descriptor(&bytes), 5..9)).unwrap();
    assert_eq!(part[..], bytes[5..9]);
}

#[test]
fn what_cannot_be_is_not_asked_for() {
    let registry = Registry::start();
    let bytes = blob();
    registry.put_blob("a", bytes.clone());
    let repository = reference(&format!("{}/a:1", registry.host()))
        .repository()
        .clone();
    let client = Client::new(options()).unwrap();
    let size = bytes.len() as u64;
    let mut descriptor = descriptor(&bytes);
    let beyond = block_on(client.blob_range(&repository, &descriptor, size - 1..size + 1));
    assert_eq!(*beyond.unwrap_err().kind(), ErrorKind::TooLarge);
    let nothing = block_on(client.blob_range(&repository, &descriptor, 5..5)).unwrap();
    assert!(nothing.is_empty());
    descriptor.size = u64::MAX;
    let huge = block_on(client.blob_range(&repository, &descriptor, 0..1 << 40));
    assert_eq!(*huge.unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(registry.lines().is_empty(), "{:?}", registry.lines());
}
