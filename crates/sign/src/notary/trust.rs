//! Whom to believe.

use crate::certificate::{Certificate, Chain, Identity};

/// Whom to believe, and how strictly.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Certificates that end the chains of signers; where one of them is in the chain, it is
    /// believed.
    pub roots: Vec<Certificate>,
    /// The same, of signing services that vouch for the time.
    pub authority_roots: Vec<Certificate>,
    /// Roots of timestamp authorities.
    pub timestamp_roots: Vec<Certificate>,
    /// Who may have signed.
    pub identities: Identities,
    /// What must hold.
    pub checks: Checks,
}

/// Who may have signed.
#[derive(Clone, Debug, Default)]
pub enum Identities {
    /// Whoever has a certificate of one of the roots.
    #[default]
    Any,
    /// One of these.
    Of(Vec<Identity>),
}

/// Which checks must hold, and which are only told about. That the signature is intact and of this
/// image always must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// The chain, its root, and who signed.
    pub authenticity: Check,
    /// That the certificates held when it was signed.
    pub timestamp: Check,
    /// When a timestamp is asked for. Only where an authority is trusted can one be.
    pub stamps: Stamps,
    /// That the signature has not expired.
    pub expiry: Check,
    /// That no certificate was revoked. Kiln looks up no lists: where this is enforced, a
    /// certificate that names a list cannot be believed.
    pub revocation: Check,
}

/// When a signature must have a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// Never; one that is there must be right.
    IfThere,
    /// Always.
    Always,
    /// When the certificates hold no longer; before that none is looked at.
    AfterExpiry,
}

/// What a failed check means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The signature does not count.
    Enforce,
    /// It is said, and the signature counts.
    Log,
    /// Nothing is looked at.
    Skip,
}

impl Default for Checks {
    /// As strict as can be without asking anybody.
    fn default() -> Self {
        Self {
            authenticity: Check::Enforce,
            timestamp: Check::Enforce,
            stamps: Stamps::IfThere,
            expiry: Check::Enforce,
            revocation: Check::Log,
        }
    }
}

impl Identities {
    /// Whether a certificate is of one of them.
    pub(crate) fn accept(&self, leaf: &Certificate) -> bool {
        match self {
            Self::Any => true,
            Self::Of(identities) => identities.iter().any(|identity| identity.fits(leaf)),
        }
    }
}

/// Whether one of the trusted certificates is in the chain.
pub(crate) fn leads_to(chain: &Chain, roots: &[Certificate]) -> bool {
    let mut certificates = chain.certificates().iter();
    certificates.any(|certificate| roots.contains(certificate))
}
