//! The reference of `kiln.yaml` in docs/kiln-yaml.md has every key, as the schema has it.
//!
//! `KILN_BLESS=1` writes that part of the page anew; the diff is then read by a person.

use std::path::Path;

use project::schema;
use serde_json::Value;

const BEGIN: &str = "<!-- made from the schema: KILN_BLESS=1 cargo test -p kiln-project -->\n";
const END: &str = "<!-- end of what is made from the schema -->\n";

#[test]
fn the_page_has_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kiln-yaml.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the beginning of the reference");
    let (found, after) = rest.split_once(END).expect("the end of the reference");
    let expected = reference(&schema());
    if std::env::var_os("KILN_BLESS").is_some() {
        let page = format!("{before}{BEGIN}{expected}{END}{after}");
        std::fs::write(&path, page).expect("written");
    } else {
        assert!(
            found == expected,
            "docs/kiln-yaml.md is not as the schema:\n{expected}"
        );
    }
}

fn reference(schema: &Value) -> String {
    let mut out = String::new();
    section(&mut out, schema, schema, "");
    out
}

/// A table of the keys of one form, and the forms below it.
fn section(out: &mut String, schema: &Value, form: &Value, path: &str) {
    let title = if path.is_empty() {
        "The file".to_owned()
    } else {
        format!("`{path}`")
    };
    out.push_str(&format!("\n### {title}\n\n"));
    if !path.is_empty() {
        out.push_str(&format!("{}\n\n", text(&form["description"])));
    }
    out.push_str("| key | value | meaning |\n|---|---|---|\n");
    let mut below = Vec::new();
    for (key, value) in form["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let kind = kind(schema, value, &path, &mut below);
        let required = form["required"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|name| name == key);
        let mut meaning = text(&value["description"]);
        match &value["default"] {
            Value::Null | Value::Object(_) => {}
            Value::Array(items) if items.is_empty() => {}
            default => {
                let default = default.to_string().replace('"', "");
                meaning.push_str(&format!(" [default: `{default}`]"));
            }
        }
        if required {
            meaning.push_str(" Required.");
        }
        out.push_str(&format!("| `{key}` | {kind} | {meaning} |\n"));
    }
    for (form, path) in below {
        section(out, schema, form, &path);
    }
}

fn kind<'s>(
    schema: &'s Value,
    value: &'s Value,
    path: &str,
    below: &mut Vec<(&'s Value, String)>,
) -> String {
    let value = match value["$ref"].as_str() {
        Some(reference) => schema
            .pointer(reference.trim_start_matches('#'))
            .expect("a form"),
        None => value,
    };
    if let Some(choices) = value["oneOf"].as_array() {
        let words = choices
            .iter()
            .map(|choice| format!("`{}`", text(&choice["const"])));
        return words.collect::<Vec<_>>().join(", ");
    }
    match text(&value["type"]).as_str() {
        "string" => "text".to_owned(),
        "boolean" => "`true`, `false`".to_owned(),
        "array" => format!("list: {}", kind(schema, &value["items"], path, below)),
        "object" if value["additionalProperties"].is_object() => {
            let inner = format!("{path}.NAME");
            let inner = kind(schema, &value["additionalProperties"], &inner, below);
            format!("by name: {inner}")
        }
        "object" => {
            let known = below.iter().any(|(_, known)| known == path);
            if !known {
                below.push((value, path.to_owned()));
            }
            format!("[`{path}`](#{})", anchor(path))
        }
        other => panic!("{path} is `{other}`, which the page has no word for"),
    }
}

/// As hosts of repositories make anchors of headings.
fn anchor(path: &str) -> String {
    path.replace('.', "").to_lowercase()
}

fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
