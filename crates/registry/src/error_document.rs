//! What a registry says when it refuses (distribution specification, "Error Codes"), as far as it can
//! be shown to people.

use oci::Digest;

use crate::error::RegistryMessage;

/// The most entries of an error document that are kept.
const MESSAGES_MAX: usize = 10;

/// The entries of an error document, or its first line when it is no JSON.
pub(crate) fn messages(body: &[u8]) -> Vec<RegistryMessage> {
    const MESSAGE_CHARS_MAX: usize = 300;
    const CODE_CHARS_MAX: usize = 60;
    let clean = |text: &str, chars_max: usize| -> String {
        text.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(chars_max)
            .collect()
    };
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(body) else {
        // A web page says nothing to a terminal.
        let text = String::from_utf8_lossy(body);
        let line = text.trim().lines().next().unwrap_or("");
        if line.is_empty() || line.starts_with('<') {
            return Vec::new();
        }
        return vec![RegistryMessage {
            code: String::new(),
            message: clean(line, MESSAGE_CHARS_MAX),
            digest: None,
        }];
    };
    let text =
        |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let entries = match document["errors"].as_array() {
        Some(entries) => entries.as_slice(),
        // Token services answer {"details": …} or {"error_description": …}.
        None => {
            let said = ["details", "error_description", "message", "error"]
                .iter()
                .find_map(|key| document[*key].as_str());
            return said
                .map(|said| RegistryMessage {
                    code: String::new(),
                    message: clean(said, MESSAGE_CHARS_MAX),
                    digest: None,
                })
                .into_iter()
                .collect();
        }
    };
    entries
        .iter()
        .take(MESSAGES_MAX)
        .map(|entry| {
            let message = text(entry, "message");
            RegistryMessage {
                code: clean(&text(entry, "code"), CODE_CHARS_MAX),
                digest: digest_in(&entry["detail"]).or_else(|| digest_in_text(&message)),
                message: clean(&message, MESSAGE_CHARS_MAX),
            }
        })
        .collect()
}

/// The digest in an entry's detail, whose form is left to the registry.
fn digest_in(detail: &serde_json::Value) -> Option<Digest> {
    match detail {
        serde_json::Value::String(text) => digest_in_text(text),
        serde_json::Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case("digest"))
            .find_map(|(_, value)| digest_in(value)),
        serde_json::Value::Array(entries) => entries.iter().find_map(digest_in),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => None,
    }
}

fn digest_in_text(text: &str) -> Option<Digest> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'))
        .find_map(|word| word.parse().ok())
}
