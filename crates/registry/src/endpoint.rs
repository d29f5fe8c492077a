//! Which hosts are asked for a repository, in which order, and how.

use std::path::PathBuf;

use oci::Repository;

use crate::origin::{Origin, OriginError, Scheme, is_loopback_host};
use crate::settings::{MirrorUse, RegistrySettings, find_directory};

/// Where docker.io really answers.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// One place that may have a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `host[:port]` as it was written: the name of the account and of the
    /// certificates.
    pub(crate) name: String,
    /// The repository there.
    pub(crate) path: String,
    pub(crate) insecure: bool,
    pub(crate) is_mirror: bool,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Tag,
    Digest,
}

/// How a host is talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Approach {
    /// The origins to try, the preferred one first: more than one only for
    /// hosts that are declared insecure.
    pub(crate) origins: Vec<Origin>,
    /// Whether certificates are verified.
    pub(crate) verify: bool,
    /// Certificates for this host.
    pub(crate) certificates: Option<PathBuf>,
}

/// The settings say that nothing may go there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) prefix: String,
}

/// The places to pull from, in order.
///
/// Mirrors come first for digests, where they cannot lie. A tag is asked of the
/// registry itself, unless the settings say in words that a mirror may answer
/// tags; mirrors of which nothing is said are asked last, so that a registry
/// that is down does not stop a build (D23).
pub(crate) fn for_pull(
    settings: &RegistrySettings,
    repository: &Repository,
    wanted: Wanted,
) -> Result<Vec<Endpoint>, Blocked> {
    let primary = for_push(settings, repository)?;
    let name = repository.to_string();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    if let Some(rule) = settings.rule_for(&name) {
        for mirror in &rule.mirrors {
            let endpoint = place(
                &rule.relocate(&name, &mirror.location),
                mirror.insecure,
                true,
            );
            let used_for = if rule.mirror_by_digest_only {
                MirrorUse::DigestOnly
            } else {
                mirror.used_for
            };
            match (wanted, used_for) {
                (Wanted::Digest, MirrorUse::TagOnly) | (Wanted::Tag, MirrorUse::DigestOnly) => {}
                (Wanted::Tag, MirrorUse::Unspecified) => after.push(endpoint),
                (Wanted::Tag, MirrorUse::All | MirrorUse::TagOnly)
                | (Wanted::Digest, MirrorUse::Unspecified)
                | (Wanted::Digest, MirrorUse::All | MirrorUse::DigestOnly) => before.push(endpoint),
            }
        }
    }
    before.push(primary);
    before.append(&mut after);
    Ok(before)
}

/// The one place to push to.
pub(crate) fn for_push(
    settings: &RegistrySettings,
    repository: &Repository,
) -> Result<Endpoint, Blocked> {
    let name = repository.to_string();
    let Some(rule) = settings.rule_for(&name) else {
        return Ok(place(&name, false, false));
    };
    if rule.blocked {
        return Err(Blocked {
            prefix: rule.prefix.clone(),
        });
    }
    let name = match &rule.location {
        Some(location) => rule.relocate(&name, location),
        None => name,
    };
    Ok(place(&name, rule.insecure, false))
}

fn place(name: &str, insecure: bool, is_mirror: bool) -> Endpoint {
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    Endpoint {
        name: host.to_owned(),
        path: path.to_owned(),
        insecure,
        is_mirror,
    }
}

/// How the host of an endpoint is talked to (D06): https with verified
/// certificates; anything if the settings call it insecure; plain http for
/// loopback hosts, unless certificates for them are there.
pub(crate) fn approach(
    settings: &RegistrySettings,
    name: &str,
    insecure: bool,
) -> Result<Approach, OriginError> {
    let certificates = find_directory(&settings.certificate_directories, name);
    let host = match name {
        "docker.io" | "index.docker.io" => DOCKER_HUB_HOST,
        other => other,
    };
    let https = Origin::of_registry(host, Scheme::Https)?;
    let http = Origin::of_registry(host, Scheme::Http)?;
    let loopback = settings.loopback_is_plain && is_loopback_host(https.host());
    let origins = match (loopback && certificates.is_none(), insecure) {
        (true, _) => vec![http],
        (false, true) => vec![https, http],
        (false, false) => vec![https],
    };
    Ok(Approach {
        origins,
        verify: !insecure,
        certificates,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Mirror, RegistryRule};

    fn check(settings: &RegistrySettings, repository: &str, wanted: Wanted, expected: &str) {
        let repository = repository.parse().expect("a repository");
        let found = match for_pull(settings, &repository, wanted) {
            Err(blocked) => format!("blocked by {}", blocked.prefix),
            Ok(endpoints) => endpoints
                .iter()
                .map(|endpoint| format!("{}/{}", endpoint.name, endpoint.path))
                .collect::<Vec<_>>()
                .join(" "),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn mirrors_come_first_where_they_cannot_lie() {
        let mirror = |location: &str, used_for| Mirror {
            location: location.to_owned(),
            insecure: false,
            used_for,
        };
        let rule = |prefix: &str, blocked, mirrors| RegistryRule {
            prefix: prefix.to_owned(),
            location: None,
            insecure: false,
            blocked,
            mirror_by_digest_only: false,
            mirrors,
        };
        let settings = RegistrySettings {
            rules: vec![
                rule(
                    "docker.io",
                    false,
                    vec![
                        mirror("u.io/hub", MirrorUse::Unspecified),
                        mirror("a.io", MirrorUse::All),
                        mirror("d.io", MirrorUse::DigestOnly),
                        mirror("t.io", MirrorUse::TagOnly),
                    ],
                ),
                rule("evil.io", true, vec![]),
            ],
            ..RegistrySettings::default()
        };
        check(
            &settings,
            "alpine",
            Wanted::Tag,
            "a.io/library/alpine t.io/library/alpine docker.io/library/alpine u.io/hub/library/alpine",
        );
        check(
            &settings,
            "alpine",
            Wanted::Digest,
            "u.io/hub/library/alpine a.io/library/alpine d.io/library/alpine docker.io/library/alpine",
        );
        check(&settings, "evil.io/x", Wanted::Digest, "blocked by evil.io");
        check(&settings, "b.io/x", Wanted::Tag, "b.io/x");
    }

    #[test]
    fn plain_http_is_for_loopback_and_the_declared() {
        let check = |plain: bool, name: &str, insecure: bool, expected: &str| {
            let settings = RegistrySettings {
                loopback_is_plain: plain,
                ..RegistrySettings::default()
            };
            let found = approach(&settings, name, insecure).expect("an approach");
            let origins: Vec<String> = found.origins.iter().map(ToString::to_string).collect();
            assert_eq!(origins.join(" "), expected, "{name}");
            assert_eq!(found.verify, !insecure);
        };
        check(true, "127.0.0.1:5000", false, "http://127.0.0.1:5000");
        check(true, "localhost:5000", false, "http://localhost:5000");
        check(true, "[::1]:5000", false, "http://[::1]:5000");
        check(false, "127.0.0.1:5000", false, "https://127.0.0.1:5000");
        check(true, "x.local", false, "https://x.local");
        check(
            true,
            "localhost.evil.io",
            false,
            "https://localhost.evil.io",
        );
        check(true, "a.io:80", false, "https://a.io:80");
        check(true, "a.io", true, "https://a.io http://a.io");
        check(true, "docker.io", false, "https://registry-1.docker.io");
    }
}
