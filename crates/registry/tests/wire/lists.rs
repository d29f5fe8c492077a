//! Lists of tags and of referrers, and deleting.

use std::collections::BTreeMap;

use oci::{Attachment, Descriptor, Digest, Document, MediaType, Raw, Repository};
use registry::{Client, ErrorKind, Selector, referrers_tag};
use testkit::{Action, Auth, Endpoint, ImmutableTags, Match, Method, Options, Realm, Registry};

use crate::common::{block_on, client, client_as, repository, sample};

const KIND: &str = "application/vnd.example.note";
const OTHER_KIND: &str = "application/vnd.example.other";

fn subject() -> Descriptor {
    let sample = sample(100);
    let size = sample.manifest.len() as u64;
    Descriptor::new(MediaType::OciManifest, sample.digest, size)
}

/// A referrer of the sample that says when it was made.
fn note(kind: &str, text: &str, created: &str) -> Attachment {
    Attachment::referrer(
        kind,
        subject(),
        vec![(
            MediaType::Other("text/plain".into()),
            text.as_bytes().to_vec(),
            BTreeMap::new(),
        )],
        BTreeMap::from([(
            "org.opencontainers.image.created".to_owned(),
            created.to_owned(),
        )]),
    )
}

async fn attach(
    client: &Client,
    repository: &Repository,
    attachment: &Attachment,
) -> Result<Descriptor, registry::Error> {
    for blob in &attachment.blobs {
        let size = blob.bytes.len() as u64;
        let descriptor = Descriptor::new(MediaType::Other("any".into()), blob.digest.clone(), size);
        let bytes = bytes::Bytes::from(blob.bytes.clone());
        client
            .push_blob(repository, &descriptor, &bytes, &Default::default())
            .await?;
    }
    let document = Document::Manifest(Box::new(attachment.manifest.clone()));
    client.add_referrer(repository, &document).await
}

fn digests(found: &[Descriptor]) -> Vec<Digest> {
    found.iter().map(|one| one.digest.clone()).collect()
}

/// Three notes go in, and come out newest first, whatever the registry is like.
fn check_notes(name: &str, options: Options, faults: &[(Match, Action)], uses_tag: bool) {
    let registry = Registry::with(options);
    for (matching, action) in faults {
        registry.fault(matching.clone(), action.clone());
    }
    let client = client();
    let repository = repository(&format!("{}/team/app", registry.host()));
    sample(100).seed(&registry, "team/app", "1");
    let notes = [
        note(KIND, "b", "2026-01-02T00:00:00Z"),
        note(OTHER_KIND, "c", "2026-01-03T00:00:00Z"),
        note(KIND, "a", "2026-01-01T00:00:00Z"),
    ];
    let digest = subject().digest;
    block_on(async {
        for note in &notes {
            attach(&client, &repository, note).await.expect(name);
        }
        let [b, c, a] = notes.each_ref().map(|note| note.manifest.digest().clone());
        let all = client.referrers(&repository, &digest, None).await;
        let all = all.expect(name);
        assert_eq!(digests(&all), [c, b.clone(), a.clone()], "{name}");
        for found in &all {
            let kind = found.artifact_type.as_deref();
            assert!(kind == Some(KIND) || kind == Some(OTHER_KIND), "{name}");
        }
        let some = client.referrers(&repository, &digest, Some(KIND)).await;
        assert_eq!(digests(&some.expect(name)), [b, a], "{name}");
    });
    let tag = referrers_tag(&digest);
    let tagged = registry.manifest("team/app", tag.as_str()).is_some();
    assert_eq!(tagged, uses_tag, "{name}");
}

fn at(method: Method, endpoint: Endpoint) -> Match {
    Match::new(method, endpoint)
}

#[test]
fn referrers_are_found_whatever_the_registry_is_like() {
    let modern = Options::default;
    let old = || Options {
        referrers: false,
        ..modern()
    };
    let lists = || at(Method::GET, Endpoint::Referrers);
    let html = || Action::Status {
        code: 200,
        headers: vec![("content-type".into(), "text/html".into())],
        body: "<html>this is a console</html>".into(),
    };
    check_notes("the whole of 1.1", modern(), &[], false);
    check_notes("no list at all", old(), &[], true);
    let in_pages = Options {
        page_entries_max: Some(1),
        ..modern()
    };
    check_notes("a page for each", in_pages, &[], false);
    let unfiltered = Options {
        filters_referrers: false,
        ..modern()
    };
    check_notes("filters are ignored", unfiltered, &[], false);
    let silent = Options {
        says_subject: false,
        ..modern()
    };
    check_notes("lists without saying so", silent, &[], true);
    check_notes("400", old(), &[(lists(), Action::status(400))], true);
    check_notes("405", old(), &[(lists(), Action::status(405))], true);
    check_notes("a page for people", old(), &[(lists(), html())], true);
    let burst = [
        (
            lists().times(2),
            Action::status_with(429, "retry-after", "1"),
        ),
        (lists().skip(2).times(2), Action::status(503)),
        (lists().skip(4).times(1), Action::Truncate { after: 30 }),
    ];
    check_notes("429, 503 and a cut", modern(), &burst, false);
    let tag = referrers_tag(&subject().digest);
    let puts = || at(Method::PUT, Endpoint::Manifest).reference(tag.as_str());
    let writes = [
        (puts().times(1), Action::status(503)),
        (puts().skip(1).times(1), Action::StatusAfter(500)),
        (puts().skip(3).times(1), Action::Forget),
    ];
    check_notes("writes that fail", old(), &writes, true);
    let gets = || at(Method::GET, Endpoint::Manifest).reference(tag.as_str());
    let reads = [
        (gets().skip(1).times(1), Action::Truncate { after: 30 }),
        (gets().skip(3).times(1), Action::FlipBit { at: 60 }),
    ];
    check_notes("reads that fail", old(), &reads, true);
    let conditional = Options {
        heeds_if_match: true,
        ..old()
    };
    check_notes("If-Match is heeded", conditional, &[], true);
}

#[test]
fn lists_that_cannot_be_had_are_errors_and_not_empty() {
    let big: Vec<u8> = {
        let entry = format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":1}}"#,
            Digest::of(b"x")
        );
        let entries = vec![entry; registry::REFERRERS_MAX + 1].join(",");
        format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#).into()
    };
    let lists = || at(Method::GET, Endpoint::Referrers);
    let cases = [
        ("403", Action::status(403), ErrorKind::Denied),
        ("500", Action::status(500), ErrorKind::Server),
        ("a flood", Action::ReplaceBody(big), ErrorKind::TooLarge),
        (
            "not even JSON",
            Action::ReplaceBody(b"x".to_vec()),
            ErrorKind::Protocol,
        ),
        (
            "more than a page holds",
            Action::ReplaceBody(vec![b' '; 5 << 20]),
            ErrorKind::TooLarge,
        ),
    ];
    for (name, action, kind) in cases {
        let registry = Registry::start();
        sample(100).seed(&registry, "team/app", "1");
        registry.fault(lists(), action);
        let repository = repository(&format!("{}/team/app", registry.host()));
        let found =
            block_on(client().referrers(&repository, &subject().digest, None)).expect_err(name);
        assert_eq!(*found.kind(), kind, "{name}: {found}");
    }
}

#[test]
fn what_is_under_the_tag_stays() {
    let registry = Registry::with(Options {
        referrers: false,
        ..Options::default()
    });
    sample(100).seed(&registry, "team/app", "1");
    let tag = referrers_tag(&subject().digest);
    let foreign = format!(
        r#"{{"schemaVersion":2,"x-owner":"somebody","manifests":[{{"mediaType":"text/odd","digest":"{0}","size":3,"x-field":[1]}}, {{"digest":"crc:1"}}]}}"#,
        sample(100).digest
    );
    registry.put_manifest(
        "team/app",
        tag.as_str(),
        MediaType::OciIndex.as_str(),
        foreign.clone(),
    );
    let client = client();
    let repository = repository(&format!("{}/team/app", registry.host()));
    let note = note(KIND, "a", "2026-01-01T00:00:00Z");
    // The fake checks what an index lists; the odd entry has to pass for that.
    registry.put_manifest("team/app", "odd", "text/plain", "{}");
    let error = block_on(attach(&client, &repository, &note));
    // An entry that is nobody's digest is refused by this registry, so only what can be stored is.
    assert!(error.is_err());
    let foreign = foreign.replace(r#", {"digest":"crc:1"}"#, "");
    registry.put_manifest(
        "team/app",
        tag.as_str(),
        MediaType::OciIndex.as_str(),
        foreign,
    );
    block_on(attach(&client, &repository, &note)).expect("room for one more");
    let (_, _, bytes) = registry.manifest("team/app", tag.as_str()).expect("a tag");
    let index: serde_json::Value = serde_json::from_slice(&bytes).expect("an index");
    assert_eq!(index["x-owner"], "somebody");
    assert_eq!(index["manifests"][0]["x-field"][0], 1);
    assert_eq!(
        index["manifests"][1]["digest"],
        note.manifest.digest().as_str()
    );
    assert_eq!(index["manifests"][1]["artifactType"], KIND);

    // A manifest under that tag is not ours to replace.
    let manifest = Raw::write(oci::Manifest {
        schema_version: 2,
        media_type: Some(MediaType::OciManifest),
        artifact_type: None,
        config: Attachment::empty_config(),
        layers: vec![],
        subject: None,
        annotations: BTreeMap::new(),
    });
    registry.put_manifest(
        "team/app",
        tag.as_str(),
        MediaType::OciManifest.as_str(),
        manifest.bytes().to_vec(),
    );
    let other = self::note(KIND, "b", "2026-01-01T00:00:00Z");
    let error = block_on(attach(&client, &repository, &other)).expect_err("no index");
    assert_eq!(*error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.to_string().contains("left alone"), "{error}");
    let found = block_on(client.referrers(&repository, &subject().digest, None));
    assert_eq!(found.expect("an empty list"), []);
}

/// D18: each signer has a client of its own, as on machines of their own.
#[test]
fn many_signers_at_once_lose_nothing() {
    for heeds_if_match in [false, true] {
        let registry = Registry::with(Options {
            referrers: false,
            heeds_if_match,
            ..Options::default()
        });
        sample(100).seed(&registry, "team/app", "1");
        let repository = repository(&format!("{}/team/app", registry.host()));
        let shared = client();
        block_on(async {
            let signers = (0..6).map(|number| {
                let note = note(KIND, &number.to_string(), "2026-01-01T00:00:00Z");
                let client = if number < 4 { shared.clone() } else { client() };
                let repository = repository.clone();
                tokio::spawn(async move { attach(&client, &repository, &note).await })
            });
            for signer in signers.collect::<Vec<_>>() {
                signer.await.expect("no panic").expect("an entry");
            }
            let found = shared.referrers(&repository, &subject().digest, None).await;
            assert_eq!(found.expect("a list").len(), 6);
        });
    }
}

#[test]
fn a_document_without_a_subject_is_nobodys_referrer() {
    let registry = Registry::start();
    let repository = repository(&format!("{}/team/app", registry.host()));
    let sample = sample(100);
    let document = Document::read(sample.manifest.to_vec(), None).expect("a manifest");
    let error = block_on(client().add_referrer(&repository, &document)).expect_err("no subject");
    assert_eq!(*error.kind(), ErrorKind::Unsupported);
    assert_eq!(registry.lines(), [""; 0]);
}

#[test]
fn long_digests_make_tags_too() {
    let digest: Digest = format!("sha512:{}", "a".repeat(128)).parse().expect("one");
    let tag = referrers_tag(&digest);
    assert_eq!(tag.as_str(), format!("sha512-{}", "a".repeat(64)));
}

fn with_tags(count: usize, options: Options) -> Registry {
    let registry = Registry::with(options);
    let sample = sample(100);
    for number in 0..count {
        sample.seed(&registry, "team/app", &format!("v{number:03}"));
    }
    registry
}

#[test]
fn tags_come_in_pages() {
    for page in [None, Some(1), Some(3), Some(7)] {
        let registry = with_tags(
            7,
            Options {
                page_entries_max: page,
                ..Options::default()
            },
        );
        registry.fault(
            at(Method::GET, Endpoint::Tags).times(1),
            Action::status(503),
        );
        let repository = repository(&format!("{}/team/app", registry.host()));
        let tags = block_on(client().tags(&repository)).expect("tags");
        let names: Vec<&str> = tags.iter().map(oci::Tag::as_str).collect();
        assert_eq!(
            names,
            ["v000", "v001", "v002", "v003", "v004", "v005", "v006"],
            "{page:?}"
        );
    }
}

/// D04.
#[test]
fn pages_are_only_fetched_from_where_they_should_be() {
    let other = with_tags(1, Options::default());
    let link = |target: String| Action::ReplaceHeader {
        name: "link".into(),
        value: Some(format!("<{target}>; rel=\"next\"")),
    };
    let body = |text: &str| Action::ReplaceBody(text.as_bytes().to_vec());
    let cases = [
        (
            "another host",
            link(format!("{}/v2/team/app/tags/list?last=a", other.url())),
            Err(ErrorKind::Protocol),
        ),
        (
            "itself",
            link("/v2/team/app/tags/list?n=1000".into()),
            Err(ErrorKind::Protocol),
        ),
        (
            "a file",
            link("file:///etc/passwd".into()),
            Err(ErrorKind::Protocol),
        ),
        ("no list", body("<html>"), Err(ErrorKind::Protocol)),
        ("null", body(r#"{"name":"a","tags":null}"#), Ok(0)),
        ("nothing", body(r#"{"name":"a"}"#), Ok(0)),
        (
            "no tags",
            body(r#"{"tags":["ok","../../x","-a","ok",""]}"#),
            Ok(1),
        ),
        (
            "too much",
            Action::ReplaceBody(vec![b' '; 5 << 20]),
            Err(ErrorKind::TooLarge),
        ),
    ];
    for (name, action, expected) in cases {
        let registry = with_tags(1, Options::default());
        registry.fault(at(Method::GET, Endpoint::Tags), action);
        let repository = repository(&format!("{}/team/app", registry.host()));
        let found = block_on(client().tags(&repository));
        let found = found
            .map(|tags| tags.len())
            .map_err(|error| error.kind().clone());
        assert_eq!(found, expected, "{name}");
    }
    assert_eq!(other.lines(), [""; 0], "the other host was asked");
}

#[test]
fn a_page_size_that_is_refused_is_left_out() {
    let registry = with_tags(2, Options::default());
    registry.fault(
        at(Method::GET, Endpoint::Tags).times(1),
        Action::status(400),
    );
    let repository = repository(&format!("{}/team/app", registry.host()));
    assert_eq!(block_on(client().tags(&repository)).expect("tags").len(), 2);
    registry.clear_faults();
    registry.fault(at(Method::GET, Endpoint::Tags), Action::status(400));
    let error = block_on(client().tags(&repository)).expect_err("refused twice");
    assert_eq!(*error.kind(), ErrorKind::Refused);
}

/// A registry that makes up page after page.
#[test]
fn endless_lists_end() {
    let registry = with_tags(
        1100,
        Options {
            page_entries_max: Some(1),
            ..Options::default()
        },
    );
    let repository = repository(&format!("{}/team/app", registry.host()));
    let error = block_on(client().tags(&repository)).expect_err("an end");
    assert_eq!(*error.kind(), ErrorKind::TooLarge, "{error}");
}

#[test]
fn deleting() {
    let account = Auth::Token {
        user: "u".into(),
        password: "p".into(),
        realm: Realm::SamePort,
        uses: None,
        anonymous_pull: false,
    };
    for auth in [Auth::Open, account] {
        let registry = with_tags(
            2,
            Options {
                auth,
                ..Options::default()
            },
        );
        let client = client_as(&registry.host(), "u", "p");
        let repository = repository(&format!("{}/team/app", registry.host()));
        let tag = "v000".parse().expect("a tag");
        block_on(async {
            client.delete_tag(&repository, &tag).await.expect("gone");
            assert_eq!(registry.tags("team/app"), ["v001"]);
            let error = client.delete_tag(&repository, &tag).await;
            assert_eq!(*error.expect_err("twice").kind(), ErrorKind::NotFound);
            let digest = sample(100).digest;
            client
                .delete_manifest(&repository, &digest)
                .await
                .expect("gone");
        });
        assert_eq!(registry.tags("team/app"), [""; 0]);
    }
    let registry = with_tags(
        1,
        Options {
            deletes: false,
            ..Options::default()
        },
    );
    let repository = repository(&format!("{}/team/app", registry.host()));
    let tag = "v000".parse().expect("a tag");
    let error = block_on(client().delete_tag(&repository, &tag)).expect_err("not here");
    assert_eq!(*error.kind(), ErrorKind::Unsupported);
    assert!(
        error
            .advice()
            .is_some_and(|advice| advice.contains("does not delete"))
    );
}

/// R18.
#[test]
fn tags_that_may_not_be_moved() {
    for words in [ImmutableTags::ArtifactRegistry, ImmutableTags::Ecr] {
        let registry = with_tags(1, Options::default());
        registry.set_immutable_tags("team/app", words);
        let repository = repository(&format!("{}/team/app", registry.host()));
        let put = |sample: &crate::common::Sample| {
            registry.put_blob("team/app", sample.layer.clone());
            registry.put_blob("team/app", sample.config.clone());
            let selector = Selector::Tag("v000".parse().expect("a tag"));
            block_on(client().push_manifest(
                &repository,
                &selector,
                &MediaType::OciManifest,
                &sample.manifest,
            ))
        };
        put(&sample(100)).expect("the same again");
        let error = put(&sample(200)).expect_err("another one");
        assert_eq!(*error.kind(), ErrorKind::TagImmutable, "{error}");
    }
}

#[test]
fn repositories_are_listed_where_the_registry_does() {
    let names = ["a", "b/c", "team/app"];
    let check = |name: &str, options: Options, client: &dyn Fn(&str) -> Client, listed: bool| {
        let registry = Registry::with(options);
        for name in names {
            sample(100).seed(&registry, name, "1");
        }
        let host = registry.host();
        let root = repository(&format!("{host}/anything"));
        let found = block_on(client(&host).repositories(&root));
        if listed {
            let whole = names.map(|name| repository(&format!("{host}/{name}")));
            assert_eq!(found.expect(name), whole, "{name}");
        } else {
            let error = found.expect_err(name);
            assert_eq!(*error.kind(), ErrorKind::Unsupported, "{name}: {error}");
        }
    };
    let open = |_: &str| client();
    check("whole", Options::default(), &open, true);
    let pages = Options {
        page_entries_max: Some(2),
        ..Options::default()
    };
    check("pages", pages, &open, true);
    let none = Options {
        catalog: false,
        ..Options::default()
    };
    check("none", none, &open, false);
    let guarded = || Options {
        auth: Auth::token("u", "p"),
        ..Options::default()
    };
    let known = |host: &str| client_as(host, "u", "p");
    check("with a token", guarded(), &known, true);
    let stranger = |host: &str| client_as(host, "u", "wrong");
    let refused = Registry::with(guarded());
    let root = repository(&format!("{}/a", refused.host()));
    assert!(block_on(stranger(&refused.host()).repositories(&root)).is_err());
}
