//! The protocol's vectors, and a service that misbehaves.

use std::time::Duration;

use jiff::Timestamp;
use oci::{Digest, MediaType, Reference};
use testkit::{ClientSecret, ServerCertificate, ServiceAnswer, SigningService};

use super::*;

/// image-builder.md §13.5: two documents, and what is asked about them.
const INDEX: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;

fn descriptor(kind: MediaType, text: &str) -> Descriptor {
    Descriptor::new(kind, Digest::of(text.as_bytes()), text.len() as u64)
}

fn place(name: &str) -> (Repository, Vec<Tag>) {
    let reference: Reference = name.parse().unwrap();
    let tags = reference.tag().cloned().into_iter().collect();
    (reference.repository().clone(), tags)
}

#[test]
fn a_request_is_the_protocols() {
    let check = |subject: Descriptor, name: &str, expected: &str| {
        let (repository, tags) = place(name);
        let made = request(&subject, &repository, &tags);
        assert_eq!(String::from_utf8(made).unwrap(), expected);
    };
    check(
        descriptor(MediaType::OciIndex, INDEX),
        "registry.example.net/platform/prod/team/demo:v20260821-0a1b2c3d",
        r#"{"trustedCollections":[{"gun":"registry.example.net/platform/prod/team/demo","targets":[{"name":"v20260821-0a1b2c3d","byteSize":88,"digest":"dff9de10919148711140d349bf03f1a99eb06f94b03e51715ccebfa7cdc518e2"}]}]}"#,
    );
    check(
        descriptor(MediaType::OciManifest, MANIFEST),
        "docker.io/library/alpine:latest",
        r#"{"trustedCollections":[{"gun":"index.docker.io/library/alpine","targets":[{"name":"latest","byteSize":246,"digest":"f20c43161d73848408ef247f0ec7111b19fe58ffebc0cbcaa0d2c8bda4967268"}]}]}"#,
    );
    // Two tags of one image: the same name twice, one target each.
    let (repository, _) = place("registry.example/a:x");
    let tags: Vec<Tag> = ["x", "y"].map(|tag| tag.parse().unwrap()).to_vec();
    let made = request(&descriptor(MediaType::OciIndex, INDEX), &repository, &tags);
    let made = String::from_utf8(made).unwrap();
    assert_eq!(made.matches("\"gun\":\"registry.example/a\"").count(), 2);
}

fn client(service: &SigningService, credentials: &SignifyCredentials) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(service.authority().as_bytes()).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([root])
        .identity(reqwest::Identity::from_pem(credentials.pem()).unwrap())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

/// Signs against a service, and says what came of it and how often it was asked.
fn sign(
    certificate: ServerCertificate,
    secret: ClientSecret,
    answers: Vec<ServiceAnswer>,
) -> (Result<(), String>, usize) {
    let service = SigningService::start(certificate);
    service.answer(answers);
    let credentials = SignifyCredentials::read(&service.secret(secret)).unwrap();
    let timing = SignifyTiming {
        attempts: 3,
        deadline: Duration::from_millis(1500),
        pause: Duration::from_millis(1),
    };
    let http = client(&service, &credentials);
    let signify = Signify::new(&service.url(), credentials, http, timing).unwrap();
    let (repository, tags) = place("registry.example.net/team/demo:v1");
    let subject = descriptor(MediaType::OciManifest, MANIFEST);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(signify.sign(&subject, &repository, &tags, Timestamp::now()));
    let requests = service.requests();
    let expected = request(&subject, &repository, &tags);
    assert!(
        requests.iter().all(|body| *body == expected),
        "every attempt is the same"
    );
    (outcome.map_err(|error| error.to_string()), requests.len())
}

#[test]
fn only_202_is_success_and_only_what_may_pass_is_tried_again() {
    let check = |answers: &[ServiceAnswer], expected: Result<(), &str>, asked: usize| {
        let (found, times) = sign(
            ServerCertificate::Good,
            ClientSecret::Good,
            answers.to_vec(),
        );
        match (&found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(text)) if error.contains(text) => {}
            (found, _) => panic!("{answers:?}: {found:?} is not {expected:?}"),
        }
        assert_eq!(times, asked, "{answers:?}");
        if let Err(error) = found {
            assert!(error.len() < 600, "{} bytes of error", error.len());
        }
    };
    let status = |status, body: &str| ServiceAnswer::Status(status, body.into());
    check(&[], Ok(()), 1);
    check(&[status(503, "busy"), status(502, "")], Ok(()), 3);
    check(&[status(429, ""), status(408, "")], Ok(()), 3);
    check(&[ServiceAnswer::Later(429, 0)], Ok(()), 2);
    check(&[ServiceAnswer::Reset], Ok(()), 2);
    check(
        &[
            status(500, "no keys today"),
            status(500, "no keys today"),
            status(500, "no keys today"),
        ],
        Err("tried 3 times: 500 Internal Server Error: no keys today"),
        3,
    );
    check(
        &[status(400, "unknown gun\n")],
        Err("400 Bad Request: unknown gun"),
        1,
    );
    check(&[status(401, "")], Err("refused: 401 Unauthorized"), 1);
    check(
        &[status(403, "not\u{1b}[31m yours")],
        Err("403 Forbidden: not[31m yours"),
        1,
    );
    check(
        &[status(200, "<html>log in</html>")],
        Err("refused: 200 OK: <html>log in"),
        1,
    );
    check(
        &[ServiceAnswer::Redirect("https://localhost:1/".into())],
        Err("is not followed"),
        1,
    );
    let huge = "x".repeat(10 * 1024 * 1024);
    check(&[status(400, &huge)], Err("400 Bad Request: xxx"), 1);
}

#[test]
fn a_silent_service_does_not_keep_us() {
    let answers = vec![ServiceAnswer::Silence, ServiceAnswer::Accepted];
    let (found, times) = sign(ServerCertificate::Good, ClientSecret::Good, answers);
    assert_eq!((found, times), (Ok(()), 2));
}

#[test]
fn certificates_must_be_right_on_both_sides() {
    let check = |certificate, secret, expected: &str| {
        let (found, times) = sign(certificate, secret, Vec::new());
        let error = found.unwrap_err();
        assert!(
            error.contains(expected),
            "{certificate:?} {secret:?}: {error}"
        );
        assert_eq!(times, 0);
    };
    let good = ClientSecret::Good;
    check(ServerCertificate::Expired, good, "is not trusted");
    check(ServerCertificate::WrongHost, good, "is not trusted");
    check(ServerCertificate::Expired, good, "certificate expired");
    check(ServerCertificate::SelfSigned, good, "UnknownIssuer");
    check(ServerCertificate::WrongHost, good, "not valid for name");
    // Ours is looked at before anybody is asked.
    check(ServerCertificate::Good, ClientSecret::Expired, "holds from");
    check(
        ServerCertificate::Good,
        ClientSecret::Stranger,
        "could not be reached",
    );
}

#[test]
fn a_secret_must_be_whole() {
    let service = SigningService::start(ServerCertificate::Good);
    let check = |secret: &[u8], expected: &str| {
        let error = SignifyCredentials::read(secret).map(drop).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(expected), "{shown}");
    };
    check(
        &service.secret(ClientSecret::OtherKey),
        "the key is not the one",
    );
    check(b"", "not JSON");
    check(b"{}", "not JSON");
    check(
        br#"{"certData":"?","privateKeyData":""}"#,
        "`certData` is not base64",
    );
    check(
        br#"{"certData":"","privateKeyData":"?"}"#,
        "`privateKeyData` is not base64",
    );
    check(br#"{"certData":"","privateKeyData":""}"#, "no certificates");
    let mut whole: serde_json::Value =
        serde_json::from_slice(&service.secret(ClientSecret::Good)).unwrap();
    whole["privateKeyData"] = "".into();
    check(whole.to_string().as_bytes(), "no key that can be used");
    let credentials = SignifyCredentials::read(&service.secret(ClientSecret::Good)).unwrap();
    assert_eq!(
        format!("{credentials:?}"),
        "SignifyCredentials(CN=client, …)"
    );
    let timing = SignifyTiming::default();
    let http = client(&service, &credentials);
    let made = |endpoint: &str| Signify::new(endpoint, credentials.clone(), http.clone(), timing);
    for endpoint in [
        "http://localhost/",
        "localhost",
        "",
        "http://us:canary@localhost/?token=canary",
        "us:canary@localhost/sign#canary",
        "https://us:canary@localhost:port/",
    ] {
        let error = made(endpoint).map(drop).unwrap_err();
        assert!(matches!(error, SignifyError::Endpoint(_)), "{endpoint}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    let error = made("https://us:canary@localhost/").map(drop).unwrap_err();
    assert!(matches!(error, SignifyError::Account(_)), "{error}");
    assert!(!error.to_string().contains("canary"), "{error}");
    // What is written into journals tells services apart, and no secrets.
    let identity = |endpoint: &str| made(endpoint).unwrap().identity();
    let one = identity("https://localhost/sign?token=canary");
    assert!(!one.contains("canary"), "{one}");
    assert_ne!(one, identity("https://localhost/sign?token=other"));
}
