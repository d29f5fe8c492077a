//! What is asked to be said of images, beside the images themselves.

use sign::provenance::ProvenanceMode;
use sign::sbom::SbomFormat;

/// Attestations that a build is to make; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttestationRequest {
    /// How the image came to be.
    pub provenance: Option<ProvenanceRequest>,
    /// What is in it.
    pub sbom: Option<SbomRequest>,
    /// Whether they are also pushed as referrers of the manifests.
    pub referrers: bool,
}

/// A provenance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvenanceRequest {
    /// How much it says.
    pub mode: ProvenanceMode,
    /// Who builds, as an address; kiln itself where absent.
    pub builder_id: Option<String>,
    /// The user says that the same build gives the same bytes.
    pub reproducible: bool,
    /// When the build began, in seconds since 1970, if it is to be said: then no two are the same.
    pub started_seconds: Option<i64>,
    /// Not into files beside the files of an image.
    pub inline_only: bool,
    /// The name of such a file; the usual one where absent.
    pub file_name: Option<String>,
}

/// A list of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SbomRequest {
    /// How it is written: at least one way, none twice.
    pub formats: Vec<SbomFormat>,
    /// Not into files beside the files of an image.
    pub inline_only: bool,
}

impl AttestationRequest {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.provenance.is_none() && self.sbom.is_none()
    }

    /// Whether there is something that outputs without a place for it must not leave out.
    pub(crate) fn insists(&self) -> bool {
        let provenance = self.provenance.as_ref();
        let sbom = self.sbom.as_ref();
        provenance.is_some_and(|provenance| !provenance.inline_only)
            || sbom.is_some_and(|sbom| !sbom.inline_only)
    }
}
