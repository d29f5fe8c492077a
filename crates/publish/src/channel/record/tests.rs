//! Records that are written and read, and what cannot be one.

use super::*;

fn record() -> ChannelRecord {
    let image = |name: &str, variant: &str| ChannelImage {
        name: name.into(),
        variant: variant.into(),
        path: name.into(),
        repository: format!("registry.example/kevin/{variant}/{name}"),
        digest: Digest::of(name.as_bytes()),
        platforms: vec!["linux/amd64".parse().unwrap()],
        tags: vec!["0123".into()],
        input_digest: Some(Digest::of(b"inputs")),
        commit: Some("abc".into()),
    };
    ChannelRecord {
        schema: CHANNEL_SCHEMA,
        channel: "kevin".into(),
        commit: Some("0123456789012345678901234567890123456789".into()),
        dirty: false,
        mixed: false,
        who: Who {
            name: "kevin".into(),
            verified: false,
            issuer: None,
        },
        when: "2026-11-21T22:00:00Z".into(),
        tool: "kiln 0.1.0".into(),
        previous: Some(Digest::of(b"before")),
        origin: Some(ChannelOrigin::Promoted {
            channel: "other".into(),
            record: Digest::of(b"other"),
        }),
        overridden: Some(ChannelOverride {
            rules: vec!["clean".into()],
        }),
        tag: "latest".into(),
        images: vec![image("epp", "plain"), image("epp", "debug")],
    }
}

#[test]
fn what_is_written_is_read_again() {
    let bare = ChannelRecord {
        commit: None,
        previous: None,
        origin: None,
        overridden: None,
        images: Vec::new(),
        ..record()
    };
    for record in [record(), bare] {
        let read = ChannelRecord::from_json(&record.to_json()).unwrap();
        assert_eq!(read, record);
        assert_eq!(read.content().root, record.content().root);
    }
}

#[test]
fn fields_that_are_not_known_yet_do_no_harm() {
    let mut json: serde_json::Value = serde_json::from_slice(&record().to_json()).unwrap();
    json["weather"] = "fine".into();
    let json = serde_json::to_vec(&json).unwrap();
    assert_eq!(ChannelRecord::from_json(&json).unwrap(), record());
}

#[test]
fn what_cannot_be_is_refused() {
    let check = |change: &dyn Fn(&mut ChannelRecord), expected: &str| {
        let mut wrong = record();
        change(&mut wrong);
        let error = ChannelRecord::from_json(&wrong.to_json()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(
        &|record| record.schema = 2,
        "it has the form 2, which is newer than what this version of kiln reads (1)",
    );
    let text = "a text in it is too long, or has control characters";
    check(&|record| record.who.name = "\x1b[31m".into(), text);
    check(&|record| record.images[0].variant = "a\nb".into(), text);
    check(&|record| record.commit = Some("x".repeat(1025)), text);
    check(&|record| record.tag = "a b".into(), "`a b` is not a tag");
    check(
        &|record| record.images[0].tags = vec!["a b".into()],
        "a tag of epp (plain) is none",
    );
    check(
        &|record| record.images[0].repository = "registry.example/UPPER".into(),
        "the repository of epp (plain) is none",
    );
    check(
        &|record| record.images[1].variant = "plain".into(),
        "epp (plain) is in it twice",
    );
    check(
        &|record| record.images[1].repository = record.images[0].repository.clone(),
        "epp (debug) is in it twice",
    );
    check(
        &|record| {
            let one = record.images[0].clone();
            record.images = vec![one; CHANNEL_IMAGES_MAX + 1];
        },
        "it has 2049 images, more than 2048",
    );
    let long = vec![b' '; 1024 * 1024 + 1];
    let error = ChannelRecord::from_json(&long).unwrap_err();
    assert_eq!(error.to_string(), "it has 1048577 bytes, more than 1048576");
    for json in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"schema":"1"}"#,
        r#"{"schema":1}"#,
    ] {
        assert!(matches!(
            ChannelRecord::from_json(json.as_bytes()),
            Err(RecordError::Json(_))
        ));
    }
}

#[test]
fn the_tag_that_readers_follow_is_the_last() {
    let check = |change: &dyn Fn(&mut ChannelRecord), expected: &[&str]| {
        let mut record = record();
        change(&mut record);
        let (own, moving) = record.tags(&Digest::of(b""));
        let own: Vec<&str> = own.iter().map(Tag::as_str).collect();
        let moving: Vec<&str> = moving.iter().map(Tag::as_str).collect();
        assert_eq!(own, ["record-e3b0c44298fc1c14"]);
        assert_eq!(moving, expected);
    };
    let commit = "0123456789012345678901234567890123456789";
    check(&|_| {}, &[commit, "current"]);
    check(
        &|record| record.dirty = true,
        &[&format!("{commit}-dirty"), "current"],
    );
    check(&|record| record.commit = None, &["current"]);
    // A commit that is no tag must not keep the record from being found.
    check(&|record| record.commit = Some("/".into()), &["current"]);
}

#[test]
fn the_artifact_names_what_it_gives() {
    let content = record().content();
    let Document::Manifest(manifest) = &content.documents[0] else {
        panic!("a manifest");
    };
    let manifest = manifest.value();
    assert_eq!(manifest.artifact_type.as_deref(), Some(CHANNEL_ARTIFACT));
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        let source = content.blobs.source(blob).expect("it is held");
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut source.open(0).unwrap(), &mut bytes).unwrap();
        assert!(blob.digest.matches(&bytes));
        assert_eq!(blob.size, bytes.len() as u64);
    }
}
