//! Shelves in buckets and in the cache of GitHub Actions, against services on loopback that check
//! every signature: what is put there comes back, and whatever goes wrong is an error of its kind.

use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use oci::{Descriptor, Digest, MediaType};
use registry::{Client, ClientOptions, Secret};
use shelf::{
    Address, AzblobAddress, BLOBS_PREFIX, BucketPaths, DOCUMENTS_PREFIX, Document, DocumentName,
    GcsAddress, GhaAddress, NAME, Network, S3Address, S3Credentials, Shelf, ShelfErrorKind, open,
};
use testkit::{Bucket, BucketAuth, BucketFault};

/// The key of Azure's account: `secret` in base64.
const AZURE_KEY: &str = "c2VjcmV0";

fn paths() -> BucketPaths {
    BucketPaths {
        prefix: "ci/".to_owned(),
        blobs_prefix: BLOBS_PREFIX.to_owned(),
        documents_prefix: DOCUMENTS_PREFIX.to_owned(),
        name: NAME.to_owned(),
    }
}

fn shelf(address: &Address) -> Result<Arc<dyn Shelf>, shelf::ShelfError> {
    shelf_with(address, google::Google::default())
}

fn shelf_with(
    address: &Address,
    google: google::Google,
) -> Result<Arc<dyn Shelf>, shelf::ShelfError> {
    let network = Network {
        google,
        client: Client::new(ClientOptions::default()).unwrap(),
        trust: Default::default(),
        proxies: Default::default(),
    };
    open(address, &network, None)
}

/// One of each kind with its service.
fn services() -> Vec<(&'static str, Bucket, Arc<dyn Shelf>)> {
    let aws = Bucket::start(BucketAuth::Aws {
        key: "id".to_owned(),
        secret: "secret".to_owned(),
        region: "eu-1".to_owned(),
    });
    let google = Bucket::start(BucketAuth::Bearer("token".to_owned()));
    let azure = Bucket::start(BucketAuth::Azure {
        account: "account".to_owned(),
        key: b"secret".to_vec(),
    });
    let actions = Bucket::start(BucketAuth::Bearer("runtime".to_owned()));
    let s3 = Address::S3(S3Address {
        bucket: "bucket".to_owned(),
        region: Some("eu-1".to_owned()),
        paths: paths(),
        endpoint_url: Some(aws.url()),
        use_path_style: true,
        credentials: Some(S3Credentials {
            access_key_id: "id".to_owned(),
            secret_access_key: Secret::new("secret"),
            session_token: Some(Secret::new("session")),
        }),
    });
    let gcs = Address::Gcs(GcsAddress {
        bucket: "bucket".to_owned(),
        paths: paths(),
        endpoint_url: Some(google.url()),
        credentials_file: None,
        token: Some(Secret::new("token")),
    });
    let azblob = Address::Azblob(AzblobAddress {
        account_url: format!("{}/account", azure.url()),
        container: "container".to_owned(),
        paths: paths(),
        secret_access_key: Some(Secret::new(AZURE_KEY)),
    });
    let gha = Address::Gha(GhaAddress {
        scope: "main".to_owned(),
        url: None,
        url_v2: Some(actions.url()),
        token: Some(Secret::new("runtime")),
    });
    vec![
        ("s3", aws, shelf(&s3).unwrap()),
        ("gcs", google, shelf(&gcs).unwrap()),
        ("azblob", azure, shelf(&azblob).unwrap()),
        ("gha", actions, shelf(&gha).unwrap()),
    ]
}

fn blob(content: &[u8]) -> Descriptor {
    let media_type = MediaType::Other("application/octet-stream".into());
    Descriptor::new(media_type, Digest::of(content), content.len() as u64)
}

fn content() -> Vec<u8> {
    (0..700_000_u32)
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

async fn read(shelf: &Arc<dyn Shelf>, blob: &Descriptor) -> Result<Vec<u8>, String> {
    let mut reader = shelf.open(blob).await.map_err(|error| error.to_string())?;
    tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        Ok(bytes)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_there_comes_back() {
    for (name, service, shelf) in services() {
        let content = content();
        let blob = blob(&content);
        let document = DocumentName::new("mount-a").unwrap();
        assert_eq!(shelf.document(&document).await.unwrap(), None, "{name}");
        assert!(!shelf.has(&blob).await.unwrap(), "{name}");
        let absent = shelf.range(&blob, 0..10).await.unwrap_err();
        assert_eq!(absent.kind(), ShelfErrorKind::Absent, "{name}");

        let source: Arc<dyn registry::BlobSource> = Arc::new(Bytes::from(content.clone()));
        shelf.put(&blob, Arc::clone(&source), &[]).await.unwrap();
        assert!(shelf.has(&blob).await.unwrap(), "{name}");
        assert_eq!(read(&shelf, &blob).await.unwrap(), content, "{name}");
        let part = shelf.range(&blob, 1000..2000).await.unwrap();
        assert_eq!(part, content[1000..2000], "{name}");
        let end = content.len() as u64;
        let part = shelf.range(&blob, end - 1..end).await.unwrap();
        assert_eq!(part.len(), 1, "{name}");
        service.log();
        shelf.put(&blob, source, &[]).await.unwrap();
        let puts = service
            .log()
            .iter()
            .filter(|line| line.contains(" PUT "))
            .count();
        assert_eq!(puts, 0, "{name}: it is there already");

        // The last one to put a document wins, and names are apart.
        for body in ["first", "second"] {
            let said = Document {
                body: body.into(),
                blobs: vec![blob.clone()],
            };
            for name in [document.clone(), DocumentName::main()] {
                shelf.put_document(&name, &said).await.unwrap();
                assert_eq!(shelf.document(&name).await.unwrap(), Some(said.clone()));
            }
        }
        let other = DocumentName::new("mount-b").unwrap();
        let shared = DocumentName::shared("mount-a").unwrap();
        for name in [other, shared] {
            assert_eq!(shelf.document(&name).await.unwrap(), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_objects_are_those_of_buildx() {
    for (name, service, shelf) in services() {
        let blob = blob(b"content");
        let source = Arc::new(Bytes::from_static(b"content"));
        shelf.put(&blob, source, &[]).await.unwrap();
        let document = Document::default();
        shelf
            .put_document(&DocumentName::main(), &document)
            .await
            .unwrap();
        let names: Vec<String> = service.objects().into_keys().collect();
        let expected = match name {
            "gha" => continue,
            "azblob" => "/account/container/ci/",
            _ => "/bucket/ci/",
        };
        let digest = &blob.digest;
        assert_eq!(
            names,
            [
                format!("{expected}blobs/{digest}"),
                format!("{expected}manifests/kiln")
            ],
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_errors_of_their_kind() {
    for (name, service, shelf) in services() {
        let content = content();
        let blob = blob(&content);
        let source: Arc<dyn registry::BlobSource> = Arc::new(Bytes::from(content.clone()));
        let document = DocumentName::new("d").unwrap();
        for (status, expected) in [
            (401, ShelfErrorKind::Denied),
            (403, ShelfErrorKind::Denied),
            (400, ShelfErrorKind::Refused),
            (413, ShelfErrorKind::Full),
        ] {
            service.fault(BucketFault::Status(status, None), 1);
            let error = shelf.document(&document).await.unwrap_err();
            assert_eq!(error.kind(), expected, "{name} {status}");
            service.fault(BucketFault::Status(status, None), 1);
            let error = shelf
                .put(&blob, Arc::clone(&source), &[])
                .await
                .unwrap_err();
            assert_eq!(error.kind(), expected, "{name} {status}");
        }
        // A pause that is too long is no reason to wait.
        service.fault(BucketFault::Status(429, Some(3600)), 1);
        let error = shelf.has(&blob).await.unwrap_err();
        assert_eq!(error.kind(), ShelfErrorKind::Full, "{name}");
        // What passes is tried again.
        for fault in [
            BucketFault::Status(500, None),
            BucketFault::Status(429, Some(0)),
            BucketFault::Status(503, Some(0)),
            BucketFault::Reset,
        ] {
            service.fault(fault.clone(), 2);
            assert!(!shelf.has(&blob).await.unwrap(), "{name} {fault:?}");
        }
        service.fault(BucketFault::Status(500, Some(0)), 100);
        let error = shelf.has(&blob).await.unwrap_err();
        assert_eq!(error.kind(), ShelfErrorKind::Unreachable, "{name}");
        service.fault(BucketFault::None, 0);

        shelf.put(&blob, source, &[]).await.unwrap();
        let path = service
            .objects()
            .into_keys()
            .find(|path| path.contains("sha256"))
            .unwrap();
        let changed = |change: fn(&mut Vec<u8>)| {
            let mut content = content.clone();
            change(&mut content);
            service.put(&path, content);
        };
        changed(|content| content[100_000] ^= 1);
        read(&shelf, &blob).await.expect_err("a wrong bit");
        changed(|content| content.truncate(1000));
        read(&shelf, &blob).await.expect_err("the end is missing");
        changed(|content| content.push(0));
        read(&shelf, &blob).await.expect_err("something follows");
        service.put(&path, content.clone());
        assert_eq!(read(&shelf, &blob).await.unwrap(), content, "{name}");
        if name != "gha" {
            service.fault(BucketFault::Truncate, 1);
            read(&shelf, &blob).await.expect_err("cut off");
            service.fault(BucketFault::Slow, 1);
            assert_eq!(read(&shelf, &blob).await.unwrap(), content, "{name}");
            service.fault(BucketFault::NoRanges, 1);
            let error = shelf.range(&blob, 0..10).await.unwrap_err();
            assert_eq!(error.kind(), ShelfErrorKind::Ranges, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_put_there_is_told() {
    for (name, service, shelf) in services() {
        let document = DocumentName::main();
        shelf
            .put_document(&document, &Document::default())
            .await
            .unwrap();
        let path = service.objects().into_keys().next().unwrap();
        for content in [
            &b""[..],
            b"<html>",
            b"{\"kind\":\"other\",\"blobs\":[]}\n",
            b"\n\n",
        ] {
            service.put(&path, content.to_vec());
            let error = shelf.document(&document).await.unwrap_err();
            let expected = match name {
                "gha" => ShelfErrorKind::Damaged,
                _ => ShelfErrorKind::Foreign,
            };
            assert_eq!(error.kind(), expected, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_another_key_is_not_let_in() {
    let service = Bucket::start(BucketAuth::Aws {
        key: "id".to_owned(),
        secret: "other".to_owned(),
        region: "eu-1".to_owned(),
    });
    let address = |credentials| {
        Address::S3(S3Address {
            bucket: "bucket".to_owned(),
            region: Some("eu-1".to_owned()),
            paths: paths(),
            endpoint_url: Some(service.url()),
            use_path_style: true,
            credentials,
        })
    };
    let credentials = S3Credentials {
        access_key_id: "id".to_owned(),
        secret_access_key: Secret::new("hunter2"),
        session_token: None,
    };
    for credentials in [None, Some(credentials)] {
        let shelf = shelf(&address(credentials)).unwrap();
        let error = shelf.document(&DocumentName::main()).await.unwrap_err();
        assert_eq!(error.kind(), ShelfErrorKind::Denied);
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_cannot_be_are_told_at_once() {
    let check = |address: Address, expected: &str| {
        let error = shelf(&address).unwrap_err();
        assert_eq!(error.kind(), ShelfErrorKind::Unusable);
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert!(
            source
                .as_deref()
                .is_some_and(|text| text.contains(expected)),
            "{source:?}"
        );
    };
    check(
        Address::Gha(GhaAddress {
            scope: "main".to_owned(),
            url: None,
            url_v2: None,
            token: None,
        }),
        "ACTIONS_RESULTS_URL",
    );
    check(
        Address::Azblob(AzblobAddress {
            account_url: "not a url".to_owned(),
            container: "c".to_owned(),
            paths: paths(),
            secret_access_key: None,
        }),
        "is no URL",
    );
    check(
        Address::Gcs(GcsAddress {
            bucket: "b".to_owned(),
            paths: paths(),
            endpoint_url: Some("ftp://x".to_owned()),
            credentials_file: None,
            token: None,
        }),
        "not the URL of a service",
    );
}

/// Files of credentials are exchanged for tokens, and a token service that refuses is a refusal.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_credentials_become_tokens() {
    let service = Bucket::start(BucketAuth::Bearer("token".to_owned()));
    let tokens = testkit::Web::start();
    tokens.text("/subject", r#"{"value":"vouched"}"#);
    tokens.text("/token", r#"{"access_token":"token","expires_in":3600}"#);
    tokens.text("/other", r#"{"access_token":"not-yet","expires_in":3600}"#);
    let account = "a@p.iam.gserviceaccount.com";
    let impersonation = format!("/v1/projects/-/serviceAccounts/{account}:generateAccessToken");
    tokens.text(
        &impersonation,
        r#"{"accessToken":"token","expireTime":"2040-01-01T00:00:00Z"}"#,
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("credentials");
    // Where tokens are exchanged is no matter of the file.
    let check = async |path: &str, text: &str, expected: Option<ShelfErrorKind>| {
        std::fs::write(&file, text).unwrap();
        let address = Address::Gcs(GcsAddress {
            bucket: "bucket".to_owned(),
            paths: paths(),
            endpoint_url: Some(service.url()),
            credentials_file: Some(file.clone()),
            token: None,
        });
        let google = google::Google::new(google::Options {
            endpoints: google::Endpoints {
                sts: Some(tokens.url(path)),
                oauth2: Some(tokens.url(path)),
                iam_credentials: Some(tokens.url("")),
                ..google::Endpoints::default()
            },
            ..google::Options::default()
        });
        let found = match shelf_with(&address, google) {
            Ok(shelf) => shelf.document(&DocumentName::main()).await,
            Err(error) => Err(error),
        };
        assert_eq!(
            found.err().map(|error| error.kind()),
            expected,
            "{path} {text}"
        );
    };
    let user =
        r#"{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r"}"#;
    let external = |more: &str| {
        format!(
            r#"{{"type":"external_account","audience":"a","subject_token_type":"t","credential_source":{{"url":"{}","format":{{"type":"json","subject_token_field_name":"value"}}}}{more}}}"#,
            tokens.url("/subject")
        )
    };
    check("/token", user, None).await;
    check("/absent", user, Some(ShelfErrorKind::Denied)).await;
    check("/subject", user, Some(ShelfErrorKind::Denied)).await;
    check("/token", &external(""), None).await;
    let becomes = format!(
        r#","service_account_impersonation_url":"https://iamcredentials.googleapis.com{impersonation}""#
    );
    check("/other", &external(&becomes), None).await;
    check("/token", "{}", Some(ShelfErrorKind::Unusable)).await;
    check("/token", "secret", Some(ShelfErrorKind::Unusable)).await;
    let planted = r#"{"type":"external_account","audience":"a","subject_token_type":"t","credential_source":{"file":"/x"},"service_account_impersonation_url":"https://evil.example/"}"#;
    check("/token", planted, Some(ShelfErrorKind::Unusable)).await;
}
