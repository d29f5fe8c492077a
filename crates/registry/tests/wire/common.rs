//! What all tests of the wire need: a client in a hurry, and an image to move.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use oci::{Compression, Descriptor, Digest, MediaType, Reference, Repository};
use registry::{
    Client, ClientOptions, Credential, CredentialStore, Error, PushOptions, Secret, Selector,
    Timing,
};

/// Deadlines that a busy machine meets and a test can wait for.
pub(crate) fn hurry() -> Timing {
    Timing {
        connect: Duration::from_secs(5),
        headers: Duration::from_millis(1500),
        finish: Duration::from_millis(1500),
        idle: Duration::from_millis(1500),
        rate_window: Duration::from_millis(300),
        rate_bytes_min: 16 * 1024,
        backoff: Duration::from_millis(2),
        backoff_max: Duration::from_millis(20),
        second: Duration::from_millis(1),
        retry_after_max: Duration::from_millis(300),
        ..Timing::default()
    }
}

pub(crate) fn options() -> ClientOptions {
    ClientOptions {
        timing: hurry(),
        ..ClientOptions::default()
    }
}

pub(crate) fn client() -> Client {
    Client::new(options()).expect("a client")
}

pub(crate) fn client_as(host: &str, user: &str, password: &str) -> Client {
    let credential = Credential::Password {
        username: user.to_owned(),
        password: Secret::new(password),
    };
    Client::new(ClientOptions {
        credentials: CredentialStore::default().with(host, credential, "the test"),
        ..options()
    })
    .expect("a client")
}

/// Bytes that do not compress and do not repeat.
pub(crate) fn noise(bytes: usize, seed: u64) -> Bytes {
    let mut state = seed | 1;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise.into()
}

/// An image of one large layer.
pub(crate) struct Sample {
    pub(crate) layer: Bytes,
    pub(crate) layer_descriptor: Descriptor,
    pub(crate) config: Bytes,
    pub(crate) config_descriptor: Descriptor,
    pub(crate) manifest: Bytes,
    pub(crate) digest: Digest,
}

pub(crate) fn sample(layer_bytes: usize) -> Sample {
    let layer = noise(layer_bytes, 7);
    let layer_descriptor = Descriptor::new(
        MediaType::OciLayer(Compression::None),
        Digest::of(&layer),
        layer.len() as u64,
    );
    let config: Bytes = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::of(&layer)
    )
    .into();
    let config_descriptor = Descriptor::new(
        MediaType::OciConfig,
        Digest::of(&config),
        config.len() as u64,
    );
    let manifest = oci::Raw::write(oci::Manifest {
        schema_version: 2,
        media_type: Some(MediaType::OciManifest),
        artifact_type: None,
        config: config_descriptor.clone(),
        layers: vec![layer_descriptor.clone()],
        subject: None,
        annotations: Default::default(),
    });
    Sample {
        layer,
        layer_descriptor,
        config,
        config_descriptor,
        digest: manifest.digest().clone(),
        manifest: Bytes::copy_from_slice(manifest.bytes()),
    }
}

impl Sample {
    /// Stores the image in a fake registry, without the wire.
    pub(crate) fn seed(&self, registry: &testkit::Registry, repository: &str, tag: &str) {
        registry.put_blob(repository, self.layer.clone());
        registry.put_blob(repository, self.config.clone());
        registry.put_manifest(
            repository,
            tag,
            MediaType::OciManifest.as_str(),
            self.manifest.clone(),
        );
    }

    /// Pushes the image as the engine does: blobs, then the manifest.
    pub(crate) async fn push(
        &self,
        client: &Client,
        repository: &Repository,
        tag: &str,
        options: &PushOptions,
    ) -> Result<(), Error> {
        for (descriptor, bytes) in [
            (&self.layer_descriptor, &self.layer),
            (&self.config_descriptor, &self.config),
        ] {
            client
                .push_blob(repository, descriptor, bytes, options)
                .await?;
        }
        let selector = Selector::Tag(tag.parse().expect("a tag"));
        let pushed = client
            .push_manifest(
                repository,
                &selector,
                &MediaType::OciManifest,
                &self.manifest,
            )
            .await?;
        assert_eq!(pushed, self.digest);
        Ok(())
    }

    /// Pulls the image and compares every byte.
    pub(crate) async fn pull(&self, client: &Client, reference: &Reference) -> Result<(), Error> {
        let document = client.manifest(reference).await?;
        assert_eq!(document.bytes(), &self.manifest[..]);
        let repository = reference.repository();
        let config = client
            .document(repository, &self.config_descriptor, 1 << 20)
            .await?;
        assert_eq!(config, self.config);
        let expected = self.layer.clone();
        let read = client
            .consume_blob(repository, &self.layer_descriptor, None, |reader| {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(reader, &mut bytes).map(|_| Bytes::from(bytes))
            })
            .await;
        match read {
            Ok(layer) => assert!(layer == expected, "other bytes were handed out"),
            Err(registry::ConsumeError::Wire(error)) => return Err(error),
            Err(registry::ConsumeError::Consumer(error)) => panic!("the consumer failed: {error}"),
        }
        Ok(())
    }

    /// Whether a fake registry holds the whole image under the tag.
    pub(crate) fn is_in(&self, registry: &testkit::Registry, repository: &str, tag: &str) -> bool {
        registry.blob(repository, &self.layer_descriptor.digest) == Some(self.layer.clone())
            && registry.blob(repository, &self.config_descriptor.digest)
                == Some(self.config.clone())
            && registry
                .manifest(repository, tag)
                .is_some_and(|(digest, _, bytes)| digest == self.digest && bytes == self.manifest)
    }
}

pub(crate) fn reference(text: &str) -> Reference {
    text.parse().expect(text)
}

pub(crate) fn repository(text: &str) -> Repository {
    text.parse().expect(text)
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// A server that sends each connection the next of the given answers, as it is.
/// For what no well-made registry would say. Returns its `host:port`.
pub(crate) fn raw_server(answers: Vec<Vec<u8>>) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    std::thread::spawn(move || {
        for (number, connection) in listener.incoming().enumerate() {
            let Ok(mut connection) = connection else {
                return;
            };
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                match connection.read(&mut byte) {
                    Ok(1) => request.push(byte[0]),
                    _ => break,
                }
            }
            log.lock()
                .expect("a log")
                .push(String::from_utf8_lossy(&request).into_owned());
            let answer = &answers[number.min(answers.len() - 1)];
            let _ = connection.write_all(answer);
        }
    });
    (host, seen)
}
