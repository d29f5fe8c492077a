//! A distribution registry in memory, over real HTTP/1.1 on loopback.
//!
//! ```text
//! route   what is asked          auth    whether it is allowed
//! fault   what goes wrong        log     what happened
//! verbs   what is answered       content what is kept
//! serve   the connection         body    how an answer leaves
//! ```
//!
//! It runs on a thread and a runtime of its own, so tests with and without a
//! runtime can use it. Dropping it ends the thread and every connection.

mod auth;
mod body;
mod content;
mod fault;
mod log;
mod route;
mod serve;
mod verbs;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use oci::Digest;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use auth::{Auth, Realm};
pub use fault::{Action, Match};
pub use log::Recorded;
pub use route::Endpoint;
pub(crate) use route::query_value;

use crate::Image;
use content::{Content, Stored};
use fault::Script;
use log::Log;

/// How a registry behaves when nothing is scripted.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it asks of its clients.
    pub auth: Auth,
    /// Whether it has the referrers endpoint (distribution-spec 1.1).
    pub referrers: bool,
    /// Whether it says, when a manifest with a subject is stored, that it listed it
    /// (`OCI-Subject`). Registries without the endpoint never do.
    pub says_subject: bool,
    /// Whether it lists only the referrers of the type that was asked for.
    pub filters_referrers: bool,
    /// The most entries of a page of tags or referrers, whatever is asked for.
    pub page_entries_max: Option<usize>,
    /// Whether it heeds `If-Match` when a manifest is stored.
    pub heeds_if_match: bool,
    /// Whether it deletes manifests, tags and blobs.
    pub deletes: bool,
    /// Whether it lists its repositories (`_catalog`).
    pub catalog: bool,
    /// Whether it mounts blobs from other repositories.
    pub mounts: bool,
    /// How it writes the `Location` of an upload.
    pub upload_location: UploadLocation,
    /// The smallest chunk that it asks for (`OCI-Chunk-Min-Length`), in bytes.
    pub chunk_bytes_min: Option<u64>,
}

/// In whose words a repository refuses to move a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImmutableTags {
    /// Google's Artifact Registry.
    ArtifactRegistry,
    /// Amazon's Elastic Container Registry, which refuses the same digest too.
    Ecr,
}

/// The form of an upload's `Location`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadLocation {
    /// A path.
    Relative,
    /// A whole URL.
    Absolute,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auth: Auth::Open,
            referrers: true,
            says_subject: true,
            filters_referrers: true,
            page_entries_max: None,
            heeds_if_match: false,
            deletes: true,
            catalog: true,
            mounts: true,
            upload_location: UploadLocation::Relative,
            chunk_bytes_min: None,
        }
    }
}

/// What the connections and the handle share.
pub(crate) struct Shared {
    options: Options,
    base_url: String,
    realm_url: String,
    content: Mutex<Content>,
    tokens: Mutex<auth::Tokens>,
    script: Mutex<Script>,
    log: Mutex<Log>,
    files: Mutex<BTreeMap<String, Bytes>>,
}

/// A running registry.
pub struct Registry {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Registry {
    /// A registry that is open to all, empty, on a free port of 127.0.0.1.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// The same with other habits.
    pub fn with(options: Options) -> Self {
        let (ready, started) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("testkit-registry".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async move {
                    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                    let tokens = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                    let address = listener.local_addr().expect("an address");
                    let token_address = tokens.local_addr().expect("an address");
                    let shared = Arc::new(Shared::new(options, address, token_address));
                    ready
                        .send((address, Arc::clone(&shared)))
                        .expect("the starter waits");
                    tokio::select! {
                        () = serve::accept(listener, Arc::clone(&shared), false) => {}
                        () = serve::accept(tokens, shared, true) => {}
                        _ = stopped => {}
                    }
                });
                // Dropping the runtime drops every connection, stalled ones too.
            })
            .expect("a thread");
        let (address, shared) = started.recv().expect("the registry starts");
        Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// `127.0.0.1:PORT`, as it stands in front of a repository's name.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.shared.base_url
    }

    /// Adds a fault to the script. The first one that matches a request, and
    /// whose turn it is, acts.
    pub fn fault(&self, matching: Match, action: Action) {
        lock(&self.shared.script).add(matching, action);
    }

    /// Forgets the script.
    pub fn clear_faults(&self) {
        lock(&self.shared.script).clear();
    }

    /// Every request so far, in order of arrival.
    pub fn log(&self) -> Vec<Recorded> {
        lock(&self.shared.log).snapshot()
    }

    /// Every request so far as `METHOD /path`, without queries.
    pub fn lines(&self) -> Vec<String> {
        self.log().iter().map(Recorded::line).collect()
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        lock(&self.shared.log).clear();
    }

    /// Stores an image under a tag, or under its digest when `reference` is
    /// one. Returns the manifest's digest.
    pub fn seed(&self, repository: &str, reference: &str, image: &Image) -> Digest {
        let mut content = lock(&self.shared.content);
        for layer in &image.layers {
            content.put_blob(repository, layer.bytes.clone());
        }
        content.put_blob(repository, image.config.clone());
        let stored = Stored {
            content_type: image.media_type.to_string(),
            bytes: image.manifest.clone(),
        };
        content.put_manifest_as(repository, reference, stored)
    }

    /// Stores a blob. Returns its digest.
    pub fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Digest {
        lock(&self.shared.content).put_blob(repository, bytes.into())
    }

    /// Stores bytes as a blob under a name that need not be theirs: what a
    /// hostile or damaged registry does.
    pub fn put_blob_as(&self, repository: &str, digest: &Digest, bytes: impl Into<Bytes>) {
        lock(&self.shared.content).put_blob_as(repository, digest.clone(), bytes.into());
    }

    /// Stores a manifest under a tag or digest, unchecked. Returns the digest
    /// it is stored under.
    pub fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        content_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Digest {
        let stored = Stored {
            content_type: content_type.to_owned(),
            bytes: bytes.into(),
        };
        lock(&self.shared.content).put_manifest_as(repository, reference, stored)
    }

    /// A stored blob.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        lock(&self.shared.content).blob(repository, digest)
    }

    /// A stored manifest by tag or digest: its digest, content type and bytes.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(Digest, String, Bytes)> {
        let found = lock(&self.shared.content).manifest(repository, reference);
        found.map(|(digest, stored)| (digest, stored.content_type, stored.bytes))
    }

    /// Removes a blob from a repository, as a garbage collection would.
    pub fn remove_blob(&self, repository: &str, digest: &Digest) -> bool {
        lock(&self.shared.content).delete_blob(repository, digest)
    }

    /// The tags of a repository, in lexical order.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        (lock(&self.shared.content).tags(repository)).unwrap_or_default()
    }

    /// From now on no tag of the repository is moved or deleted.
    pub fn set_immutable_tags(&self, repository: &str, words: ImmutableTags) {
        lock(&self.shared.content).set_immutable_tags(repository, words);
    }

    /// Serves bytes under a path outside `/v2/`, to anybody: a redirect's
    /// target. Requests for it are in the log like all others.
    pub fn serve_file(&self, path: &str, bytes: impl Into<Bytes>) {
        lock(&self.shared.files).insert(path.to_owned(), bytes.into());
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn new(options: Options, address: SocketAddr, token_address: SocketAddr) -> Self {
        let realm_url = match &options.auth {
            Auth::Token {
                realm: Realm::OtherPort,
                ..
            } => format!("http://{token_address}/token"),
            Auth::Token {
                realm: Realm::Url(url),
                ..
            } => url.clone(),
            Auth::Token {
                realm: Realm::SamePort,
                ..
            }
            | Auth::Open
            | Auth::Basic { .. } => format!("http://{address}/token"),
        };
        Self {
            options,
            base_url: format!("http://{address}"),
            realm_url,
            content: Mutex::default(),
            tokens: Mutex::default(),
            script: Mutex::default(),
            log: Mutex::default(),
            files: Mutex::default(),
        }
    }
}

/// A lock that survives a test that panicked while it held it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
