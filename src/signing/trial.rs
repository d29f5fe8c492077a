//! Whether what a signer is going to make will count, found out before anything is pushed.

use jiff::Timestamp;
use oci::{Descriptor, Digest, MediaType};
use sign::{Check, PublicKey, Trust, envelope_of, verify_notary};

use super::{Maker, Signer};

/// What is signed on trial. No registry ever has it as a manifest.
const TRIAL: &[u8] = b"trial";

impl Signer {
    /// Whether somebody who believes these keys believes its signatures.
    pub(crate) fn has_key_of(&self, keys: &[PublicKey]) -> bool {
        match &self.maker {
            Maker::Cosign(signer) => {
                let own = signer.public().fingerprint();
                keys.iter().any(|key| key.fingerprint() == own)
            }
            Maker::Notation { .. } | Maker::Signify(_) => false,
        }
    }

    /// Whether `trust` is satisfied by its signatures. A signature is made and judged; no timestamp
    /// authority is asked for that. What a service makes is kept by the service, and is not judged.
    pub(crate) fn satisfies(&self, trust: &Trust, now: Timestamp) -> bool {
        let (signer, is_stamped) = match &self.maker {
            Maker::Notation {
                signer, authority, ..
            } => (signer, authority.is_some()),
            Maker::Cosign(_) | Maker::Signify(_) => return false,
        };
        let size = TRIAL.len() as u64;
        let subject = Descriptor::new(MediaType::OciManifest, Digest::of(TRIAL), size);
        let draft = signer.draft(&subject, now, None);
        let Ok(attachment) = draft.and_then(|draft| draft.finish(None)) else {
            return false;
        };
        let Ok((layer, envelope)) = envelope_of(attachment.manifest.value()) else {
            return false;
        };
        let mut blobs = attachment.blobs.iter();
        let Some(blob) = blobs.find(|blob| blob.digest == layer.digest) else {
            return false;
        };
        let mut trust = trust.clone();
        if is_stamped {
            trust.checks.timestamp = Check::Skip;
        }
        verify_notary(envelope, &blob.bytes, &subject, &trust, now).is_ok()
    }
}
