//! The text of `containers-registries.conf(5)`, version 2.

use std::path::Path;

use serde::Deserialize;

use super::{Mirror, MirrorUse, Note, RegistryRule, SettingsError};

/// The most registries, and mirrors of one, that a file may list.
const ENTRIES_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    #[serde(default)]
    registry: Vec<Registry>,
    // What follows is for programs that guess registries or ask for accounts of
    // their own; each is answered with a note.
    unqualified_search_registries: Option<toml::Value>,
    short_name_mode: Option<toml::Value>,
    aliases: Option<toml::Value>,
    credential_helpers: Option<Vec<String>>,
    additional_layer_store_auth_helper: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Registry {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<RegistryMirror>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RegistryMirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<String>,
}

/// The entries of a file, in its order.
pub(super) fn parse(
    path: &Path,
    text: &str,
    notes: &mut Vec<Note>,
) -> Result<Vec<RegistryRule>, SettingsError> {
    let file: File = toml::from_str(text).map_err(|error| SettingsError::Syntax {
        path: path.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    })?;
    let ignored = [
        (
            file.unqualified_search_registries.is_some(),
            "unqualified-search-registries",
            "names without a registry always mean docker.io, as with docker",
        ),
        (
            file.short_name_mode.is_some(),
            "short-name-mode",
            "names without a registry always mean docker.io, as with docker",
        ),
        (
            file.aliases.is_some(),
            "aliases",
            "names without a registry always mean docker.io, as with docker",
        ),
        (
            file.credential_helpers
                .is_some_and(|helpers| helpers.iter().any(|name| name != "containers-auth.json")),
            "credential-helpers",
            "helpers are taken from config.json",
        ),
        (
            file.additional_layer_store_auth_helper.is_some(),
            "additional-layer-store-auth-helper",
            "kiln has its own store",
        ),
    ];
    for (present, key, reason) in ignored {
        if present {
            notes.push(Note(format!(
                "{}: `{key}` has no effect: {reason}",
                path.display()
            )));
        }
    }
    if file.registry.len() > ENTRIES_MAX {
        return Err(SettingsError::Syntax {
            path: path.to_owned(),
            reason: format!("more than {ENTRIES_MAX} registries"),
        });
    }
    file.registry
        .into_iter()
        .enumerate()
        .map(|(number, registry)| rule(path, number + 1, registry))
        .collect()
}

fn rule(path: &Path, number: usize, registry: Registry) -> Result<RegistryRule, SettingsError> {
    let name = registry
        .prefix
        .clone()
        .or_else(|| registry.location.clone())
        .unwrap_or_else(|| format!("number {number}"));
    let fail = |key, reason: String| SettingsError::Value {
        path: path.to_owned(),
        registry: name.clone(),
        key,
        reason,
    };
    let (prefix, location) = match (registry.prefix, registry.location) {
        (None, None) => return Err(fail("location", "it is missing, and so is `prefix`".into())),
        (None, Some(location)) => (location, None),
        (Some(prefix), location) => (prefix, location),
    };
    if let Some(domain) = prefix.strip_prefix('*') {
        let plain = domain.starts_with('.') && !domain[1..].contains(['*', '/', ':']);
        if !plain {
            return Err(fail(
                "prefix",
                "a `*` can only stand in front of a domain, as in `*.example.com`".into(),
            ));
        }
    } else {
        check_location(&prefix).map_err(|reason| fail("prefix", reason))?;
    }
    if let Some(location) = &location {
        check_location(location).map_err(|reason| fail("location", reason))?;
    }
    if registry.mirror.len() > ENTRIES_MAX {
        return Err(fail("mirror", format!("more than {ENTRIES_MAX}")));
    }
    let mirrors = registry
        .mirror
        .into_iter()
        .map(|mirror| {
            check_location(&mirror.location).map_err(|reason| fail("mirror.location", reason))?;
            let used_for = match mirror.pull_from_mirror.as_deref() {
                None | Some("") => MirrorUse::Unspecified,
                Some("all") => MirrorUse::All,
                Some("digest-only") => MirrorUse::DigestOnly,
                Some("tag-only") => MirrorUse::TagOnly,
                Some(other) => {
                    return Err(fail(
                        "mirror.pull-from-mirror",
                        format!("`{other}` is not one of all, digest-only, tag-only"),
                    ));
                }
            };
            if registry.mirror_by_digest_only && mirror.pull_from_mirror.is_some() {
                return Err(fail(
                    "mirror.pull-from-mirror",
                    "it cannot be used together with `mirror-by-digest-only`".into(),
                ));
            }
            Ok(Mirror {
                location: mirror.location,
                insecure: mirror.insecure,
                used_for,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(RegistryRule {
        prefix,
        location,
        insecure: registry.insecure,
        blocked: registry.blocked,
        mirror_by_digest_only: registry.mirror_by_digest_only,
        mirrors,
    })
}

fn check_location(location: &str) -> Result<(), String> {
    if location.contains("://") {
        return Err(format!(
            "`{location}` must be HOST[:PORT][/PATH] without a scheme; `insecure` allows plain http"
        ));
    }
    // A location may be a bare host; a path behind it makes it a repository.
    let probe = if location.contains('/') {
        location.to_owned()
    } else {
        format!("{location}/x")
    };
    match probe.parse::<oci::Repository>() {
        Ok(repository) if location.starts_with(repository.registry()) => Ok(()),
        Ok(_) if location.starts_with("index.docker.io") => Ok(()),
        Ok(_) => Err(format!("`{location}` does not start with a host")),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::RegistrySettings;
    use super::*;

    fn check(text: &str, name: &str, expected: &str) {
        let mut notes = Vec::new();
        let found = match parse(Path::new("r.conf"), text, &mut notes) {
            Err(error) => format!("error: {error}"),
            Ok(rules) => {
                let settings = RegistrySettings {
                    rules,
                    ..RegistrySettings::default()
                };
                match settings.rule_for(name) {
                    None => "none".to_owned(),
                    Some(rule) => {
                        let location = rule.location.as_deref().unwrap_or(&rule.prefix);
                        let mut text = if rule.prefix.starts_with('*') && rule.location.is_none() {
                            name.to_owned()
                        } else {
                            rule.relocate(name, location)
                        };
                        for mirror in &rule.mirrors {
                            text.push_str(&format!(
                                " {:?}={}",
                                mirror.used_for,
                                rule.relocate(name, &mirror.location)
                            ));
                        }
                        text
                    }
                }
            }
        };
        match expected.strip_prefix("error: ") {
            Some(part) => assert!(
                found.starts_with("error: ") && found.contains(part),
                "{found}"
            ),
            None => assert_eq!(found, expected, "{name}"),
        }
    }

    #[test]
    fn the_longest_prefix_wins_and_is_replaced() {
        let text = r#"
            unqualified-search-registries = ["docker.io"]
            [[registry]]
            location = "a.io"
            [[registry]]
            prefix = "a.io/team"
            location = "b.io:5000/copy/team"
            [[registry.mirror]]
            location = "m.io/t"
            [[registry.mirror]]
            location = "n.io"
            pull-from-mirror = "digest-only"
            [[registry]]
            prefix = "*.corp.io"
            [[registry]]
            prefix = "*.x.corp.io"
            location = "y.io"
        "#;
        check(text, "a.io/x", "a.io/x");
        check(text, "a.io/teams/x", "a.io/teams/x");
        check(
            text,
            "a.io/team/x",
            "b.io:5000/copy/team/x Unspecified=m.io/t/x DigestOnly=n.io/x",
        );
        check(text, "a.io:5000/x", "none");
        check(text, "q.corp.io:5000/x", "q.corp.io:5000/x");
        check(text, "q.x.corp.io/x", "y.io/x");
        check(text, "corp.io/x", "none");
    }

    #[test]
    fn mistakes_are_named_with_file_and_key() {
        check(
            "[registries.search]\nregistries=[]",
            "a",
            "error: unknown field `registries`",
        );
        check("[[registry]]\nlocatoin=\"a.io\"", "a", "error: locatoin");
        check(
            "[[registry]]\ninsecure=true",
            "a",
            "error: location of registry `number 1`",
        );
        check(
            "[[registry]]\nlocation=\"http://a.io\"",
            "a",
            "error: without a scheme",
        );
        check(
            "[[registry]]\nprefix=\"*a.io\"",
            "a",
            "error: front of a domain",
        );
        check(
            "[[registry]]\nlocation=\"a.io\"\n[[registry.mirror]]\nlocation=\"b.io\"\npull-from-mirror=\"some\"",
            "a",
            "error: `some` is not one of all",
        );
        check(
            "[[registry]\n",
            "a",
            "error: r.conf is not a registries.conf",
        );
    }

    #[test]
    fn what_has_no_effect_is_noted() {
        let mut notes = Vec::new();
        let text = "unqualified-search-registries = [\"a.io\"]\nshort-name-mode=\"enforcing\"";
        parse(Path::new("r.conf"), text, &mut notes).expect("a good file");
        assert_eq!(notes.len(), 2);
        assert!(
            notes[0]
                .0
                .contains("`unqualified-search-registries` has no effect")
        );
    }
}
