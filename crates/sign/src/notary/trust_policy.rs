//! `trustpolicy.json` and the trust store beside it, as the notation program keeps them.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use oci::Repository;
use serde::Deserialize;

use super::jws::Unique;
use super::{Check, Checks, Identities, Stamps, Trust};
use crate::certificate::{Certificate, CertificateError, Identity, IdentityError};
use crate::key::PEM_BYTES_MAX;

/// The most bytes of a policy.
const POLICY_BYTES_MAX: u64 = 1024 * 1024;
/// The most policies, stores and identities in it.
const ENTRIES_MAX: usize = 1000;
/// The most files of one store.
const FILES_MAX: usize = 1000;

/// Why a trust policy does not say whom to believe. All of them mean that nothing is believed
/// (E12).
#[derive(Debug, thiserror::Error)]
pub enum TrustPolicyError {
    /// A file that cannot be read.
    #[error("could not read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a policy.
    #[error("{path} is not a trust policy")]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A policy that contradicts itself or the specification.
    #[error("{path} is not a valid trust policy: {what}")]
    Invalid {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// No policy is for this repository.
    #[error("{path} has no policy for {repository}, nor one for `*`")]
    NoPolicy {
        /// Which.
        path: PathBuf,
        /// What was to be verified.
        repository: String,
    },
    /// A store without certificates.
    #[error("the trust store {path} has no certificates (*.pem, *.crt, *.cer)")]
    EmptyStore {
        /// Where it is.
        path: PathBuf,
    },
    /// A link where only files may be (CVE-2024-23332 and trust store specification).
    #[error("{path} is a link, and a trust store may have none")]
    Link {
        /// Where it is.
        path: PathBuf,
    },
    /// A certificate that cannot be read.
    #[error("could not read the certificates of {path}")]
    Certificate {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: CertificateError,
    },
    /// An identity that is not one.
    #[error("{path} has a trusted identity that is not one")]
    Identity {
        /// Which policy file.
        path: PathBuf,
        /// Why.
        source: IdentityError,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    version: String,
    trust_policies: Vec<Policy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Policy {
    name: String,
    registry_scopes: Vec<String>,
    signature_verification: Level,
    #[serde(default)]
    trust_stores: Vec<String>,
    #[serde(default)]
    trusted_identities: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Level {
    level: String,
    #[serde(default, rename = "override")]
    overrides: Unique<String>,
    #[serde(default)]
    verify_timestamp: Option<String>,
}

/// Reads the policy for a repository and the stores that it names. Nothing is returned where the
/// policy skips verification.
///
/// `store` is the directory with `x509` in it.
///
/// # Errors
///
/// When the policy or a store cannot be used.
pub fn read_trust_policy(
    path: &Path,
    store: &Path,
    repository: &Repository,
) -> Result<Option<Trust>, TrustPolicyError> {
    let bytes = read(path, POLICY_BYTES_MAX)?;
    let document: Document =
        serde_json::from_slice(&bytes).map_err(|source| TrustPolicyError::Form {
            path: path.to_owned(),
            source,
        })?;
    let invalid = |what: String| TrustPolicyError::Invalid {
        path: path.to_owned(),
        what,
    };
    check(&document).map_err(invalid)?;
    let scoped = |fits: &dyn Fn(&str) -> bool| {
        let mut policies = document.trust_policies.iter();
        policies.find(|policy| policy.registry_scopes.iter().any(|scope| fits(scope)))
    };
    let policy = scoped(&|scope| {
        scope
            .parse()
            .is_ok_and(|known: Repository| known == *repository)
    })
    .or_else(|| scoped(&|scope| scope == "*"));
    let policy = policy.ok_or_else(|| TrustPolicyError::NoPolicy {
        path: path.to_owned(),
        repository: repository.to_string(),
    })?;
    let Some(checks) = checks(&policy.signature_verification).map_err(invalid)? else {
        return Ok(None);
    };
    let identities = identities(policy).map_err(|source| TrustPolicyError::Identity {
        path: path.to_owned(),
        source,
    })?;
    let mut trust = Trust {
        identities,
        checks,
        ..Trust::default()
    };
    for name in &policy.trust_stores {
        // `check` has seen that it has two parts.
        let (kind, name) = name.split_once(':').unwrap_or((name, ""));
        let directory = store.join("x509").join(kind).join(name);
        let certificates = read_store(&directory)?;
        match kind {
            "signingAuthority" => trust.authority_roots.extend(certificates),
            "tsa" => trust.timestamp_roots.extend(certificates),
            _ => trust.roots.extend(certificates),
        }
    }
    Ok(Some(trust))
}

/// What must be so whichever repository is asked about.
fn check(document: &Document) -> Result<(), String> {
    if document.version != "1.0" {
        return Err(format!("the version {:?} is not known", document.version));
    }
    let policies = &document.trust_policies;
    if policies.is_empty() {
        return Err("it has no policies".to_owned());
    }
    if policies.len() > ENTRIES_MAX {
        return Err(format!("it has more than {ENTRIES_MAX} policies"));
    }
    let mut names = Vec::new();
    let mut scopes = Vec::new();
    for policy in policies {
        let name = &policy.name;
        let wrong = |what: &str| Err(format!("policy {name:?} {what}"));
        if name.is_empty() || names.contains(&name) {
            return wrong("has no name of its own");
        }
        names.push(name);
        if policy.registry_scopes.is_empty() {
            return wrong("has no scope");
        }
        for scope in &policy.registry_scopes {
            if scope.contains('*') && (scope != "*" || policy.registry_scopes.len() > 1) {
                return wrong("has `*` beside other scopes, or in one");
            }
            // One that fits nothing would leave its repository to the policy of all others.
            let repository: Option<Repository> = match scope.as_str() {
                "*" => None,
                text => match text.parse() {
                    Ok(repository) => Some(repository),
                    Err(_) => {
                        return wrong(&format!(
                            "has the scope {scope:?}, which is no REGISTRY/REPOSITORY"
                        ));
                    }
                },
            };
            if scopes.contains(&repository) {
                return wrong(&format!("has the scope {scope:?}, which another has too"));
            }
            scopes.push(repository);
        }
        if policy.trust_stores.len() > ENTRIES_MAX || policy.trusted_identities.len() > ENTRIES_MAX
        {
            return wrong(&format!("has more than {ENTRIES_MAX} stores or identities"));
        }
        if checks(&policy.signature_verification)?.is_none() {
            if policy.registry_scopes == ["*"] {
                return wrong("skips verification everywhere");
            }
            if !policy.trust_stores.is_empty() || !policy.trusted_identities.is_empty() {
                return wrong("skips verification and names whom to trust");
            }
            continue;
        }
        if policy.trust_stores.is_empty() || policy.trusted_identities.is_empty() {
            return wrong("names no trust store, or no trusted identity");
        }
        for store in &policy.trust_stores {
            let parts = store.split_once(':');
            let fits = parts.is_some_and(|(kind, name)| {
                matches!(kind, "ca" | "signingAuthority" | "tsa") && is_file_name(name)
            });
            if !fits {
                return wrong(&format!(
                    "has a trust store {store:?} that is not KIND:NAME"
                ));
            }
        }
    }
    Ok(())
}

/// A name that stays in its directory (E13).
fn is_file_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    !name.is_empty() && name != "." && name != ".." && name.bytes().all(fits)
}

/// The table of levels; nothing for `skip`.
fn checks(level: &Level) -> Result<Option<Checks>, String> {
    use Check::{Enforce, Log, Skip};
    let of = |authenticity, timestamp, expiry, revocation| Checks {
        authenticity,
        timestamp,
        stamps: Stamps::Always,
        expiry,
        revocation,
    };
    let mut checks = match level.level.as_str() {
        "strict" => of(Enforce, Enforce, Enforce, Enforce),
        "permissive" => of(Enforce, Log, Log, Log),
        "audit" => of(Log, Log, Log, Log),
        "skip" if level.overrides.0.is_empty() => return Ok(None),
        "skip" => return Err("`skip` takes no overrides".to_owned()),
        other => return Err(format!("the level {other:?} is not known")),
    };
    match level.verify_timestamp.as_deref() {
        None | Some("always") => {}
        Some("afterCertExpiry") => checks.stamps = Stamps::AfterExpiry,
        Some(other) => return Err(format!("`verifyTimestamp` cannot be {other:?}")),
    }
    for (name, value) in &level.overrides.0 {
        let check = match value.as_str() {
            "enforce" => Enforce,
            "log" => Log,
            "skip" if name == "revocation" => Skip,
            other => return Err(format!("{name:?} cannot be overridden with {other:?}")),
        };
        match name.as_str() {
            "authenticity" => checks.authenticity = check,
            "authenticTimestamp" => checks.timestamp = check,
            "expiry" => checks.expiry = check,
            "revocation" => checks.revocation = check,
            other => return Err(format!("{other:?} cannot be overridden")),
        }
    }
    Ok(Some(checks))
}

fn identities(policy: &Policy) -> Result<Identities, IdentityError> {
    if policy.trusted_identities == ["*"] {
        return Ok(Identities::Any);
    }
    let mut identities: Vec<Identity> = Vec::new();
    for text in &policy.trusted_identities {
        let identity = Identity::read(text)?;
        let required = ["C", "ST", "O"];
        let complete = required.iter().all(|name| identity.names(name));
        if !complete || identities.iter().any(|other| other.overlaps(&identity)) {
            return Err(IdentityError::Form(text.clone()));
        }
        identities.push(identity);
    }
    Ok(Identities::Of(identities))
}

/// The certificates of a directory; directories in it are not looked into.
fn read_store(directory: &Path) -> Result<Vec<Certificate>, TrustPolicyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| TrustPolicyError::Read { path, source }
    };
    let link = |path: &Path| TrustPolicyError::Link {
        path: path.to_owned(),
    };
    let metadata = fs::symlink_metadata(directory).map_err(failed(directory))?;
    if metadata.is_symlink() {
        return Err(link(directory));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("pem" | "crt" | "cer")) {
            continue;
        }
        let metadata = fs::symlink_metadata(&path).map_err(failed(&path))?;
        if metadata.is_symlink() {
            return Err(link(&path));
        }
        if metadata.is_file() && files.len() < FILES_MAX {
            files.push(path);
        }
    }
    files.sort();
    let mut certificates = Vec::new();
    for path in files {
        let bytes = read(&path, PEM_BYTES_MAX as u64)?;
        let found = Certificate::read_all(&bytes);
        let found = found.map_err(|source| TrustPolicyError::Certificate { path, source })?;
        certificates.extend(found);
    }
    if certificates.is_empty() {
        return Err(TrustPolicyError::EmptyStore {
            path: directory.to_owned(),
        });
    }
    Ok(certificates)
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, TrustPolicyError> {
    let failed = |source| TrustPolicyError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(failed(std::io::Error::other(format!(
            "it is larger than {bytes_max} bytes"
        ))));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A policy for one repository beside the one for all others, which believes anybody: what the
    /// first asks for must not be lost by how it is written.
    fn strict(scope: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut policy = json!({
            "name": "strict",
            "registryScopes": [scope],
            "signatureVerification": { "level": "strict" },
            "trustStores": ["ca:ours", "tsa:clocks"],
            "trustedIdentities": ["x509.subject: C=DE, ST=BW, O=Kiln"],
        });
        change(&mut policy);
        let others = json!({
            "name": "others",
            "registryScopes": ["*"],
            "signatureVerification": { "level": "audit" },
            "trustStores": ["ca:ours"],
            "trustedIdentities": ["*"],
        });
        json!({ "version": "1.0", "trustPolicies": [policy, others] }).to_string()
    }

    /// Reads a policy for a repository, and says what its checks are.
    fn check(policy: &str, repository: &str, expected: Result<(Check, Stamps), &str>) {
        let directory = tempfile::tempdir().unwrap();
        let root = format!("{}/tests/data/root.pem", env!("CARGO_MANIFEST_DIR"));
        for store in ["ca/ours", "tsa/clocks"] {
            let store = directory.path().join("x509").join(store);
            fs::create_dir_all(&store).unwrap();
            fs::copy(&root, store.join("root.pem")).unwrap();
        }
        let path = directory.path().join("trustpolicy.json");
        fs::write(&path, policy).unwrap();
        let repository = repository.parse().unwrap();
        let found = read_trust_policy(&path, directory.path(), &repository);
        let found = found.map(|trust| trust.unwrap().checks);
        match (found, expected) {
            (Ok(checks), Ok(wanted)) => assert_eq!((checks.authenticity, checks.stamps), wanted),
            (Err(error), Err(words)) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let text = format!("{error}: {}", cause.unwrap_or_default());
                assert!(text.contains(words), "{text}");
            }
            (found, _) => panic!("{policy}: {found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_policy_is_not_lost_by_how_it_is_written() {
        let ours = "registry.example/team/app";
        let enforced = Ok((Check::Enforce, Stamps::Always));
        check(&strict(ours, |_| {}), ours, enforced);
        let others = Ok((Check::Log, Stamps::Always));
        check(&strict(ours, |_| {}), "registry.example/team/other", others);
        // Other names of the same repository.
        for hub in ["docker.io/library/alpine", "index.docker.io/library/alpine"] {
            check(&strict(hub, |_| {}), "docker.io/library/alpine", enforced);
        }
        for scope in [
            "https://registry.example/team/app",
            "registry.example/team/app:v1",
            "registry.example/team/App",
            "registry.example/",
            "",
        ] {
            let wrong = Err("which is no REGISTRY/REPOSITORY");
            check(&strict(scope, |_| {}), ours, wrong);
        }
        let twice = strict("docker.io/library/alpine", |policy| {
            policy["registryScopes"] = json!(["docker.io/library/alpine", "alpine"]);
        });
        check(&twice, ours, Err("which another has too"));
        let after = strict(ours, |policy| {
            policy["signatureVerification"]["verifyTimestamp"] = json!("afterCertExpiry");
        });
        check(&after, ours, Ok((Check::Enforce, Stamps::AfterExpiry)));
    }

    #[test]
    fn nothing_of_a_policy_is_there_twice() {
        let ours = "registry.example/team/app";
        let text = strict(ours, |policy| {
            policy["signatureVerification"]["override"] = json!({ "authenticity": "enforce" });
        });
        check(&text, ours, Ok((Check::Enforce, Stamps::Always)));
        for (once, twice) in [
            (
                "\"authenticity\":\"enforce\"",
                "\"authenticity\":\"enforce\",\"authenticity\":\"log\"",
            ),
            (
                "\"level\":\"strict\"",
                "\"level\":\"strict\",\"level\":\"audit\"",
            ),
        ] {
            assert!(text.contains(once), "{text}");
            let text = text.replacen(once, twice, 1);
            check(&text, ours, Err("is not a trust policy"));
        }
    }
}
