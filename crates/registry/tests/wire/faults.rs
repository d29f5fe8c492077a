//! The faults that other clients were measured with (reliability page, 1.2):
//! what can be recovered is, what is hostile is refused.

use http::Method;
use registry::{ErrorKind, PushOptions};
use testkit::{Action, Auth, Endpoint, Match, Options, Realm, Registry};

use crate::common::{
    block_on, client, client_as, hurry, noise, options, raw_server, reference, repository, sample,
};

/// Large enough to be handed out before it is verified.
const LAYER_BYTES: usize = 5 * 1024 * 1024;

/// A name and the faults that a client gets over.
type Recoverable = (&'static str, Vec<(Match, Action)>);
/// A name, faults that nobody gets over, and how they are to be reported.
type Hopeless = (&'static str, Vec<(Match, Action)>, ErrorKind);
/// A name, what is answered word by word, and the error that it makes.
type Answers = (&'static str, Vec<Vec<u8>>, Option<ErrorKind>);

/// What is to happen.
enum Expect {
    Ok,
    Fails(ErrorKind),
}
use Expect::{Fails, Ok as Good};

const PUT: Method = Method::PUT;
const GET: Method = Method::GET;
const HEAD: Method = Method::HEAD;
const POST: Method = Method::POST;

fn push(name: &str, options: Options, faults: &[(Match, Action)], expected: &Expect) {
    push_with(name, options, faults, expected, &PushOptions::default());
}

fn push_with(
    name: &str,
    options: Options,
    faults: &[(Match, Action)],
    expected: &Expect,
    push_options: &PushOptions,
) {
    let registry = Registry::with(options);
    for (matching, action) in faults {
        registry.fault(matching.clone(), action.clone());
    }
    let sample = sample(LAYER_BYTES);
    let client = client_as(&registry.host(), "u", "p");
    let repository = repository(&format!("{}/team/app", registry.host()));
    let done = block_on(sample.push(&client, &repository, "1", push_options));
    assert_met(name, &registry, faults);
    match (expected, done) {
        (Good, Ok(())) => assert!(
            sample.is_in(&registry, "team/app", "1"),
            "{name}: success without an image"
        ),
        (Good, Err(error)) => panic!("{name}: {error}\n{:#?}", registry.lines()),
        (Fails(kind), Err(error)) => assert_eq!(error.kind(), kind, "{name}: {error}"),
        (Fails(kind), Ok(())) => panic!("{name}: must fail with {kind:?}"),
    }
}

fn pull(name: &str, options: Options, faults: &[(Match, Action)], expected: &Expect) {
    let registry = Registry::with(options);
    let sample = sample(LAYER_BYTES);
    sample.seed(&registry, "team/app", "1");
    for (matching, action) in faults {
        registry.fault(matching.clone(), action.clone());
    }
    let client = client_as(&registry.host(), "u", "p");
    let done = block_on(sample.pull(
        &client,
        &reference(&format!("{}/team/app:1", registry.host())),
    ));
    assert_met(name, &registry, faults);
    match (expected, done) {
        (Good, Ok(())) => {}
        (Good, Err(error)) => panic!("{name}: {error}\n{:#?}", registry.lines()),
        (Fails(kind), Err(error)) => assert_eq!(error.kind(), kind, "{name}: {error}"),
        (Fails(kind), Ok(())) => panic!("{name}: must fail with {kind:?}"),
    }
}

/// A fault that never came about proves nothing.
fn assert_met(name: &str, registry: &Registry, faults: &[(Match, Action)]) {
    let met = registry
        .log()
        .iter()
        .filter(|request| request.faulted)
        .count();
    assert!(
        met >= faults.len(),
        "{name}: {met} faults were met: {:#?}",
        registry.lines()
    );
}

fn tokens(uses: Option<u32>) -> Options {
    Options {
        auth: Auth::Token {
            user: "u".into(),
            password: "p".into(),
            realm: Realm::SamePort,
            uses,
            anonymous_pull: false,
        },
        ..Options::default()
    }
}

fn at(method: Method, endpoint: Endpoint) -> Match {
    Match::new(method, endpoint)
}

fn layer_path() -> Match {
    at(GET, Endpoint::Blob).reference(sample(LAYER_BYTES).layer_descriptor.digest.as_str())
}

#[test]
fn pushes_recover() {
    let start = || at(POST, Endpoint::UploadStart);
    let put = || at(PUT, Endpoint::UploadSession);
    let manifest = || at(PUT, Endpoint::Manifest);
    let look = || at(HEAD, Endpoint::Blob);
    let cases: Vec<Recoverable> = vec![
        ("nothing wrong", vec![]),
        (
            "503 on the first two upload starts",
            vec![(start().times(2), Action::status(503))],
        ),
        (
            "reset after 3 MB of a blob",
            vec![(put().times(1), Action::ResetRequest { after: 3_000_000 })],
        ),
        (
            "reset before the first byte, four times",
            vec![(put().times(4), Action::ResetRequest { after: 0 })],
        ),
        (
            "first upload request 500",
            vec![(start().times(1), Action::status(500))],
        ),
        ("first PUT 500", vec![(put().times(1), Action::status(500))]),
        (
            "commits, then answers 500",
            vec![(put().times(1), Action::StatusAfter(500))],
        ),
        (
            "commits, then resets",
            vec![(put().times(1), Action::Reset { after: 0 })],
        ),
        (
            "manifest PUT 500 once",
            vec![(manifest().times(1), Action::status(500))],
        ),
        (
            "manifest committed, then 500",
            vec![(manifest().times(1), Action::StatusAfter(500))],
        ),
        (
            "manifest committed, then reset",
            vec![(manifest().times(1), Action::Reset { after: 0 })],
        ),
        (
            "429 with Retry-After 3",
            vec![(
                start().times(1),
                Action::status_with(429, "retry-after", "3"),
            )],
        ),
        (
            "429 with Retry-After 20",
            vec![(
                put().times(1),
                Action::status_with(429, "retry-after", "20"),
            )],
        ),
        (
            "429 six times on the manifest",
            vec![(
                manifest().times(6),
                Action::status_with(429, "retry-after", "1"),
            )],
        ),
        ("HEAD answers 405", vec![(look(), Action::status(405))]),
        (
            "HEAD 500 once",
            vec![(look().times(1), Action::status(500))],
        ),
        ("HEAD always 500", vec![(look(), Action::status(500))]),
        (
            "PUT in one request is not known",
            vec![(put().times(1), Action::status(405))],
        ),
        (
            "PUT in one request is not implemented",
            vec![(put().times(1), Action::status(501))],
        ),
        (
            "the PUT is never answered",
            vec![(put().times(1), Action::Stall { after: None })],
        ),
        (
            "the session is lost",
            vec![(put().times(1), Action::status(404))],
        ),
        (
            "201, but the blob is not stored, once",
            vec![(put().times(1), Action::Forget)],
        ),
        (
            "201, but the manifest is not stored, once",
            vec![(manifest().times(1), Action::Forget)],
        ),
        (
            "manifest HEAD is not known",
            vec![(at(HEAD, Endpoint::Manifest), Action::status(405))],
        ),
    ];
    for (name, faults) in cases {
        push(name, Options::default(), &faults, &Good);
    }
}

#[test]
fn pushes_give_up_where_they_must() {
    let start = || at(POST, Endpoint::UploadStart);
    let put = || at(PUT, Endpoint::UploadSession);
    let manifest = || at(PUT, Endpoint::Manifest);
    let cases: Vec<Hopeless> = vec![
        (
            "201 with a wrong digest for a blob",
            vec![(put(), Action::LieDigest)],
            ErrorKind::Protocol,
        ),
        (
            "201 with a wrong digest for a manifest",
            vec![(manifest(), Action::LieDigest)],
            ErrorKind::Protocol,
        ),
        (
            "no blob is ever stored",
            vec![(put(), Action::Forget)],
            ErrorKind::NotStored,
        ),
        (
            "no manifest is ever stored",
            vec![(manifest(), Action::Forget)],
            ErrorKind::NotStored,
        ),
        (
            "403",
            vec![(start(), Action::status(403))],
            ErrorKind::Denied,
        ),
        (
            "500 for ever",
            vec![(start(), Action::status(500))],
            ErrorKind::Server,
        ),
        (
            "501 for ever",
            vec![(put(), Action::status(501))],
            ErrorKind::Unsupported,
        ),
        (
            "413",
            vec![(put(), Action::status(413))],
            ErrorKind::Refused,
        ),
        (
            "a pause that is too long",
            vec![(
                start(),
                Action::status_with(429, "retry-after", "1000000000"),
            )],
            ErrorKind::RateLimited {
                retry_after: Some(std::time::Duration::from_secs(1_000_000)),
            },
        ),
        (
            "no place to upload to",
            vec![(
                start(),
                Action::ReplaceHeader {
                    name: "location".into(),
                    value: None,
                },
            )],
            ErrorKind::Protocol,
        ),
    ];
    for (name, faults, kind) in cases {
        push(name, Options::default(), &faults, &Fails(kind));
    }
}

#[test]
fn pushes_in_pieces() {
    let in_pieces = PushOptions {
        chunk_bytes: Some(1_000_000),
        ..PushOptions::default()
    };
    let patch = || at(Method::PATCH, Endpoint::UploadSession);
    let plain = Options::default;
    push_with("pieces", plain(), &[], &Good, &in_pieces);
    let picky = Options {
        chunk_bytes_min: Some(2_000_000),
        ..Options::default()
    };
    push_with("larger pieces are wanted", picky, &[], &Good, &in_pieces);
    for (name, action) in [
        ("416", Action::status(416)),
        ("500", Action::status(500)),
        ("done, then 500", Action::StatusAfter(500)),
        (
            "reset in the middle",
            Action::ResetRequest { after: 500_000 },
        ),
        ("never answered", Action::Stall { after: None }),
    ] {
        push_with(
            name,
            plain(),
            &[(patch().nth(3), action)],
            &Good,
            &in_pieces,
        );
    }
}

#[test]
fn tokens_are_renewed_as_long_as_something_moves() {
    for uses in 1..=10 {
        push(
            &format!("tokens for {uses} requests"),
            tokens(Some(uses)),
            &[],
            &Good,
        );
        pull(
            &format!("tokens for {uses} requests"),
            tokens(Some(uses)),
            &[],
            &Good,
        );
    }
    let in_pieces = PushOptions {
        chunk_bytes: Some(700_000),
        ..PushOptions::default()
    };
    push_with(
        "tokens wear out between pieces",
        tokens(Some(1)),
        &[],
        &Good,
        &in_pieces,
    );
}

#[test]
fn pulls_recover() {
    let blob = layer_path;
    let manifest = || at(GET, Endpoint::Manifest);
    let cases: Vec<Recoverable> = vec![
        ("nothing wrong", vec![]),
        ("503 twice", vec![(blob().times(2), Action::status(503))]),
        (
            "429",
            vec![(
                manifest().times(1),
                Action::status_with(429, "retry-after", "1"),
            )],
        ),
        (
            "reset at once",
            vec![(blob().times(1), Action::Reset { after: 0 })],
        ),
        (
            "reset in the middle",
            vec![(blob().times(1), Action::Reset { after: 2_000_000 })],
        ),
        (
            "reset five times",
            vec![(blob().times(5), Action::Reset { after: 700_000 })],
        ),
        (
            "reset behind the last byte",
            vec![(
                blob().times(1),
                Action::Reset {
                    after: LAYER_BYTES as u64,
                },
            )],
        ),
        (
            "the rest is asked for and everything comes",
            vec![
                (blob().nth(1), Action::Reset { after: 2_000_000 }),
                (blob().nth(2), Action::IgnoreRange),
            ],
        ),
        (
            "the rest is asked for and refused",
            vec![
                (blob().nth(1), Action::Reset { after: 2_000_000 }),
                (blob().nth(2), Action::status(416)),
            ],
        ),
        (
            "the rest is asked for and another part comes",
            vec![
                (blob().nth(1), Action::Reset { after: 2_000_000 }),
                (
                    blob().nth(2),
                    Action::ReplaceHeader {
                        name: "content-range".into(),
                        value: Some("bytes 0-99/100".into()),
                    },
                ),
            ],
        ),
        (
            "short body",
            vec![(blob().times(1), Action::Truncate { after: 1_000_000 })],
        ),
        (
            "short manifest",
            vec![(manifest().times(1), Action::Truncate { after: 10 })],
        ),
        (
            "one flipped bit, once",
            vec![(blob().times(1), Action::FlipBit { at: 4_000_000 })],
        ),
        (
            "one flipped bit in a manifest, once",
            vec![(manifest().times(1), Action::FlipBit { at: 20 })],
        ),
        (
            "trailing garbage, once",
            vec![(blob().times(1), Action::ReplaceBody(vec![0; 6_000_000]))],
        ),
        (
            "stall in the middle",
            vec![(
                blob().times(1),
                Action::Stall {
                    after: Some(1_000_000),
                },
            )],
        ),
        (
            "stall before the headers",
            vec![(blob().times(1), Action::Stall { after: None })],
        ),
        (
            "a trickle",
            vec![(
                blob().times(1),
                Action::SlowBytes {
                    bytes: 1,
                    pause_ms: 50,
                },
            )],
        ),
    ];
    for (name, faults) in cases {
        pull(name, Options::default(), &faults, &Good);
    }
}

#[test]
fn pulls_refuse_what_is_wrong() {
    let blob = layer_path;
    let manifest = || at(GET, Endpoint::Manifest);
    let both = br#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[],"manifests":[]}"#;
    let no_digest = |value: Option<String>| Action::ReplaceHeader {
        name: "docker-content-digest".into(),
        value,
    };
    let cases: Vec<Hopeless> = vec![
        (
            "one flipped bit",
            vec![(blob(), Action::FlipBit { at: 4_000_000 })],
            ErrorKind::Corrupted,
        ),
        (
            "the rest has other bytes",
            vec![
                (blob().skip(0).times(1), Action::Reset { after: 1_000_000 }),
                (blob(), Action::FlipBit { at: 5 }),
            ],
            ErrorKind::Corrupted,
        ),
        (
            "trailing garbage",
            vec![(blob(), Action::ReplaceBody(vec![0; LAYER_BYTES + 1]))],
            ErrorKind::Corrupted,
        ),
        (
            "too few bytes",
            vec![(blob(), Action::ReplaceBody(vec![0; 100]))],
            ErrorKind::Corrupted,
        ),
        (
            "a manifest with another digest",
            vec![(manifest(), Action::LieDigest)],
            ErrorKind::Corrupted,
        ),
        (
            "a digest that is none",
            vec![(manifest(), no_digest(Some("sha256:../../x".into())))],
            ErrorKind::Protocol,
        ),
        (
            "another type in the header",
            vec![(
                manifest(),
                Action::ReplaceHeader {
                    name: "content-type".into(),
                    value: Some("application/vnd.docker.distribution.manifest.v2+json".into()),
                },
            )],
            ErrorKind::Protocol,
        ),
        (
            "404",
            vec![(manifest(), Action::status(404))],
            ErrorKind::NotFound,
        ),
        (
            "500 for ever",
            vec![(blob(), Action::status(500))],
            ErrorKind::Server,
        ),
        (
            "an endless manifest",
            vec![(manifest(), Action::ReplaceBody(vec![b' '; 5 << 20]))],
            ErrorKind::TooLarge,
        ),
    ];
    for (name, faults, kind) in cases {
        pull(name, Options::default(), &faults, &Fails(kind));
    }
    // A body with two meanings, under its true digest.
    let registry = Registry::start();
    registry.put_manifest(
        "a",
        "1",
        "application/vnd.oci.image.manifest.v1+json",
        both.to_vec(),
    );
    let error = block_on(client().manifest(&reference(&format!("{}/a:1", registry.host()))))
        .expect_err("two meanings");
    assert_eq!(*error.kind(), ErrorKind::Protocol);
    assert!(
        error.to_string().contains("`layers` and `manifests`"),
        "{error}"
    );
}

#[test]
fn a_stall_that_stays_ends() {
    let registry = Registry::start();
    let sample = sample(LAYER_BYTES);
    sample.seed(&registry, "a", "1");
    registry.fault(layer_path(), Action::Stall { after: Some(10) });
    let client = registry::Client::new(registry::ClientOptions {
        timing: registry::Timing {
            attempts_max: 2,
            idle: std::time::Duration::from_millis(300),
            ..hurry()
        },
        ..options()
    })
    .expect("a client");
    let error = block_on(sample.pull(&client, &reference(&format!("{}/a:1", registry.host()))))
        .expect_err("a stall");
    assert_eq!(*error.kind(), ErrorKind::Stalled, "{error}");
}

/// Answers in pieces (chunked transfer coding), so that no length is promised.
fn in_pieces(status: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer.extend_from_slice(b"\r\n0\r\n\r\n");
    answer
}

#[test]
fn bodies_without_a_length() {
    let blob = noise(2_000_000, 3);
    let descriptor = oci::Descriptor::new(
        oci::MediaType::Other("x/y".into()),
        oci::Digest::of(&blob),
        blob.len() as u64,
    );
    let rest = |from: usize| {
        in_pieces(
            &format!("206 Partial\r\ncontent-range: bytes {from}-1999999/2000000"),
            &blob[from..],
        )
    };
    let mut longer = blob.to_vec();
    longer.push(0);
    let cases: Vec<Answers> = vec![
        ("whole", vec![in_pieces("200 OK", &blob)], None),
        (
            "short once",
            vec![in_pieces("200 OK", &blob[..700_000]), rest(700_000)],
            None,
        ),
        (
            "short always",
            vec![
                in_pieces("200 OK", &blob[..700_000]),
                in_pieces(
                    "206 Partial\r\ncontent-range: bytes 700000-1999999/2000000",
                    b"",
                ),
            ],
            Some(ErrorKind::Corrupted),
        ),
        (
            "longer",
            vec![in_pieces("200 OK", &longer)],
            Some(ErrorKind::Corrupted),
        ),
        (
            "no framing",
            vec![b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec()],
            Some(ErrorKind::Unreachable),
        ),
        (
            "no HTTP",
            vec![b"SSH-2.0-x\r\n".to_vec()],
            Some(ErrorKind::Unreachable),
        ),
        (
            "headers without end",
            vec![
                [
                    &b"HTTP/1.1 200 OK\r\n"[..],
                    "x: y\r\n".repeat(100_000).as_bytes(),
                ]
                .concat(),
            ],
            Some(ErrorKind::Unreachable),
        ),
    ];
    for (name, answers, expected) in cases {
        let (host, _) = raw_server(answers);
        let repository = repository(&format!("{host}/a"));
        let done = block_on(async {
            let mut stream = client().blob(&repository, &descriptor, None);
            let mut bytes = Vec::new();
            while let Some(piece) = stream.next().await {
                bytes.extend_from_slice(&piece?);
            }
            Ok::<_, registry::Error>(bytes)
        });
        match (done, expected) {
            (Ok(bytes), None) => assert!(bytes == blob, "{name}: other bytes"),
            (Ok(_), Some(kind)) => panic!("{name}: must fail with {kind:?}"),
            (Err(error), Some(kind)) => assert_eq!(*error.kind(), kind, "{name}: {error}"),
            (Err(error), None) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn a_missing_blob_is_named() {
    let registry = Registry::start();
    let digest = oci::Digest::of(b"missing");
    registry.fault(
        at(PUT, Endpoint::Manifest),
        Action::Status {
            code: 400,
            headers: vec![],
            body: format!(
                r#"{{"errors":[{{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":{{"Digest":"{digest}"}}}}]}}"#
            ),
        },
    );
    let sample = sample(10);
    let error = block_on(sample.push(
        &client(),
        &repository(&format!("{}/a", registry.host())),
        "1",
        &PushOptions::default(),
    ))
    .expect_err("a blob is missing");
    assert_eq!(
        *error.kind(),
        ErrorKind::BlobUnknown {
            digest: Some(digest)
        }
    );
}

#[test]
fn a_tag_that_cannot_move_but_stands_right_is_no_failure() {
    let registry = Registry::start();
    let sample = sample(10);
    sample.seed(&registry, "a", "1");
    registry.fault(at(PUT, Endpoint::Manifest), Action::status(409));
    let repository = repository(&format!("{}/a", registry.host()));
    let push = |tag| block_on(sample.push(&client(), &repository, tag, &PushOptions::default()));
    push("1").expect("the tag stands right");
    assert_eq!(
        *push("2").expect_err("a new tag").kind(),
        ErrorKind::Refused
    );
}

#[test]
fn nothing_to_do_costs_little() {
    let registry = Registry::start();
    let sample = sample(10);
    sample.seed(&registry, "a", "1");
    let client = client();
    let found = block_on(client.tag_points_at(&reference(&format!("{}/a:1", registry.host()))));
    assert_eq!(found.expect("an answer"), Some(sample.digest));
    assert_eq!(registry.lines(), ["HEAD /v2/a/manifests/1"]);
    let missing = block_on(client.tag_points_at(&reference(&format!("{}/a:2", registry.host()))));
    assert_eq!(missing.expect("an answer"), None);
    assert_eq!(client.traffic().requests, 2);
}

#[test]
fn blobs_are_mounted_and_a_refused_mount_is_used() {
    let check = |mounts: bool, requests: &[&str]| {
        let registry = Registry::with(Options {
            mounts,
            ..tokens(None)
        });
        let sample = sample(10);
        sample.seed(&registry, "base", "1");
        let client = client_as(&registry.host(), "u", "p");
        let options = PushOptions {
            mount_from: vec![repository(&format!("{}/base", registry.host()))],
            ..PushOptions::default()
        };
        let target = repository(&format!("{}/app", registry.host()));
        block_on(client.push_blob(&target, &sample.layer_descriptor, &sample.layer, &options))
            .expect("a blob");
        assert!(
            registry
                .blob("app", &sample.layer_descriptor.digest)
                .is_some()
        );
        let methods: Vec<String> = registry
            .log()
            .iter()
            .filter(|request| request.endpoint != Endpoint::Token && request.status != 401)
            .map(|request| request.method.to_string())
            .collect();
        assert_eq!(methods, requests);
    };
    check(true, &["HEAD", "POST", "HEAD"]);
    check(false, &["HEAD", "POST", "PUT", "HEAD"]);
}

#[test]
fn a_source_that_fails_ends_the_push() {
    struct Broken(u64);
    impl registry::BlobSource for Broken {
        fn open(&self, _offset: u64) -> std::io::Result<Box<dyn std::io::Read + Send>> {
            Ok(Box::new(std::io::Read::take(std::io::repeat(0), self.0)))
        }
    }
    let registry = Registry::start();
    let sample = sample(LAYER_BYTES);
    let target = repository(&format!("{}/a", registry.host()));
    let error = block_on(client().push_blob(
        &target,
        &sample.layer_descriptor,
        &Broken(1000),
        &PushOptions::default(),
    ))
    .expect_err("a short source");
    assert_eq!(*error.kind(), ErrorKind::Source);
    // Wrong bytes of the right length: the registry notices, and sending them
    // again does not help.
    let error = block_on(client().push_blob(
        &target,
        &sample.layer_descriptor,
        &Broken(u64::MAX),
        &PushOptions::default(),
    ))
    .expect_err("a wrong source");
    assert_eq!(*error.kind(), ErrorKind::Corrupted, "{error}");
}
