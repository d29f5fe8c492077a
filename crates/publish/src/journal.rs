//! What a publication has come to, kept in the store while it runs: who was sealed how, and where
//! floating tags were before they were moved.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use oci::{
    AttachedBlob, Attachment, AttachmentPlace, Digest, Manifest, Raw, Reference, Repository,
};
use serde::{Deserialize, Serialize};
use store::{DiskError, Store};

use crate::report::Kept;
use crate::{PublishError, Sealed};

/// The version of [`Notes`]. Notes of another version count as none.
const NOTES_VERSION: u32 = 1;

/// How often it is asked whether another process has finished the same publication.
const POLL: Duration = Duration::from_millis(100);

/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The journal of one publication, owned by this process.
pub(crate) struct Journal {
    file: store::journal::Journal,
    notes: Mutex<Notes>,
    /// An earlier run left something behind.
    is_begun: bool,
}

/// How far a publication is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Nothing is visible, and no floating tag was touched.
    #[default]
    Bringing,
    /// Floating tags are being moved.
    Moving,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Notes {
    version: u32,
    publication: String,
    phase: Phase,
    seals: Vec<KeptSeal>,
    floating: Vec<KeptTag>,
}

/// What one seal came to in one repository.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KeptSeal {
    identity: String,
    repository: String,
    digest: Digest,
    attachments: Vec<KeptAttachment>,
}

/// An attachment; bytes in base64.
#[derive(Clone, Serialize, Deserialize)]
struct KeptAttachment {
    manifest: String,
    blobs: Vec<String>,
    tag: Option<String>,
}

/// A floating tag, and what it pointed at.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptTag {
    pub reference: Reference,
    pub previous: Option<Digest>,
}

impl Journal {
    /// Takes the journal of a publication; waits while another process publishes the same.
    pub(crate) async fn open(store: &Store, publication: &Digest) -> Result<Self, PublishError> {
        let mut waited = Duration::ZERO;
        let file = loop {
            match store.journals().take(publication)? {
                Some(file) => break file,
                None if waited >= PATIENCE => return Err(PublishError::Busy),
                None => tokio::time::sleep(POLL).await,
            }
            waited += POLL;
        };
        store.journals().sweep();
        let notes = file
            .read()
            .and_then(|bytes| serde_json::from_slice::<Notes>(&bytes).ok())
            .filter(|notes| {
                notes.version == NOTES_VERSION && notes.publication == publication.as_str()
            });
        let is_begun = notes.is_some();
        // What was sealed in a run that came to its end need not be sealed again either.
        let finished = || Kept::of(store, publication).map(|kept| kept.seals);
        let notes = notes.unwrap_or_else(|| Notes {
            version: NOTES_VERSION,
            publication: publication.as_str().to_owned(),
            seals: finished().unwrap_or_default(),
            ..Notes::default()
        });
        Ok(Self {
            file,
            notes: Mutex::new(notes),
            is_begun,
        })
    }

    /// Whether an earlier run left anything behind.
    pub(crate) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// What was sealed.
    pub(crate) fn seals(&self) -> Vec<KeptSeal> {
        self.notes().seals.clone()
    }

    /// What a seal made earlier.
    pub(crate) fn seal(
        &self,
        identity: &str,
        repository: &Repository,
        digest: &Digest,
    ) -> Option<Sealed> {
        let notes = self.notes();
        let name = repository.to_string();
        let kept = notes.seals.iter().find(|kept| {
            kept.identity == identity && kept.repository == name && kept.digest == *digest
        })?;
        let attachments = kept.attachments.iter().map(KeptAttachment::open);
        Some(Sealed {
            attachments: attachments.collect::<Option<_>>()?,
        })
    }

    /// Keeps what a seal made, durably: it is not asked again.
    pub(crate) fn keep_seal(
        &self,
        identity: &str,
        repository: &Repository,
        digest: &Digest,
        sealed: &Sealed,
    ) -> Result<(), DiskError> {
        let mut notes = self.notes();
        notes.seals.push(KeptSeal {
            identity: identity.to_owned(),
            repository: repository.to_string(),
            digest: digest.clone(),
            attachments: sealed
                .attachments
                .iter()
                .map(KeptAttachment::close)
                .collect(),
        });
        self.write(&notes)
    }

    /// What a floating tag pointed at before an earlier run touched it.
    pub(crate) fn previous(&self, reference: &Reference) -> Option<Option<Digest>> {
        let notes = self.notes();
        let mut floating = notes.floating.iter();
        let kept = floating.find(|kept| kept.reference == *reference)?;
        Some(kept.previous.clone())
    }

    /// Keeps where floating tags are that are about to be moved.
    pub(crate) fn begin_to_move(&self, floating: Vec<KeptTag>) -> Result<(), DiskError> {
        let mut notes = self.notes();
        notes.phase = Phase::Moving;
        notes.floating = floating;
        self.write(&notes)
    }

    /// Keeps which tags could not be put back; the others are where they were.
    pub(crate) fn have_put_back(&self, astray: Vec<KeptTag>) -> Result<(), DiskError> {
        let mut notes = self.notes();
        notes.phase = match astray.is_empty() {
            true => Phase::Bringing,
            false => Phase::Moving,
        };
        notes.floating = astray;
        self.write(&notes)
    }

    /// Everything is published.
    pub(crate) fn finish(self) -> Result<(), DiskError> {
        self.file.finish()
    }

    fn write(&self, notes: &Notes) -> Result<(), DiskError> {
        let bytes = serde_json::to_vec(notes).expect("texts and lists are JSON");
        self.file.write(&bytes)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptAttachment {
    fn close(attachment: &Attachment) -> Self {
        Self {
            manifest: BASE64.encode(attachment.manifest.bytes()),
            blobs: (attachment.blobs.iter())
                .map(|blob| BASE64.encode(&blob.bytes))
                .collect(),
            tag: match &attachment.place {
                AttachmentPlace::Referrer => None,
                AttachmentPlace::Tag(tag) => Some(tag.as_str().to_owned()),
            },
        }
    }

    /// Nothing where it cannot be read: then it is sealed again.
    fn open(&self) -> Option<Attachment> {
        let manifest = BASE64.decode(&self.manifest).ok()?;
        let manifest: Raw<Manifest> = Raw::read(manifest).ok()?;
        let blobs = self.blobs.iter().map(|text| {
            let bytes = BASE64.decode(text).ok()?;
            Some(AttachedBlob {
                digest: Digest::of(&bytes),
                bytes,
            })
        });
        Some(Attachment {
            manifest,
            blobs: blobs.collect::<Option<_>>()?,
            place: match &self.tag {
                None => AttachmentPlace::Referrer,
                Some(tag) => AttachmentPlace::Tag(tag.parse().ok()?),
            },
        })
    }
}
