//! The fake registry against a client of forty lines, so that mistakes of an
//! HTTP library cannot hide mistakes here.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use http::Method;
use oci::Digest;
use testkit::{
    Action, Auth, Endpoint, Layer, Match, Options, Realm, Registry, image, validate_image,
};

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// One request on a connection of its own. `Err` holds what arrived before the
/// connection broke.
fn ask(
    registry: &Registry,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, (std::io::ErrorKind, Vec<u8>)> {
    let mut stream = TcpStream::connect(registry.host()).unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    // A registry that answers early may close before it has read everything.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    let mut failed = stream
        .read_to_end(&mut bytes)
        .err()
        .map(|error| error.kind());
    let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Err((failed.unwrap_or(std::io::ErrorKind::UnexpectedEof), bytes));
    };
    let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
    let answer = Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        body: bytes[at + 4..].to_vec(),
        head,
    };
    let promised = answer
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap());
    if failed.is_none() && method != "HEAD" && answer.body.len() < promised {
        failed = Some(std::io::ErrorKind::UnexpectedEof);
    }
    match failed {
        Some(kind) => Err((kind, answer.body)),
        None => Ok(answer),
    }
}

fn get(registry: &Registry, target: &str) -> Answer {
    ask(registry, "GET", target, &[], b"").unwrap_or_else(|(kind, _)| panic!("{kind}"))
}

fn status(registry: &Registry, method: &str, target: &str, body: &[u8]) -> u16 {
    ask(registry, method, target, &[], body)
        .unwrap_or_else(|(kind, _)| panic!("{kind}"))
        .status
}

#[test]
fn an_image_goes_in_by_parts_and_comes_out_valid() {
    let registry = Registry::start();
    let made = image()
        .layer(
            Layer::new()
                .directory("etc", 0o755)
                .file("etc/passwd", "root:x:0:0::/:\n"),
        )
        .env("A=1")
        .build();
    // In one go, in chunks, and in one request.
    let layer = &made.layers[0];
    let start = ask(&registry, "POST", "/v2/a/b/blobs/uploads/", &[], b"").unwrap();
    assert_eq!(start.status, 202);
    let (first, second) = layer.bytes.split_at(10);
    let mut location = start.header("location").unwrap().to_owned();
    for (at, chunk) in [(0, first), (10, second)] {
        let range = format!("{at}-{}", at + chunk.len() - 1);
        let answer = ask(
            &registry,
            "PATCH",
            &location,
            &[("content-range", &range)],
            chunk,
        )
        .unwrap();
        assert_eq!(answer.status, 202);
        assert_eq!(
            answer.header("range"),
            Some(&*format!("0-{}", at + chunk.len() - 1))
        );
        // The old location does not take a second chunk.
        assert_eq!(status(&registry, "PATCH", &location, chunk), 416);
        location = answer.header("location").unwrap().to_owned();
    }
    let end = format!("{location}&digest={}", layer.digest);
    assert_eq!(status(&registry, "PUT", &end, b""), 201);
    let config = Digest::of(&made.config);
    let manifest_type = ("content-type", made.media_type.as_str());
    let put = || {
        ask(
            &registry,
            "PUT",
            "/v2/a/b/manifests/1",
            &[manifest_type],
            &made.manifest,
        )
    };
    let early = put().unwrap();
    assert_eq!(early.status, 400);
    assert!(String::from_utf8_lossy(&early.body).contains("MANIFEST_BLOB_UNKNOWN"));
    let one_go = format!("/v2/a/b/blobs/uploads/?digest={config}");
    assert_eq!(status(&registry, "POST", &one_go, &made.config), 201);
    let done = put().unwrap();
    assert_eq!(
        done.header("docker-content-digest"),
        Some(made.digest.as_str())
    );

    let valid = validate_image(&registry, "a/b", "1").unwrap();
    assert_eq!(valid.digest, made.digest);
    assert_eq!(
        valid.layers[0].listing(),
        ["d0755 0:0 0 etc", "-0644 0:0 15 etc/passwd"]
    );
    assert_eq!(
        get(&registry, "/v2/a/b/tags/list").body,
        br#"{"name":"a/b","tags":["1"]}"#
    );
    let by_digest = format!("/v2/a/b/manifests/{}", made.digest);
    assert_eq!(get(&registry, &by_digest).body, made.manifest);
    assert_eq!(status(&registry, "DELETE", &by_digest, b""), 202);
    assert_eq!(get(&registry, "/v2/a/b/manifests/1").status, 404);
}

#[test]
fn wrong_bytes_are_refused() {
    let registry = Registry::start();
    let digest = Digest::of(b"right");
    let target = format!("/v2/a/blobs/uploads/?digest={digest}");
    assert_eq!(status(&registry, "POST", &target, b"wrong"), 400);
    assert_eq!(registry.blob("a", &digest), None);
    let manifest = format!("/v2/a/manifests/{digest}");
    assert_eq!(status(&registry, "PUT", &manifest, b"{}"), 400);
    assert_eq!(status(&registry, "PUT", "/v2/a/manifests/-", b"{}"), 400);
}

#[test]
fn blobs_by_range_and_by_mount() {
    let registry = Registry::start();
    let digest = registry.put_blob("a", &b"0123456789"[..]);
    let target = format!("/v2/a/blobs/{digest}");
    let part = ask(&registry, "GET", &target, &[("range", "bytes=3-4")], b"").unwrap();
    assert_eq!((part.status, &part.body[..]), (206, &b"34"[..]));
    assert_eq!(part.header("content-range"), Some("bytes 3-4/10"));
    let beyond = ask(&registry, "GET", &target, &[("range", "bytes=10-")], b"").unwrap();
    assert_eq!(beyond.status, 416);
    let head = ask(&registry, "HEAD", &target, &[], b"").unwrap();
    assert_eq!(
        (head.header("content-length"), head.body.len()),
        (Some("10"), 0)
    );
    let mount = |from: &str| format!("/v2/b/blobs/uploads/?mount={digest}&from={from}");
    assert_eq!(status(&registry, "POST", &mount("nobody"), b""), 202);
    assert_eq!(registry.blob("b", &digest), None);
    assert_eq!(status(&registry, "POST", &mount("a"), b""), 201);
    assert!(registry.blob("b", &digest).is_some());
}

#[test]
fn referrers_and_their_absence() {
    let made = image().build();
    let subject = format!(
        r#"{{"schemaVersion":2,"artifactType":"x/y","subject":{{"digest":"{}"}}}}"#,
        made.digest
    );
    let target = format!("/v2/a/referrers/{}?artifactType=x/y", made.digest);
    for referrers in [true, false] {
        let registry = Registry::with(Options {
            referrers,
            ..Options::default()
        });
        registry.seed("a", "1", &made);
        let put = ask(
            &registry,
            "PUT",
            "/v2/a/manifests/2",
            &[],
            subject.as_bytes(),
        )
        .unwrap();
        assert_eq!(put.header("oci-subject").is_some(), referrers);
        let list = get(&registry, &target);
        assert_eq!(list.status, if referrers { 200 } else { 404 });
        let found = String::from_utf8_lossy(&list.body).contains("x/y");
        assert_eq!(found, referrers);
    }
}

#[test]
fn tokens_have_scopes_and_wear_out() {
    let registry = Registry::with(Options {
        auth: Auth::Token {
            user: "u".into(),
            password: "p".into(),
            realm: Realm::SamePort,
            uses: Some(2),
            anonymous_pull: true,
        },
        ..Options::default()
    });
    let made = image().build();
    registry.seed("a", "1", &made);
    let challenge = get(&registry, "/v2/a/manifests/1");
    assert_eq!(challenge.status, 401);
    let expected = format!(
        "Bearer realm=\"{}/token\",service=\"testkit\",scope=\"repository:a:pull\"",
        registry.url()
    );
    assert_eq!(challenge.header("www-authenticate"), Some(&*expected));

    let token = |headers: &[(&str, &str)], scope: &str| {
        let target = format!("/token?service=testkit&scope={scope}");
        let answer = ask(&registry, "GET", &target, headers, b"").unwrap();
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        (
            answer.status,
            format!("Bearer {}", json["token"].as_str().unwrap_or_default()),
        )
    };
    let with = |method: &str, target: &str, token: &str| {
        ask(&registry, method, target, &[("authorization", token)], b"")
            .unwrap()
            .status
    };
    let (_, anonymous) = token(&[], "repository:a:pull,push");
    assert_eq!(with("POST", "/v2/a/blobs/uploads/", &anonymous), 401);
    assert_eq!(with("GET", "/v2/a/manifests/1", &anonymous), 200);
    assert_eq!(with("GET", "/v2/a/manifests/1", &anonymous), 200);
    assert_eq!(
        with("GET", "/v2/a/manifests/1", &anonymous),
        401,
        "worn out after two uses"
    );
    // u:wrong, then u:p
    assert_eq!(
        token(
            &[("authorization", "Basic dTp3cm9uZw==")],
            "repository:a:pull"
        )
        .0,
        401
    );
    let (_, known) = token(&[("authorization", "Basic dTpw")], "repository:a:pull,push");
    assert_eq!(with("POST", "/v2/a/blobs/uploads/", &known), 202);
    // A mount needs pull on its source too.
    let mount = format!(
        "/v2/a/blobs/uploads/?from=b&mount={}",
        registry.put_blob("b", "x")
    );
    assert_eq!(with("POST", &mount, &known), 202);
    let (_, both) = token(
        &[("authorization", "Basic dTpw")],
        "repository:a:pull,push&scope=repository:b:pull",
    );
    assert_eq!(with("POST", &mount, &both), 201);
}

#[test]
fn faults_on_the_way_out() {
    let content: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
    let registry = Registry::start();
    let digest = registry.put_blob("a", content.clone());
    let target = format!("/v2/a/blobs/{digest}");
    let blob = || Match::new(Method::GET, Endpoint::Blob).times(1);
    let fault = |action| {
        registry.clear_faults();
        registry.fault(blob(), action);
        ask(&registry, "GET", &target, &[("range", "bytes=0-")], b"")
    };
    for after in [0, 1, 65_536, 199_999] {
        let (kind, got) = fault(Action::Reset { after }).err().unwrap();
        assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
        assert_eq!(got, content[..after as usize]);
        let (kind, got) = fault(Action::Truncate { after }).err().unwrap();
        assert_eq!(kind, std::io::ErrorKind::UnexpectedEof);
        assert_eq!(got, content[..after as usize]);
    }
    let flipped = fault(Action::FlipBit { at: 7 }).unwrap();
    assert_eq!(flipped.body.len(), content.len());
    assert_eq!(flipped.body[7], content[7] ^ 1);
    assert_eq!(fault(Action::IgnoreRange).unwrap().status, 200);
    assert_eq!(
        fault(Action::ReplaceBody(b"x".to_vec())).unwrap().body,
        b"x"
    );
    let moved = fault(Action::Redirect {
        code: 307,
        location: "/f".into(),
    })
    .unwrap();
    assert_eq!((moved.status, moved.header("location")), (307, Some("/f")));
    let slow = fault(Action::SlowBytes {
        bytes: 100_000,
        pause_ms: 1,
    })
    .unwrap();
    assert_eq!(slow.body, content);
    let later = fault(Action::status_with(429, "retry-after", "3")).unwrap();
    assert_eq!(
        (later.status, later.header("retry-after")),
        (429, Some("3"))
    );
    // Not in the script any more.
    assert_eq!(get(&registry, &target).body, content);
    let log = registry.log();
    assert!(log.iter().rev().skip(1).all(|line| line.faulted) && !log.last().unwrap().faulted);
    assert_eq!(log.last().unwrap().bytes_out, 200_000);
    assert!(!log.iter().any(testkit::Recorded::has_credentials));
}

#[test]
fn faults_on_the_way_in() {
    let registry = Registry::start();
    let content = vec![7; 100_000];
    let digest = Digest::of(&content);
    let start = ask(&registry, "POST", "/v2/a/blobs/uploads/", &[], b"").unwrap();
    let location = start.header("location").unwrap().to_owned();
    registry.fault(
        Match::new(Method::PATCH, Endpoint::UploadSession).nth(1),
        Action::ResetRequest { after: 40_000 },
    );
    assert!(ask(&registry, "PATCH", &location, &[], &content).is_err());
    let state = get(&registry, &location);
    assert_eq!(
        (state.status, state.header("range")),
        (204, Some("0-39999"))
    );
    let rest = format!("{}&digest={digest}", state.header("location").unwrap());
    assert_eq!(status(&registry, "PUT", &rest, &content[40_000..]), 201);
    assert_eq!(registry.blob("a", &digest).unwrap(), content);

    let forgotten = Digest::of(b"f");
    registry.fault(
        Match::any().endpoint(Endpoint::UploadStart).times(1),
        Action::Forget,
    );
    let target = format!("/v2/a/blobs/uploads/?digest={forgotten}");
    assert_eq!(status(&registry, "POST", &target, b"f"), 201);
    assert_eq!(registry.blob("a", &forgotten), None);
    registry.fault(
        Match::any().endpoint(Endpoint::UploadStart).times(1),
        Action::LieDigest,
    );
    let lie = ask(&registry, "POST", &target, &[], b"f").unwrap();
    assert_ne!(
        lie.header("docker-content-digest"),
        Some(forgotten.as_str())
    );
    registry.fault(
        Match::any().endpoint(Endpoint::Manifest).times(1),
        Action::StatusAfter(500),
    );
    let put = ask(
        &registry,
        "PUT",
        "/v2/a/manifests/1",
        &[("content-type", "x")],
        b"{}",
    )
    .unwrap();
    assert_eq!(put.status, 500);
    assert_eq!(registry.tags("a"), ["1"]);
}

#[test]
fn a_stalled_connection_ends_with_the_registry() {
    let registry = Registry::start();
    registry.fault(Match::any(), Action::Stall { after: None });
    let mut stream = TcpStream::connect(registry.host()).unwrap();
    stream
        .write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    while registry.log().is_empty() {
        std::thread::yield_now();
    }
    drop(registry);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}
