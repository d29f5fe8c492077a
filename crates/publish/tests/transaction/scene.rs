//! Three registries, a store, two images, and a seal that never makes the same seal twice.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use oci::{
    Attachment, AttachmentPlace, Descriptor, Digest, Document, Index, Manifest, MediaType, Raw,
    Repository, Tag,
};
use publish::{
    Blobs, Content, Context, Item, Outcome, Publication, PublishError, Seal, SealError, Sealed,
    Subject, Target, Unwatched, Uploads, publish,
};
use registry::{BlobSource, Client, ClientOptions, CredentialStore, Timing};
use store::Store;
use tempfile::TempDir;
use testkit::{Layer, Options, Registry, image};

/// The type of the seals.
pub(crate) const SEAL_TYPE: &str = "application/vnd.example.seal.v1";

pub(crate) struct Scene {
    pub(crate) registries: Vec<Registry>,
    pub(crate) directory: TempDir,
    pub(crate) client: Client,
}

/// Deadlines that a busy machine meets and a test can wait for.
pub(crate) fn client() -> Client {
    client_with(CredentialStore::default())
}

pub(crate) fn client_with(credentials: CredentialStore) -> Client {
    Client::new(ClientOptions {
        credentials,
        timing: Timing {
            connect: Duration::from_secs(5),
            headers: Duration::from_millis(1500),
            finish: Duration::from_millis(1500),
            idle: Duration::from_millis(1500),
            backoff: Duration::from_millis(2),
            backoff_max: Duration::from_millis(20),
            second: Duration::from_millis(1),
            retry_after_max: Duration::from_millis(300),
            ..Timing::default()
        },
        ..ClientOptions::default()
    })
    .expect("a client")
}

/// In memory, where there is such a place: what is made durable a thousand times need not wait for
/// a disk.
fn directory() -> TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    let directory = in_memory.or_else(|_| tempfile::tempdir());
    directory.expect("a directory")
}

impl Scene {
    pub(crate) fn new() -> Self {
        // The second one has no list of referrers.
        let without_referrers = Options {
            referrers: false,
            ..Options::default()
        };
        Self::with([Options::default(), without_referrers, Options::default()])
    }

    pub(crate) fn with(options: impl IntoIterator<Item = Options>) -> Self {
        Self {
            registries: options.into_iter().map(Registry::with).collect(),
            directory: directory(),
            client: client(),
        }
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.directory.path().join("store")).expect("a store")
    }

    pub(crate) fn repository(&self, registry: usize, path: &str) -> Repository {
        let name = format!("{}/{path}", self.registries[registry].host());
        name.parse().expect("a repository")
    }

    /// A target in each registry.
    pub(crate) fn targets(&self, path: &str, immutable: &[&str], floating: &[&str]) -> Vec<Target> {
        (0..self.registries.len())
            .map(|registry| target(self.repository(registry, path), immutable, floating))
            .collect()
    }

    pub(crate) async fn publish(&self, publication: &Publication) -> Result<Outcome, PublishError> {
        let store = self.store();
        publish(publication, &self.context(&store)).await
    }

    pub(crate) fn context<'c>(&'c self, store: &'c Store) -> Context<'c> {
        Context {
            client: &self.client,
            store,
            uploads: Uploads::new(self.client.clone(), Arc::new(Unwatched)),
            watcher: &Unwatched,
        }
    }

    pub(crate) fn clear_logs(&self) {
        self.registries.iter().for_each(Registry::clear_log);
    }

    /// What a tag points at.
    pub(crate) fn tag(&self, registry: usize, path: &str, tag: &str) -> Option<Digest> {
        let found = self.registries[registry].manifest(path, tag);
        found.map(|(digest, ..)| digest)
    }

    /// All tags but those that are made from digests, as `registry/repository:tag`.
    pub(crate) fn visible(&self, paths: &[&str]) -> BTreeMap<String, Digest> {
        let mut visible = BTreeMap::new();
        for (number, registry) in self.registries.iter().enumerate() {
            for path in paths {
                for tag in registry.tags(path) {
                    if !tag.starts_with("sha256-") {
                        let digest = self
                            .tag(number, path, &tag)
                            .expect("a tag points somewhere");
                        visible.insert(format!("{number}/{path}:{tag}"), digest);
                    }
                }
            }
        }
        visible
    }

    /// The seals of a digest.
    pub(crate) async fn seals(&self, registry: usize, path: &str, digest: &Digest) -> usize {
        let repository = self.repository(registry, path);
        let referrers = self.client.referrers(&repository, digest, Some(SEAL_TYPE));
        referrers.await.expect("a list of referrers").len()
    }

    /// Everything that a digest leads to is there.
    #[track_caller]
    pub(crate) fn whole(&self, registry: usize, path: &str, digest: &Digest) {
        let host = &self.registries[registry];
        let (found, media_type, bytes) = host
            .manifest(path, digest.as_str())
            .unwrap_or_else(|| panic!("{path}@{digest} is missing in {registry}"));
        assert_eq!(found, *digest);
        let media_type = MediaType::from(media_type.as_str());
        match Document::read(bytes.to_vec(), Some(&media_type)).expect("a document") {
            Document::Index(index) => {
                for entry in &index.value().manifests {
                    self.whole(registry, path, &entry.digest);
                }
            }
            Document::Manifest(manifest) => {
                let manifest = manifest.value();
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    let bytes = host.blob(path, &blob.digest);
                    let bytes = bytes.unwrap_or_else(|| panic!("{} is missing", blob.digest));
                    assert!(blob.digest.matches(&bytes));
                }
            }
        }
    }
}

pub(crate) fn target(repository: Repository, immutable: &[&str], floating: &[&str]) -> Target {
    let tags = |names: &[&str]| {
        names
            .iter()
            .map(|name| name.parse().expect("a tag"))
            .collect()
    };
    Target {
        repository,
        immutable_tags: tags(immutable),
        floating_tags: tags(floating),
    }
}

/// Blobs in memory.
#[derive(Default)]
pub(crate) struct InMemory {
    pub(crate) blobs: HashMap<Digest, Bytes>,
    pub(crate) repositories: Vec<Repository>,
}

impl Blobs for InMemory {
    fn source(&self, blob: &Descriptor) -> Option<Arc<dyn BlobSource>> {
        let bytes = self.blobs.get(&blob.digest)?.clone();
        Some(Arc::new(bytes))
    }

    fn repositories(&self, _: &Descriptor) -> Vec<Repository> {
        self.repositories.clone()
    }
}

/// One image with a file that says `content`, and a layer that all images share.
pub(crate) fn single(content: &str) -> Content {
    let (document, blobs, _) = manifest(content, "amd64");
    content_of(vec![document], blobs)
}

/// An index of two images.
pub(crate) fn index(content: &str) -> Content {
    let mut documents = Vec::new();
    let mut blobs = HashMap::new();
    let mut manifests = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let (document, more, descriptor) = manifest(content, architecture);
        documents.push(document);
        blobs.extend(more);
        manifests.push(descriptor);
    }
    let index = Raw::write(Index {
        schema_version: 2,
        media_type: Some(MediaType::OciIndex),
        artifact_type: None,
        manifests,
        subject: None,
        annotations: BTreeMap::new(),
    });
    documents.push(Document::Index(Box::new(index)));
    content_of(documents, blobs)
}

fn content_of(documents: Vec<Document>, blobs: HashMap<Digest, Bytes>) -> Content {
    Content {
        root: documents.last().expect("a root").descriptor(),
        documents,
        blobs: Arc::new(InMemory {
            blobs,
            repositories: Vec::new(),
        }),
    }
}

fn manifest(content: &str, architecture: &str) -> (Document, HashMap<Digest, Bytes>, Descriptor) {
    let image = image()
        .architecture(architecture)
        .layer(Layer::new().file("shared", "the same in all"))
        .layer(Layer::new().file("content", format!("{content} for {architecture}")))
        .build();
    let mut blobs: HashMap<Digest, Bytes> = (image.layers.iter())
        .map(|layer| (layer.digest.clone(), layer.bytes.clone()))
        .collect();
    blobs.insert(Digest::of(&image.config), image.config.clone());
    let document = Document::read(image.manifest.to_vec(), None).expect("a manifest");
    let descriptor = Descriptor {
        platform: format!("linux/{architecture}").parse().ok(),
        ..document.descriptor()
    };
    (document, blobs, descriptor)
}

pub(crate) fn item(name: &str, content: Content, targets: Vec<Target>) -> Item {
    Item {
        name: name.to_owned(),
        content,
        attachments: Vec::new(),
        seals: Vec::new(),
        targets,
    }
}

pub(crate) fn publication(items: Vec<Item>) -> Publication {
    Publication {
        items,
        ..Publication::default()
    }
}

/// A seal that is another one each time, as signatures with chance in them are.
#[derive(Default)]
pub(crate) struct Stamp {
    pub(crate) count: AtomicU64,
    pub(crate) subjects: Mutex<Vec<Subject>>,
    /// Refuses this often before it works.
    pub(crate) refusals: AtomicU64,
    /// Under a tag made from the digest, as cosign has it.
    pub(crate) under_tag: bool,
    /// Seals tags, as a service that is told names does.
    pub(crate) signs_tags: bool,
}

impl Seal for Stamp {
    fn name(&self) -> &str {
        "stamp"
    }

    fn signs_tags(&self) -> bool {
        self.signs_tags
    }

    fn seal<'s>(
        &'s self,
        subject: &'s Subject,
    ) -> Pin<Box<dyn Future<Output = Result<Sealed, SealError>> + Send + 's>> {
        Box::pin(async move {
            let refusals = &self.refusals;
            let less = |left: u64| left.checked_sub(1);
            if refusals
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                .is_ok()
            {
                return Err(SealError {
                    message: "the stamp is dry".to_owned(),
                    advice: Some("add ink".to_owned()),
                    source: None,
                });
            }
            self.subjects.lock().unwrap().push(subject.clone());
            let number = self.count.fetch_add(1, Ordering::SeqCst);
            let text = format!("{} number {number}", subject.descriptor.digest);
            Ok(Sealed {
                attachments: vec![stamped(&text, subject, self.under_tag)],
            })
        })
    }
}

pub(crate) fn stamped(text: &str, subject: &Subject, under_tag: bool) -> Attachment {
    let kind = MediaType::Other(SEAL_TYPE.into());
    let blobs = vec![(kind, text.as_bytes().to_vec(), BTreeMap::new())];
    let mut attachment = Attachment::referrer(
        SEAL_TYPE,
        subject.descriptor.clone(),
        blobs,
        BTreeMap::new(),
    );
    if under_tag {
        attachment.place = AttachmentPlace::Tag(seal_tag(&subject.descriptor.digest));
        attachment.manifest = Raw::write(Manifest {
            subject: None,
            ..attachment.manifest.value().clone()
        });
    }
    attachment
}

pub(crate) fn seal_tag(digest: &Digest) -> Tag {
    format!("sha256-{}.sig", digest.hex())
        .parse()
        .expect("a tag")
}
