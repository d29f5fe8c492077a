//! Docker's `config.json` and podman's `auth.json`.
//!
//! Of both only what concerns accounts is read. Errors name file and key, never
//! a value.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use super::helper::HelperName;
use super::{Credential, Secret};

/// The largest configuration file that is read, in bytes.
const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The most accounts or helpers in one file.
const ENTRIES_MAX: usize = 10_000;

/// The key under which docker keeps the account of its own registry.
pub(crate) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Base64 with or without padding, since both are found in the wild.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a file says about accounts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigFile {
    /// For messages: a path, or the name of a variable.
    pub(crate) name: String,
    /// Accounts by normalised key, with the key as written.
    pub(crate) accounts: BTreeMap<String, (String, Option<Credential>)>,
    pub(crate) helpers: BTreeMap<String, Option<HelperName>>,
    pub(crate) store: Option<HelperName>,
}

/// Why a configuration file cannot be used. Never holds a value of the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// It is there and cannot be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is larger than any that a person or a tool writes.
    #[error("{path} is larger than {CONFIG_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not JSON of the expected form.
    #[error("{name} is not a docker configuration: {reason}")]
    Syntax {
        /// The file, or the variable.
        name: String,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// The value of one key has no meaning.
    #[error("{name}: {key}: {reason}")]
    Value {
        /// The file, or the variable.
        name: String,
        /// The path of the key, such as `auths["a.io"].auth`.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    auths: Option<UniqueMap<RawAccount>>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: Option<UniqueMap<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawAccount {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// What may stand in `DOCKER_AUTH_CONFIG`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVariable {
    #[expect(dead_code, reason = "only its form is looked at")]
    auths: UniqueMap<RawVariableAccount>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVariableAccount {
    #[expect(dead_code, reason = "only its form is looked at")]
    auth: Option<String>,
}

/// A map in which a key that stands twice is an error: which of two accounts is
/// meant cannot be known.
struct UniqueMap<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
            type Value = UniqueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                use serde::de::Error;
                let mut found = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if found.len() >= ENTRIES_MAX {
                        return Err(A::Error::custom(format!("more than {ENTRIES_MAX} entries")));
                    }
                    if found.contains_key(&key) {
                        return Err(A::Error::custom(format!("`{}` stands twice", shown(&key))));
                    }
                    let value = map.next_value()?;
                    found.insert(key, value);
                }
                Ok(UniqueMap(found))
            }
        }
        deserializer.deserialize_map(Unique(std::marker::PhantomData))
    }
}

impl ConfigFile {
    /// Reads a file; `None` when it is missing. Something odd about the file
    /// itself goes into `notes`.
    pub(crate) fn read(
        path: &Path,
        notes: &mut Vec<String>,
    ) -> Result<Option<Self>, ConfigFileError> {
        let fail = |source| ConfigFileError::Read {
            path: path.to_owned(),
            source,
        };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let metadata = file.metadata().map_err(fail)?;
        let mut bytes = Vec::new();
        file.take(CONFIG_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(fail)?;
        if bytes.len() as u64 > CONFIG_BYTES_MAX {
            return Err(ConfigFileError::TooLarge {
                path: path.to_owned(),
            });
        }
        let config = Self::parse(&path.display().to_string(), &bytes)?;
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let (owner, ours) = (metadata.uid(), rustix::process::geteuid().as_raw());
        // What root wrote for us, and what we left for root, is no surprise.
        if owner != ours && owner != 0 && ours != 0 {
            notes.push(format!("{} belongs to another user", path.display()));
        }
        if metadata.permissions().mode() & 0o022 != 0 {
            notes.push(format!(
                "{} can be changed by other users; chmod 600 it",
                path.display()
            ));
        } else if metadata.permissions().mode() & 0o004 != 0 && config.has_secrets() {
            notes.push(format!(
                "{} holds passwords and can be read by other users; chmod 600 it",
                path.display()
            ));
        }
        Ok(Some(config))
    }

    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, ConfigFileError> {
        // An empty file is what `touch` and some login tools leave.
        if bytes.trim_ascii().is_empty() {
            return Ok(Self {
                name: name.to_owned(),
                ..Self::default()
            });
        }
        // A list would be taken for the fields of an object in their order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(ConfigFileError::Syntax {
                name: name.to_owned(),
                reason: "it is not a JSON object".into(),
            });
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| ConfigFileError::Syntax {
            name: name.to_owned(),
            reason: without_values(&error),
        })?;
        let fail = |key: String, reason: String| ConfigFileError::Value {
            name: name.to_owned(),
            key,
            reason,
        };
        let mut config = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        for (key, account) in raw.auths.map_or_else(BTreeMap::new, |map| map.0) {
            let credential = account.credential().map_err(|(field, reason)| {
                fail(format!("auths[\"{}\"].{field}", shown(&key)), reason)
            })?;
            let normal = normalise(&key);
            // `https://a.io/v1/` and `a.io` are one registry; the exact key wins.
            let exact = normal == key;
            if exact || !config.accounts.contains_key(&normal) {
                config.accounts.insert(normal, (key, credential));
            }
        }
        for (key, helper) in raw.cred_helpers.map_or_else(BTreeMap::new, |map| map.0) {
            let helper = HelperName::parse(&helper)
                .map_err(|reason| fail(format!("credHelpers[\"{}\"]", shown(&key)), reason))?;
            config.helpers.insert(key, helper);
        }
        if let Some(store) = raw.creds_store {
            config.store =
                HelperName::parse(&store).map_err(|reason| fail("credsStore".into(), reason))?;
        }
        Ok(config)
    }

    /// Reads `DOCKER_AUTH_CONFIG`, of which docker takes nothing but `auths` with `auth`: anything
    /// else in it is a mistake, and would have no effect.
    pub(crate) fn parse_variable(name: &str, bytes: &[u8]) -> Result<Self, ConfigFileError> {
        let config = Self::parse(name, bytes)?;
        if bytes.trim_ascii().is_empty() {
            return Ok(config);
        }
        let strict: Result<RawVariable, _> = serde_json::from_slice(bytes);
        match strict {
            Ok(_) => Ok(config),
            Err(error) => Err(ConfigFileError::Syntax {
                name: name.to_owned(),
                reason: format!(
                    "only `auths` may stand there, and only `auth` in its entries (line {} column \
                     {})",
                    error.line(),
                    error.column()
                ),
            }),
        }
    }

    fn has_secrets(&self) -> bool {
        self.accounts
            .values()
            .any(|(_, credential)| credential.is_some())
    }

    /// The account for `host/path`: the longest key that covers it
    /// (`containers-auth.json(5)`), with the key as written.
    pub(crate) fn account(&self, host: &str, path: &str) -> Option<(&str, &Credential)> {
        let mut name = format!("{host}/{path}");
        loop {
            if let Some((key, Some(credential))) = self.accounts.get(&name) {
                return Some((key, credential));
            }
            let end = name.rfind('/')?;
            name.truncate(end);
        }
    }
}

impl RawAccount {
    /// The account of an entry; `None` for an empty one, as credential stores
    /// leave behind.
    fn credential(self) -> Result<Option<Credential>, (&'static str, String)> {
        let filled = |field: Option<String>| field.filter(|text| !text.is_empty());
        if let Some(token) = filled(self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(Secret::new(token))));
        }
        if let Some(token) = filled(self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(Secret::new(token))));
        }
        if let Some(auth) = filled(self.auth) {
            return decode(&auth)
                .map(Some)
                .map_err(|reason| ("auth", reason.to_owned()));
        }
        match (filled(self.username), filled(self.password)) {
            (None, None) => Ok(None),
            (Some(username), Some(password)) => Ok(Some(Credential::Password {
                username,
                password: Secret::new(password),
            })),
            (None, Some(_)) => Err(("username", "it is missing beside `password`".into())),
            (Some(_), None) => Err(("password", "it is missing beside `username`".into())),
        }
    }
}

fn decode(auth: &str) -> Result<Credential, &'static str> {
    let bytes = BASE64
        .decode(auth.trim())
        .map_err(|_| "it is not base64 of USER:PASSWORD")?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not base64 of UTF-8 text")?;
    let (username, password) = text
        .split_once(':')
        .ok_or("it has no colon between user and password")?;
    // Old versions of docker padded the password with NULs.
    let password = password.trim_end_matches('\0');
    if username.is_empty() {
        return Err("its user is empty");
    }
    // A password may have lines: the key of a Google account is one, with `_json_key`.
    if username.chars().any(char::is_control) || password.contains('\0') {
        return Err("it holds control characters");
    }
    Ok(Credential::Password {
        username: username.to_owned(),
        password: Secret::new(password),
    })
}

/// The registry, and the path if there is one, that a key of `auths` means.
fn normalise(key: &str) -> String {
    let had_scheme = key.starts_with("http://") || key.starts_with("https://");
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    // With a scheme it is docker's old form, whose path is that of an API.
    let bare = if had_scheme {
        bare.split('/').next().unwrap_or(bare)
    } else {
        bare.trim_end_matches('/')
    };
    let (host, rest) = match bare.split_once('/') {
        Some((host, rest)) => (host, Some(rest)),
        None => (bare, None),
    };
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    // `docker.io/v1/` without a scheme is the old form too.
    match rest {
        Some("v1" | "v2") | None => host.to_owned(),
        Some(rest) => format!("{host}/{rest}"),
    }
}

fn shown(key: &str) -> String {
    key.chars()
        .filter(|c| !c.is_control())
        .take(100)
        .collect::<String>()
}

/// What serde says without the value that it stumbled over.
fn without_values(error: &serde_json::Error) -> String {
    let place = format!("line {} column {}", error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Data => {
            let text = error.to_string();
            if text.contains("stands twice") || text.contains("more than") {
                text
            } else {
                format!("a value of the wrong type at {place}")
            }
        }
        serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof
        | serde_json::error::Category::Io => format!("no valid JSON at {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, host: &str, path: &str, expected: &str) {
        let found = match ConfigFile::parse("config.json", json.as_bytes()) {
            Err(error) => format!("error: {error}"),
            Ok(config) => match config.account(host, path) {
                None => "none".to_owned(),
                Some((key, Credential::Password { username, password })) => {
                    format!("{username}:{} by {key}", password.expose())
                }
                Some((key, Credential::IdentityToken(token))) => {
                    format!("identity {} by {key}", token.expose())
                }
                Some((key, Credential::RegistryToken(token))) => {
                    format!("registry {} by {key}", token.expose())
                }
            },
        };
        match expected.strip_prefix("error: ") {
            Some(part) => assert!(
                found.starts_with("error: ") && found.contains(part),
                "{found}"
            ),
            None => assert_eq!(found, expected, "{json}"),
        }
        assert!(
            !found.starts_with("error: ") || !found.contains("c2VjcmV0"),
            "{found}"
        );
    }

    #[test]
    fn accounts_are_found_by_the_longest_key() {
        // u:p, v:q, w:r
        let json = r#"{"auths":{
            "a.io":{"auth":"dTpw"},
            "a.io/team":{"auth":"djpx"},
            "https://b.io:5000/v2/":{"auth":"dTpw"},
            "https://index.docker.io/v1/":{"auth":"dzpy"},
            "c.io":{"username":"u","password":"p"},
            "d.io":{"identitytoken":"t","auth":"dTo="},
            "e.io":{"registrytoken":"t"},
            "f.io":{}
        },"HttpHeaders":{"X":"y"}}"#;
        check(json, "a.io", "x/y", "u:p by a.io");
        check(json, "a.io", "team/y", "v:q by a.io/team");
        check(json, "a.io", "teams/y", "u:p by a.io");
        check(json, "b.io:5000", "x", "u:p by https://b.io:5000/v2/");
        check(json, "b.io", "x", "none");
        check(
            json,
            "docker.io",
            "library/x",
            "w:r by https://index.docker.io/v1/",
        );
        check(json, "c.io", "x", "u:p by c.io");
        check(json, "d.io", "x", "identity t by d.io");
        check(json, "e.io", "x", "registry t by e.io");
        check(json, "f.io", "x", "none");
        check(json, "x.a.io", "x", "none");
        check("", "a.io", "x", "none");
        check("{}", "a.io", "x", "none");
        check(
            r#"{"auths":{"a.io":{"auth":"dTpw"}}}"#,
            "a.io",
            "x",
            "u:p by a.io",
        );
        check(
            r#"{"auths":{"a.io":{"auth":"dTpwAAA="}}}"#,
            "a.io",
            "x",
            "u:p by a.io",
        );
    }

    #[test]
    fn mistakes_are_named_by_key_and_never_by_value() {
        check("{", "a.io", "x", "error: no valid JSON at line 1");
        check("[]", "a.io", "x", "error: is not a docker configuration");
        check(r#"{"auths":"c2VjcmV0"}"#, "a.io", "x", "error: wrong type");
        check(
            r#"{"auths":{"a.io":{},"a.io":{}}}"#,
            "a.io",
            "x",
            "error: `a.io` stands twice",
        );
        let auth = |text: &str| format!(r#"{{"auths":{{"a.io":{{"auth":"{text}"}}}}}}"#);
        check(
            &auth("c2VjcmV0"),
            "a.io",
            "x",
            "error: auths[\"a.io\"].auth: it has no colon",
        );
        check(&auth("!!c2VjcmV0"), "a.io", "x", "error: not base64");
        check(&auth("OnA="), "a.io", "x", "error: user is empty");
        check(&auth("dTpwAHE="), "a.io", "x", "error: control characters");
        check(&auth("dQo6cA=="), "a.io", "x", "error: control characters");
        check(
            &auth("dTp7CiAicCI6IDEKfQ=="),
            "a.io",
            "x",
            "u:{\n \"p\": 1\n} by a.io",
        );
        check(
            r#"{"auths":{"a.io":{"username":"u"}}}"#,
            "a.io",
            "x",
            "error: auths[\"a.io\"].password",
        );
        check(r#"{"credsStore":"../x"}"#, "a.io", "x", "error: credsStore");
        check(
            r#"{"credHelpers":{"a.io":"x;id"}}"#,
            "a.io",
            "x",
            "error: credHelpers[\"a.io\"]",
        );
    }
}
