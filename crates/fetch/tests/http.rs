//! Files from a web server that may misbehave.

use std::io;
use std::time::Duration;

use fetch::{Fetched, HttpClient, HttpOptions, HttpRequest, HttpTiming, Sink, Validators};
use testkit::{Page, PageFault, Web};

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn restart(&mut self) -> io::Result<()> {
        self.0.clear();
        Ok(())
    }

    fn expect(&mut self, _: Option<u64>) {}

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn client() -> HttpClient {
    let timing = HttpTiming {
        idle: Duration::from_millis(300),
        pause: Duration::from_millis(1),
        attempts_max: 3,
        ..HttpTiming::default()
    };
    let options = HttpOptions {
        timing,
        ..HttpOptions::default()
    };
    HttpClient::new(&options).unwrap()
}

fn request(url: &str) -> HttpRequest<'_> {
    HttpRequest {
        url,
        known: None,
        downgrade: false,
        bytes_max: 1000,
    }
}

/// What comes of a request, as a line; and what the server saw.
async fn outcome(web: &Web, request: HttpRequest<'_>) -> (String, Vec<String>) {
    let mut sink = Bytes::default();
    let outcome = match client().fetch(request, &mut sink).await {
        Ok(Fetched::Unchanged) => "unchanged".to_owned(),
        Ok(Fetched::File {
            modified, bytes, ..
        }) => {
            let text = String::from_utf8_lossy(&sink.0);
            format!("{bytes} {modified:?} {text}")
        }
        Err(error) => format!("error: {error}").replace(&web.host(), "HOST"),
    };
    (outcome, web.visits())
}

#[tokio::test]
async fn pages_and_faults() {
    let web = Web::start();
    let page = |path: &str, body: &str, fault: PageFault| {
        let body = body.as_bytes().to_vec();
        let page = Page {
            body,
            fault,
            last_modified: Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
            ..Page::default()
        };
        web.put(path, page);
    };
    page("/a", "hello", PageFault::None);
    page("/moved", "", PageFault::Redirect("/a".to_owned()));
    page("/loop", "", PageFault::Redirect("/loop".to_owned()));
    page(
        "/nowhere",
        "",
        PageFault::Redirect("ftp://x/?secret".to_owned()),
    );
    page("/once", "hello", PageFault::Cut { after: 2, times: 1 });
    page(
        "/always",
        "hello",
        PageFault::Cut {
            after: 2,
            times: 99,
        },
    );
    page("/stalls", "hello", PageFault::Stall(2));
    page("/large", &"x".repeat(1001), PageFault::None);
    page("/busy", "", PageFault::Status(503));
    page("/denied", "", PageFault::Status(403));
    let table: &[(&str, &str, usize)] = &[
        ("/a", "5 Some(784111777) hello", 1),
        ("/moved", "5 Some(784111777) hello", 2),
        ("/loop", "error: HOST redirected more than 10 times", 11),
        (
            "/nowhere",
            "error: HOST redirected to `ftp://x/`, which is not an address of http",
            1,
        ),
        ("/once", "5 Some(784111777) hello", 2),
        ("/always", "error: HOST broke off after 2 bytes", 3),
        (
            "/stalls",
            "error: HOST stopped in the middle of the file",
            3,
        ),
        ("/large", "error: HOST sent more than 1000 bytes", 1),
        ("/busy", "error: HOST answered 503 Service Unavailable", 3),
        ("/denied", "error: HOST answered 403 Forbidden", 1),
        ("/missing", "error: HOST answered 404 Not Found", 1),
    ];
    for (path, expected, requests) in table {
        let url = web.url(path);
        let (outcome, visits) = outcome(&web, request(&url)).await;
        assert_eq!(outcome, *expected, "{path}");
        assert_eq!(visits.len(), *requests, "{path}: {visits:?}");
    }
}

#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    let web = Web::start();
    let put = |etag: &str, date: &str, fault: PageFault| {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        web.put(
            "/a",
            Page {
                body: b"hello".to_vec(),
                etag: some(etag),
                last_modified: some(date),
                fault,
            },
        );
    };
    let known = |etag: &str, date: &str| Validators {
        etag: (!etag.is_empty()).then(|| etag.to_owned()),
        last_modified: (!date.is_empty()).then(|| date.to_owned()),
    };
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let check = async |known: Validators, unchanged: bool, status: &str| {
        let url = web.url("/a");
        let request = HttpRequest {
            known: Some(&known),
            ..request(&url)
        };
        let (outcome, visits) = outcome(&web, request).await;
        assert_eq!(outcome == "unchanged", unchanged, "{known:?}");
        assert_eq!(visits, [format!("{status} /a")]);
    };
    put("\"1\"", date, PageFault::None);
    check(known("\"1\"", date), true, "304").await;
    check(known("\"2\"", date), false, "200").await;
    check(known("", date), true, "304").await;
    check(known("", "Sun, 06 Nov 1994 08:49:38 GMT"), false, "200").await;
    // A server without conditions: a strong tag is still an answer.
    put("\"1\"", "", PageFault::NoConditions);
    check(known("\"1\"", ""), true, "200").await;
    put("W/\"1\"", "", PageFault::NoConditions);
    check(known("W/\"1\"", ""), false, "200").await;
}

/// What a URL says of who we are goes to its own origin, and nowhere else (D01 of the wire's
/// rules).
#[tokio::test]
async fn a_password_stays_at_its_origin() {
    let (web, other) = (Web::start(), Web::start());
    let to = |place: String| Page {
        fault: PageFault::Redirect(place),
        ..Page::default()
    };
    web.put("/here", to("/there".to_owned()));
    web.text("/there", "hello");
    web.put("/away", to(other.url("/there")));
    web.put("/as", to(format!("http://me:pw@{}/there", other.host())));
    other.text("/there", "hello");
    let url = |path: &str| format!("http://user:secret@{}{path}", web.host());
    for (path, at_other) in [("/here", 0), ("/away", 1), ("/as", 1)] {
        let url = url(path);
        let mut sink = Bytes::default();
        client().fetch(request(&url), &mut sink).await.unwrap();
        let ours = web.take();
        let has = |visit: &testkit::Visit| visit.headers.contains_key("authorization");
        assert!(ours.iter().all(has), "{path}: {ours:?}");
        let theirs = other.take();
        assert_eq!(theirs.len(), at_other, "{path}");
        assert!(!theirs.iter().any(has), "{path}: {theirs:?}");
    }
}
