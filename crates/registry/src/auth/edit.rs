//! What is written into docker's `config.json`: one account or one helper, and nothing else of the
//! file changes. Keys keep their order and unknown ones their values; the file is replaced as a
//! whole, behind a symbolic link too.

use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Path, PathBuf};

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::store::never_matches;

/// The largest file that is changed, in bytes.
const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The most symbolic links that are followed to the file.
const LINKS_MAX: usize = 20;
/// Of a new file and a new directory: they hold passwords.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Why the file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It cannot be read or written.
    #[error("could not {action} {path}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no JSON, or not of the form that docker writes.
    #[error("{path} is left as it is: {reason}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong, never a value.
        reason: String,
    },
}

/// What naming a helper for some registries would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperPlan {
    /// The part of the file as it would be, as JSON.
    pub json: String,
    /// Registries that have another helper now, with it.
    pub replaced: Vec<(String, String)>,
    /// What the user should know: keys of the file that can never match, and the like.
    pub notes: Vec<String>,
    /// Whether the file would change at all.
    pub changes: bool,
}

/// A `config.json` that is being changed.
#[derive(Debug)]
pub(super) struct Edit {
    path: PathBuf,
    root: Vec<(String, Json)>,
}

/// JSON with its keys in their order, and numbers as they are written.
#[derive(Clone, Debug, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Edit {
    /// Reads the file; one that is missing or empty has nothing in it.
    pub(super) fn open(path: &Path) -> Result<Self, EditError> {
        let target = target(path)?;
        let fail = |source| EditError::Io {
            action: "read",
            path: target.clone(),
            source,
        };
        let mut bytes = Vec::new();
        match std::fs::File::open(&target) {
            Ok(file) => {
                file.take(CONFIG_BYTES_MAX + 1)
                    .read_to_end(&mut bytes)
                    .map_err(fail)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(error)),
        }
        let form = |reason: String| EditError::Form {
            path: target.clone(),
            reason,
        };
        if bytes.len() as u64 > CONFIG_BYTES_MAX {
            return Err(form(format!("it is larger than {CONFIG_BYTES_MAX} bytes")));
        }
        if bytes.trim_ascii().is_empty() {
            return Ok(Self {
                path: target,
                root: Vec::new(),
            });
        }
        // The parser's words may be those of the file.
        match serde_json::from_slice(&bytes) {
            Ok(Json::Object(root)) => Ok(Self { path: target, root }),
            Ok(_) => Err(form("it is not a JSON object".to_owned())),
            Err(error) => Err(form(format!(
                "it is no valid JSON, or a key stands twice (line {} column {})",
                error.line(),
                error.column()
            ))),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The text below two keys, such as `credHelpers` and a host.
    pub(super) fn text(&self, section: &str, key: &str) -> Option<&str> {
        match get(&self.root, section)? {
            Json::Object(entries) => get(entries, key)?.text(),
            _ => None,
        }
    }

    /// The text of a key at the top.
    pub(super) fn top(&self, key: &str) -> Option<&str> {
        get(&self.root, key)?.text()
    }

    /// The keys of a section.
    pub(super) fn keys(&self, section: &str) -> Vec<String> {
        match get(&self.root, section) {
            Some(Json::Object(entries)) => entries.iter().map(|(key, _)| key.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// Replaces what a registry has in `auths`; no fields are the empty entry that docker leaves
    /// beside a helper.
    pub(super) fn set_account(
        &mut self,
        key: &str,
        fields: &[(&str, &str)],
    ) -> Result<(), EditError> {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Json::Text((*value).to_owned())));
        let entry = Json::Object(fields.collect());
        set(self.section("auths")?, key, entry);
        Ok(())
    }

    /// Removes an entry of a section; whether there was one.
    pub(super) fn remove(&mut self, section: &str, key: &str) -> bool {
        match self.root.iter_mut().find(|(name, _)| name == section) {
            Some((_, Json::Object(entries))) => {
                let before = entries.len();
                entries.retain(|(name, _)| name != key);
                entries.len() < before
            }
            _ => false,
        }
    }

    /// Names a helper for registries.
    pub(super) fn set_helpers(
        &mut self,
        hosts: &[&str],
        helper: &str,
    ) -> Result<HelperPlan, EditError> {
        let before = self.root.clone();
        let mut replaced = Vec::new();
        let entries = self.section("credHelpers")?;
        for host in hosts {
            let known = get(entries, host).and_then(Json::text);
            if let Some(known) = known.filter(|known| *known != helper && !known.is_empty()) {
                replaced.push(((*host).to_owned(), known.to_owned()));
            }
            set(entries, host, Json::Text(helper.to_owned()));
        }
        let mut json = String::new();
        let shown = vec![("credHelpers".to_owned(), Json::Object(entries.clone()))];
        Json::Object(shown).write(&mut json, 0);
        let notes = entries
            .iter()
            .filter(|(key, _)| never_matches(key))
            .map(|(key, _)| {
                format!("credHelpers[\"{key}\"] is never used: the key must be HOST[:PORT]")
            })
            .collect();
        Ok(HelperPlan {
            json,
            replaced,
            notes,
            changes: before != self.root,
        })
    }

    /// Replaces the file: a new one beside it, and a rename.
    pub(super) fn save(&self) -> Result<(), EditError> {
        let fail = |action: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| EditError::Io {
                action,
                path,
                source,
            }
        };
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)
            .map_err(fail("make the directory", directory))?;
        let before = std::fs::metadata(&self.path).ok();
        let mode = before
            .as_ref()
            .map_or(FILE_MODE, |found| found.permissions().mode() & 0o7777);
        let mut text = String::new();
        Json::Object(self.root.clone()).write(&mut text, 0);
        text.push('\n');
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let fresh = directory.join(format!(".{name}.{}.new", std::process::id()));
        let written = (|| {
            // What a killed process left under this name is ours to remove; nobody's link is followed.
            match std::fs::remove_file(&fresh) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(FILE_MODE)
                .open(&fresh)?;
            file.write_all(text.as_bytes())?;
            if let Some(before) = &before {
                // Root who changes a user's file must not make it his own; others cannot anyway.
                let _ = fchown(&file, Some(before.uid()), Some(before.gid()));
            }
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
            file.sync_all()?;
            std::fs::rename(&fresh, &self.path)
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
        written.map_err(fail("write", &self.path))
    }

    fn section(&mut self, name: &str) -> Result<&mut Vec<(String, Json)>, EditError> {
        let path = self.path.clone();
        let at = match self.root.iter().position(|(key, _)| key == name) {
            Some(at) => at,
            None => {
                self.root.push((name.to_owned(), Json::Object(Vec::new())));
                self.root.len() - 1
            }
        };
        if self.root[at].1 == Json::Null {
            self.root[at].1 = Json::Object(Vec::new());
        }
        match &mut self.root[at].1 {
            Json::Object(entries) => Ok(entries),
            _ => Err(EditError::Form {
                path,
                reason: format!("`{name}` is not an object"),
            }),
        }
    }
}

/// The file behind symbolic links, which stay.
fn target(path: &Path) -> Result<PathBuf, EditError> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match std::fs::read_link(&path) {
            Ok(next) => path = path.parent().unwrap_or(Path::new("/")).join(next),
            Err(_) => return Ok(path),
        }
    }
    Err(EditError::Form {
        path,
        reason: "it is behind too many symbolic links".to_owned(),
    })
}

fn get<'a>(entries: &'a [(String, Json)], key: &str) -> Option<&'a Json> {
    let found = entries.iter().find(|(name, _)| name == key);
    found.map(|(_, value)| value)
}

fn set(entries: &mut Vec<(String, Json)>, key: &str, value: Json) {
    match entries.iter_mut().find(|(name, _)| name == key) {
        Some((_, known)) => *known = value,
        None => entries.push((key.to_owned(), value)),
    }
}

impl Json {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As docker writes it: a tab for each level.
    fn write(&self, out: &mut String, depth: usize) {
        let line = |out: &mut String, depth: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n('\t', depth));
        };
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) => {
                let _ = write!(out, "{number}");
            }
            Self::Text(text) => out.push_str(&quoted(text)),
            Self::List(items) if items.is_empty() => out.push_str("[]"),
            Self::Object(entries) if entries.is_empty() => out.push_str("{}"),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    line(out, depth + 1);
                    item.write(out, depth + 1);
                }
                line(out, depth);
                out.push(']');
            }
            Self::Object(entries) => {
                out.push('{');
                for (at, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    line(out, depth + 1);
                    out.push_str(&quoted(key));
                    out.push_str(": ");
                    value.write(out, depth + 1);
                }
                line(out, depth);
                out.push('}');
            }
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
                serde_json::Number::from_f64(value)
                    .map(Json::Number)
                    .ok_or_else(|| E::custom("no number"))
            }

            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Json::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                use serde::de::Error as _;
                let mut entries: Vec<(String, Json)> = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some((key, value)) = map.next_entry::<String, Json>()? {
                    // Which of the two is meant cannot be known, and one of them would be lost.
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                    entries.push((key, value));
                }
                Ok(Json::Object(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
