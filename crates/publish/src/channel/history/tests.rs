//! Records of a registry: a past, and what is no record.

use std::io::Read as _;

use oci::{Descriptor, Manifest, MediaType, Raw};
use registry::ClientOptions;
use testkit::Registry;

use super::*;
use crate::channel::{CHANNEL_SCHEMA, Who};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn record(channel: &str, commit: &str, previous: Option<Digest>) -> ChannelRecord {
    ChannelRecord {
        schema: CHANNEL_SCHEMA,
        channel: channel.into(),
        commit: Some(commit.into()),
        dirty: false,
        mixed: false,
        who: Who {
            name: "kevin".into(),
            verified: false,
            issuer: None,
        },
        when: "2026-11-21T22:00:00Z".into(),
        tool: "kiln 0".into(),
        previous,
        origin: None,
        overridden: None,
        tag: "latest".into(),
        images: Vec::new(),
    }
}

/// Puts a record where a channel has it.
fn keep(registry: &Registry, record: &ChannelRecord) -> Digest {
    let content = record.content();
    let [Document::Manifest(manifest)] = &content.documents[..] else {
        panic!("one manifest");
    };
    let value = manifest.value();
    for blob in value.layers.iter().chain([&value.config]) {
        let mut bytes = Vec::new();
        let source = content.blobs.source(blob).unwrap();
        source.open(0).unwrap().read_to_end(&mut bytes).unwrap();
        registry.put_blob("kevin", bytes);
    }
    registry.put_manifest("kevin", "current", MANIFEST, manifest.bytes().to_vec());
    let digest = manifest.digest();
    registry.put_manifest(
        "kevin",
        digest.as_str(),
        MANIFEST,
        manifest.bytes().to_vec(),
    )
}

/// What stands in the current record of the channel `kevin`, and before.
async fn read(
    registry: &Registry,
    records_max: usize,
) -> Result<(Vec<String>, HistoryEnd), String> {
    let client = Client::new(ClientOptions::default()).unwrap();
    let repository = format!("{}/kevin", registry.host()).parse().unwrap();
    match history(&client, &repository, "kevin", records_max).await {
        Ok(history) => {
            let commits = history.records.into_iter();
            let commits = commits.map(|kept| kept.record.commit.unwrap()).collect();
            Ok((commits, history.end))
        }
        Err(error) => {
            let source = std::error::Error::source(&error).unwrap();
            Err(source.to_string())
        }
    }
}

#[tokio::test]
async fn a_channel_has_a_past() {
    let registry = Registry::start();
    let check = async |records_max, commits: &[&str], end| {
        let commits = commits.iter().map(|commit| (*commit).to_owned()).collect();
        assert_eq!(read(&registry, records_max).await, Ok((commits, end)));
    };
    check(10, &[], HistoryEnd::First).await;
    let first = keep(&registry, &record("kevin", "one", None));
    check(10, &["one"], HistoryEnd::First).await;
    let second = keep(&registry, &record("kevin", "two", Some(first)));
    keep(&registry, &record("kevin", "three", Some(second)));
    check(10, &["three", "two", "one"], HistoryEnd::First).await;
    check(2, &["three", "two"], HistoryEnd::Bound).await;
    let gone = Digest::of(b"was pruned");
    keep(&registry, &record("kevin", "four", Some(gone.clone())));
    check(10, &["four"], HistoryEnd::Gone(gone)).await;
}

#[tokio::test]
async fn what_is_no_record_of_the_channel_is_not_believed() {
    let registry = Registry::start();
    let check = async |expected: &str| {
        let error = read(&registry, 10).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    keep(&registry, &record("stable", "one", None));
    check("it is the record of the channel `stable`").await;

    let image = testkit::image().build();
    registry.seed("kevin", "current", &image);
    check("it is an image, or another artifact").await;

    let put = |layers: Vec<Descriptor>| {
        let manifest = Raw::write(Manifest {
            schema_version: 2,
            media_type: Some(MediaType::OciManifest),
            artifact_type: Some(CHANNEL_ARTIFACT.into()),
            config: oci::Attachment::empty_config(),
            layers,
            subject: None,
            annotations: std::collections::BTreeMap::new(),
        });
        registry.put_manifest("kevin", "current", MANIFEST, manifest.bytes().to_vec());
    };
    let layer = |media_type: &str, bytes: &[u8], size: u64| {
        let digest = registry.put_blob("kevin", bytes.to_vec());
        Descriptor::new(MediaType::Other(media_type.into()), digest, size)
    };
    put(Vec::new());
    check("it does not have one layer").await;
    put(vec![layer("text/plain", b"{}", 2)]);
    check("its layer is of another type").await;
    put(vec![layer(CHANNEL_LAYER, b"{}", 2)]);
    check("its form is wrong").await;
    put(vec![layer(CHANNEL_LAYER, b"{}", RECORD_BYTES_MAX + 1)]);
    check("more than 1048576").await;

    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    let index_type = "application/vnd.oci.image.index.v1+json";
    registry.put_manifest("kevin", "current", index_type, index.to_vec());
    check("it is an index of images").await;
}
