//! A row of certificates, as the Notary Project wants them: the signer's first, each signed by the
//! next, a root last (signature specification, "Certificate Requirements"). Which roots are trusted
//! is asked elsewhere.

use std::fmt;

use jiff::Timestamp;

use super::Certificate;
use crate::der::Malformed;
use crate::key::PublicKeyError;

/// The most certificates of a chain.
pub(crate) const CHAIN_MAX: usize = 10;

/// A row of certificates in which everything is as it must be, whoever is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(Vec<Certificate>);

/// What the first certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To sign artifacts.
    CodeSigning,
    /// To say what time it is.
    Timestamping,
}

/// What is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No certificate at all.
    #[error("there is no certificate")]
    Empty,
    /// Too many.
    #[error("there are more than {CHAIN_MAX} certificates")]
    TooLong,
    /// An extension that cannot be read, or is there twice.
    #[error("the certificate of `{0}` has an extension that cannot be read")]
    Extension(String),
    /// The row is broken.
    #[error("the certificate of `{subject}` is not signed by the one after it, `{issuer}`")]
    NotSigned {
        /// Whose.
        subject: String,
        /// By whom it should be.
        issuer: String,
    },
    /// It ends too early.
    #[error("the last certificate, of `{0}`, is no root: it is signed by somebody else")]
    NoRoot(String),
    /// It goes on behind the root.
    #[error("the certificate of `{0}` is a root, and others come after it")]
    RootInside(String),
    /// The key of the signer.
    #[error("the key of `{subject}` cannot be used")]
    Key {
        /// Whose.
        subject: String,
        /// Why not.
        source: PublicKeyError,
    },
    /// A certificate that must not be where it is.
    #[error("the certificate of `{subject}` {rule}")]
    Rule {
        /// Whose.
        subject: String,
        /// What it breaks.
        rule: Rule,
    },
}

/// A rule for certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A leaf may not be an authority.
    LeafIsAuthority,
    /// A leaf is for digital signatures.
    LeafUsage,
    /// A leaf is for nothing that signers do not do.
    LeafOtherUsage,
    /// A leaf for code is not for hosts, persons or clocks.
    CodePurpose,
    /// A leaf for timestamps is for nothing else.
    TimePurpose,
    /// An authority must say that it is one.
    NotAuthority,
    /// An authority is for certificates.
    AuthorityUsage,
    /// An authority may be too far from the leaf.
    PathLength,
    /// An authority whose purposes are named is for code, too.
    AuthorityPurpose,
    /// What must be understood and is not, such as constraints of names (RFC 5280, 4.2).
    Critical,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeafIsAuthority => "is an authority's, and signs an artifact",
            Self::LeafUsage => "is not, critically, for digital signatures",
            Self::LeafOtherUsage => "is for more than digital signatures",
            Self::CodePurpose => "is for hosts, persons, clocks or anything, not for code",
            Self::TimePurpose => "is not, critically, for timestamps and nothing else",
            Self::NotAuthority => "is not, critically, an authority's",
            Self::AuthorityUsage => "is not, critically, for signing certificates",
            Self::PathLength => "allows fewer certificates below it than there are",
            Self::AuthorityPurpose => "is an authority's for other purposes than code",
            Self::Critical => {
                "must not be accepted by who does not understand all of its extensions, \
                 and kiln does not"
            }
        })
    }
}

impl Chain {
    /// Takes certificates that are a chain.
    ///
    /// # Errors
    ///
    /// When they are not.
    pub fn new(certificates: Vec<Certificate>, purpose: Purpose) -> Result<Self, ChainError> {
        if certificates.len() > CHAIN_MAX {
            return Err(ChainError::TooLong);
        }
        let Some((leaf, authorities)) = certificates.split_first() else {
            return Err(ChainError::Empty);
        };
        check_leaf(leaf, purpose)?;
        for (depth, authority) in authorities.iter().enumerate() {
            check_authority(authority, depth, purpose)?;
        }
        if let Some(strange) = certificates.iter().find(|one| one.has_unknown_critical()) {
            return Err(ChainError::Rule {
                subject: strange.subject(),
                rule: Rule::Critical,
            });
        }
        for pair in certificates.windows(2) {
            let [subject, issuer] = pair else { continue };
            if subject.is_signed_by(subject) {
                return Err(ChainError::RootInside(subject.subject()));
            }
            if !subject.is_signed_by(issuer) {
                return Err(ChainError::NotSigned {
                    subject: subject.subject(),
                    issuer: issuer.subject(),
                });
            }
        }
        let last = authorities.last().unwrap_or(leaf);
        if !last.is_signed_by(last) {
            return Err(ChainError::NoRoot(last.subject()));
        }
        Ok(Self(certificates))
    }

    /// The signer's.
    pub fn leaf(&self) -> &Certificate {
        // There is one, or there would be no chain.
        &self.0[0]
    }

    /// All of them, the signer's first.
    pub fn certificates(&self) -> &[Certificate] {
        &self.0
    }

    /// Which of them does not hold at all times of a range.
    pub fn invalid_within(&self, from: Timestamp, until: Timestamp) -> Option<&Certificate> {
        self.0.iter().find(|certificate| {
            let (first, last) = certificate.validity();
            from < first || until > last
        })
    }
}

fn check_leaf(leaf: &Certificate, purpose: Purpose) -> Result<(), ChainError> {
    let broken = |rule| ChainError::Rule {
        subject: leaf.subject(),
        rule,
    };
    let unreadable = |Malformed| ChainError::Extension(leaf.subject());
    if let Some((_, constraints)) = leaf.constraints().map_err(unreadable)?
        && constraints.ca
    {
        return Err(broken(Rule::LeafIsAuthority));
    }
    match leaf.key_usage().map_err(unreadable)? {
        Some((true, usage)) if usage.digital_signature() => {
            if usage.key_encipherment()
                || usage.data_encipherment()
                || usage.key_agreement()
                || usage.key_cert_sign()
                || usage.crl_sign()
                || usage.encipher_only()
                || usage.decipher_only()
            {
                return Err(broken(Rule::LeafOtherUsage));
            }
        }
        _ => return Err(broken(Rule::LeafUsage)),
    }
    check_purpose(leaf, purpose)?;
    match leaf.public_key() {
        Ok(_) => Ok(()),
        Err(source) => Err(ChainError::Key {
            subject: leaf.subject(),
            source,
        }),
    }
}

/// Extended key usages by their numbers (RFC 5280, 4.2.1.12).
const ANY: &str = "2.5.29.37.0";
const CODE: &str = "1.3.6.1.5.5.7.3.3";
const SERVER: &str = "1.3.6.1.5.5.7.3.1";
const CLIENT: &str = "1.3.6.1.5.5.7.3.2";
const EMAIL: &str = "1.3.6.1.5.5.7.3.4";
const TIME: &str = "1.3.6.1.5.5.7.3.8";

pub(crate) fn check_purpose(leaf: &Certificate, purpose: Purpose) -> Result<(), ChainError> {
    let broken = |rule| ChainError::Rule {
        subject: leaf.subject(),
        rule,
    };
    let usage = leaf.extended_usage();
    let usage = usage.map_err(|Malformed| ChainError::Extension(leaf.subject()))?;
    match purpose {
        Purpose::CodeSigning => {
            let forbidden = [ANY, SERVER, CLIENT, EMAIL, TIME];
            let wrong = usage.is_some_and(|(_, usage)| {
                let mut purposes = usage.0.iter();
                purposes.any(|purpose| forbidden.contains(&purpose.to_string().as_str()))
            });
            if wrong {
                return Err(broken(Rule::CodePurpose));
            }
        }
        // RFC 3161, 2.3: there, alone, and critical.
        Purpose::Timestamping => match usage {
            Some((true, usage)) if usage.0.len() == 1 && usage.0[0].to_string() == TIME => {}
            _ => return Err(broken(Rule::TimePurpose)),
        },
    }
    Ok(())
}

/// `depth` is the number of authorities between it and the leaf.
fn check_authority(
    authority: &Certificate,
    depth: usize,
    purpose: Purpose,
) -> Result<(), ChainError> {
    let broken = |rule| ChainError::Rule {
        subject: authority.subject(),
        rule,
    };
    let unreadable = |Malformed| ChainError::Extension(authority.subject());
    match authority.constraints().map_err(unreadable)? {
        Some((true, constraints)) if constraints.ca => {
            if let Some(length) = constraints.path_len_constraint
                && depth > usize::from(length)
            {
                return Err(broken(Rule::PathLength));
            }
        }
        _ => return Err(broken(Rule::NotAuthority)),
    }
    match authority.key_usage().map_err(unreadable)? {
        Some((true, usage)) if usage.key_cert_sign() => {}
        _ => return Err(broken(Rule::AuthorityUsage)),
    }
    // Purposes bound those below (RFC 5280, 4.2.1.12, as everybody reads it for authorities): who
    // makes certificates for hosts does not make them for code.
    let wanted = match purpose {
        Purpose::CodeSigning => CODE,
        Purpose::Timestamping => TIME,
    };
    let Some((_, usage)) = authority.extended_usage().map_err(unreadable)? else {
        return Ok(());
    };
    let mut purposes = usage.0.iter().map(ToString::to_string);
    match purposes.any(|purpose| purpose == wanted || purpose == ANY) {
        true => Ok(()),
        false => Err(broken(Rule::AuthorityPurpose)),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType,
        ExtendedKeyUsagePurpose as Usage, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
        NameConstraints,
    };

    use super::*;

    /// An authority that may have `depth` authorities below it.
    fn authority(name: &str, depth: Option<u8>) -> CertificateParams {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(match depth {
            Some(depth) => BasicConstraints::Constrained(depth),
            None => BasicConstraints::Unconstrained,
        });
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        parameters
    }

    fn leaf() -> CertificateParams {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "leaf");
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![Usage::CodeSigning];
        parameters
    }

    /// A leaf, a middle and a root, with changes.
    fn chain_of(
        leaf: CertificateParams,
        middle: CertificateParams,
        root: CertificateParams,
    ) -> Vec<Certificate> {
        let keys = [(); 3].map(|()| KeyPair::generate().unwrap());
        let root_made = root.self_signed(&keys[2]).unwrap();
        let root_issuer = Issuer::from_params(&root, &keys[2]);
        let middle_made = middle.signed_by(&keys[1], &root_issuer).unwrap();
        let middle_issuer = Issuer::from_params(&middle, &keys[1]);
        let leaf_made = leaf.signed_by(&keys[0], &middle_issuer).unwrap();
        [leaf_made, middle_made, root_made]
            .map(|made| Certificate::from_der(made.der()).unwrap())
            .to_vec()
    }

    fn check(certificates: Vec<Certificate>, expected: Result<(), &str>) {
        let found = Chain::new(certificates, Purpose::CodeSigning);
        let found = found.map(drop).map_err(|error| error.to_string());
        match (found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(text)) if error.contains(text) => {}
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    fn with(change: impl FnOnce(&mut CertificateParams)) -> Vec<Certificate> {
        let mut leaf = leaf();
        change(&mut leaf);
        chain_of(leaf, authority("middle", Some(0)), authority("root", None))
    }

    #[test]
    fn leaves_are_for_code_and_nothing_else() {
        check(with(|_| {}), Ok(()));
        check(with(|leaf| leaf.extended_key_usages.clear()), Ok(()));
        check(with(|leaf| leaf.is_ca = IsCa::ExplicitNoCa), Ok(()));
        for usage in [
            Usage::Any,
            Usage::ServerAuth,
            Usage::ClientAuth,
            Usage::EmailProtection,
        ] {
            check(
                with(|leaf| leaf.extended_key_usages.push(usage)),
                Err("is for hosts, persons, clocks or anything, not for code"),
            );
        }
        check(
            with(|leaf| leaf.extended_key_usages = vec![Usage::TimeStamping]),
            Err("not for code"),
        );
        check(
            with(|leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            Err("is an authority's, and signs an artifact"),
        );
        check(
            with(|leaf| leaf.key_usages.clear()),
            Err("is not, critically, for digital signatures"),
        );
        check(
            with(|leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            Err("is for more than digital signatures"),
        );
    }

    #[test]
    fn authorities_are_authorities() {
        let made = |middle| chain_of(leaf(), middle, authority("root", None));
        check(made(leaf()), Err("is not, critically, an authority's"));
        let mut middle = authority("middle", None);
        middle.key_usages = vec![KeyUsagePurpose::CrlSign];
        check(made(middle), Err("for signing certificates"));
        check(
            chain_of(
                leaf(),
                authority("middle", None),
                authority("root", Some(0)),
            ),
            Err("allows fewer certificates below it"),
        );
    }

    /// What an authority was forbidden is forbidden below it, too.
    #[test]
    fn authorities_have_bounds() {
        let made = |change: &dyn Fn(&mut CertificateParams)| {
            let mut middle = authority("middle", None);
            change(&mut middle);
            chain_of(leaf(), middle, authority("root", None))
        };
        let bounded = made(&|middle| {
            let only = vec![GeneralSubtree::DirectoryName(Default::default())];
            middle.name_constraints = Some(NameConstraints {
                permitted_subtrees: only,
                excluded_subtrees: Vec::new(),
            });
        });
        let unknown = "does not understand all of its extensions";
        check(bounded, Err(unknown));
        let strange = |critical| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(critical);
            extension
        };
        check(
            made(&|middle| middle.custom_extensions.push(strange(true))),
            Err(unknown),
        );
        check(
            made(&|middle| middle.custom_extensions.push(strange(false))),
            Ok(()),
        );
        check(
            with(|leaf| leaf.custom_extensions.push(strange(true))),
            Err(unknown),
        );
        let for_purposes =
            |usages: &[Usage]| made(&|middle| middle.extended_key_usages = usages.to_vec());
        check(
            for_purposes(&[Usage::ServerAuth]),
            Err("is an authority's for other purposes than code"),
        );
        check(
            for_purposes(&[Usage::TimeStamping]),
            Err("for other purposes"),
        );
        check(
            for_purposes(&[Usage::ServerAuth, Usage::CodeSigning]),
            Ok(()),
        );
        check(for_purposes(&[Usage::Any]), Ok(()));
    }

    /// Of two names in one subject, one may be whatever its holder wanted to be called.
    #[test]
    fn a_subject_with_two_names_has_none_of_them() {
        let named = |names: &[&str]| {
            let mut name = rcgen::DistinguishedName::new();
            for (place, text) in names.iter().enumerate() {
                // The library keeps one of each kind; kinds that are written out may repeat.
                let kind = match place {
                    0 => DnType::CommonName,
                    _ => DnType::CustomDnType(vec![2, 5, 4, 3]),
                };
                name.push(kind, *text);
            }
            let mut parameters = leaf();
            parameters.distinguished_name = name;
            let made = parameters.self_signed(&KeyPair::generate().unwrap());
            Certificate::from_der(made.unwrap().der()).unwrap()
        };
        let identity = |text: &str| crate::certificate::Identity::read(text).unwrap();
        let release = identity("x509.subject: CN=release");
        assert!(release.fits(&named(&["release"])));
        assert!(!release.fits(&named(&["visitor"])));
        assert!(!release.fits(&named(&["visitor", "release"])));
        assert!(!release.fits(&named(&["release", "visitor"])));
    }

    #[test]
    fn a_row_has_an_order_and_an_end() {
        let whole = with(|_| {});
        let pick = |places: &[usize]| places.iter().map(|at| whole[*at].clone()).collect();
        check(pick(&[0, 1]), Err("is no root"));
        check(pick(&[0, 2]), Err("is not signed by the one after it"));
        check(pick(&[0, 1, 2, 2]), Err("others come after it"));
        check(pick(&[1, 0, 2]), Err("is an authority's"));
        check(Vec::new(), Err("there is no certificate"));
        check(pick(&[0; 11]), Err("more than 10"));
        // Another authority of the same name.
        let mut swapped = whole.clone();
        swapped[1] = with(|_| {})[1].clone();
        check(swapped, Err("is not signed by the one after it"));
        // Alone, a signer may be its own root.
        let alone = leaf().self_signed(&KeyPair::generate().unwrap()).unwrap();
        check(vec![Certificate::from_der(alone.der()).unwrap()], Ok(()));
    }
}
