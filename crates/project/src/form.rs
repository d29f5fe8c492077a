//! A tree against the schema: everything that does not fit, each with its place, and the values that
//! do as JSON, which the types are made from.
//!
//! Knows no key of `kiln.yaml`; the schema does.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::nearest::nearest;
use crate::yaml::{Key, Node, Value, Word};
use crate::{Diagnostic, Places, Span};

/// The most findings that are kept.
const FINDINGS_MAX: usize = 100;

/// The most characters of a value that a message repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// What came of a tree.
pub(crate) struct Checked {
    pub(crate) json: Json,
    pub(crate) places: Places,
    pub(crate) findings: Vec<Diagnostic>,
}

/// Checks a tree.
pub(crate) fn check(root: &Node, schema: &Json) -> Checked {
    let mut form = Form {
        schema,
        path: Vec::new(),
        places: BTreeMap::new(),
        findings: Vec::new(),
    };
    let json = form.value(root, root.span, schema);
    Checked {
        json: json.unwrap_or_default(),
        places: Places::new(form.places),
        findings: form.findings,
    }
}

struct Form<'s> {
    schema: &'s Json,
    path: Vec<String>,
    places: BTreeMap<Vec<String>, Span>,
    findings: Vec<Diagnostic>,
}

impl<'s> Form<'s> {
    /// One value. `around` is what to point at where a value has no place of its own: its key.
    fn value(&mut self, node: &Node, around: Span, schema: &'s Json) -> Option<Json> {
        let place = match &node.value {
            Value::Scalar { .. } if node.span.end > node.span.start => node.span,
            _ => around,
        };
        self.places.insert(self.path.clone(), place);
        let schema = self.resolve(schema);
        if let Some(words) = words(schema) {
            return self.word(node, place, &words);
        }
        let wanted = schema["type"].as_str().unwrap_or_default();
        match (wanted, &node.value) {
            ("object", Value::Map(entries)) => Some(self.map(entries, place, schema)),
            ("array", Value::List(nodes)) => {
                let mut items = Vec::new();
                for (index, item) in nodes.iter().enumerate() {
                    self.path.push(index.to_string());
                    items.extend(self.value(item, around, &schema["items"]));
                    self.path.pop();
                }
                Some(Json::Array(items))
            }
            // Any scalar is a text as it is written: a version such as 1.10 needs no quotes.
            ("string", Value::Scalar { text, .. }) => Some(Json::String(text.clone())),
            (
                "boolean",
                Value::Scalar {
                    word: Word::Boolean(value),
                    ..
                },
            ) => Some(Json::Bool(*value)),
            ("integer", Value::Scalar { text, .. }) if text.parse::<u64>().is_ok() => {
                Some(text.parse::<u64>().unwrap_or_default().into())
            }
            (wanted, found) => {
                let finding = self.wrong(place, wanted, found);
                self.report(finding);
                None
            }
        }
    }

    fn map(&mut self, entries: &[(Key, Node)], place: Span, schema: &'s Json) -> Json {
        let keys = schema["properties"].as_object();
        let known = || keys.into_iter().flat_map(Map::keys).map(String::as_str);
        let others = &schema["additionalProperties"];
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        let mut json = Map::new();
        for (key, node) in entries {
            if seen.insert(&key.name, key.span).is_some() {
                let message = format!("{} is there twice", self.shown(&key.name));
                self.report(
                    Diagnostic::error(key.span, message, "the second time")
                        .with_help("remove one of them"),
                );
                continue;
            }
            let schema = match keys.and_then(|keys| keys.get(&key.name)) {
                Some(schema) => schema,
                None if others.is_object() => others,
                // The file of another program: what it says besides is not for us.
                None if others.is_null() => continue,
                None => {
                    let finding = self.unknown_key(key, known());
                    self.report(finding);
                    continue;
                }
            };
            self.path.push(key.name.clone());
            let value = self.value(node, key.span, schema);
            self.path.pop();
            if let Some(value) = value {
                json.insert(key.name.clone(), value);
            }
        }
        let required = schema["required"].as_array().into_iter().flatten();
        for missing in required.filter_map(Json::as_str) {
            if !seen.contains_key(missing) {
                let at = match self.path.last() {
                    Some(_) => format!("`{}` needs the key `{missing}`", self.shown_path()),
                    None => format!("the key `{missing}` is missing"),
                };
                self.report(Diagnostic::error(place, at, "not complete"));
            }
        }
        Json::Object(json)
    }

    /// One of several words.
    fn word(&mut self, node: &Node, place: Span, words: &[&str]) -> Option<Json> {
        let Value::Scalar { text, .. } = &node.value else {
            let finding = self.wrong(place, "string", &node.value);
            self.report(finding.with_help(format!("one of {}", listed(words))));
            return None;
        };
        if words.contains(&text.as_str()) {
            return Some(Json::String(text.clone()));
        }
        let message = format!("{} cannot be `{}`", self.shown_here(), cut(text));
        let finding = Diagnostic::error(place, message, "not known");
        let help = match nearest(text, words.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of {}", listed(words)),
        };
        self.report(finding.with_help(help));
        None
    }

    fn unknown_key<'k>(&self, key: &Key, known: impl Iterator<Item = &'k str>) -> Diagnostic {
        let known: Vec<&str> = known.collect();
        let message = match self.path.is_empty() {
            true => format!("unknown key `{}`", cut(&key.name)),
            false => format!(
                "unknown key `{}` in `{}`",
                cut(&key.name),
                self.shown_path()
            ),
        };
        let finding = Diagnostic::error(key.span, message, "not known");
        finding.with_help(match nearest(&key.name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys here are {}", listed(&known)),
        })
    }

    fn wrong(&self, place: Span, wanted: &str, found: &Value) -> Diagnostic {
        let here = self.shown_here();
        if *found == Value::Nothing {
            let finding = Diagnostic::error(place, format!("{here} has no value"), "nothing");
            return finding.with_help(match wanted {
                "string" => "remove the key, or write \"\" for an empty text",
                "array" => "remove the key, or write [] for an empty list",
                "object" => "remove the key, or write {} where nothing is said",
                _ => "remove the key, or write a value",
            });
        }
        let wanted_name = match wanted {
            "object" => "a map of keys and values",
            "array" => "a list",
            "boolean" => "`true` or `false`",
            "integer" => "a whole number",
            _ => "a text",
        };
        let found_name = match found {
            Value::Nothing => "nothing",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Scalar { word, .. } => match word {
                Word::Boolean(_) => "a boolean",
                Word::Number => "a number",
                Word::Text => "a text",
            },
        };
        let message = format!("{here} must be {wanted_name}");
        let finding = Diagnostic::error(place, message, format!("this is {found_name}"));
        match (wanted, found) {
            ("array", Value::Scalar { text, .. }) => {
                finding.with_help(format!("write `[{}]`", cut(text)))
            }
            ("string", Value::List(_)) => finding.with_help("only one is possible here"),
            _ => finding,
        }
    }

    fn report(&mut self, finding: Diagnostic) {
        // What aliases repeat is wrong once.
        let is_same = |known: &Diagnostic| {
            (known.span, &known.label, &known.help) == (finding.span, &finding.label, &finding.help)
        };
        if self.findings.len() < FINDINGS_MAX && !self.findings.iter().any(is_same) {
            self.findings.push(finding);
        }
    }

    fn resolve(&self, schema: &'s Json) -> &'s Json {
        match schema["$ref"].as_str() {
            Some(reference) => self
                .schema
                .pointer(reference.trim_start_matches('#'))
                .unwrap_or(schema),
            None => schema,
        }
    }

    fn shown(&self, key: &str) -> String {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        format!("`{}`", cut(&shown_path(&path)))
    }

    fn shown_path(&self) -> String {
        cut(&shown_path(&self.path))
    }

    fn shown_here(&self) -> String {
        match self.path.is_empty() {
            true => "the file".to_owned(),
            false => format!("`{}`", self.shown_path()),
        }
    }
}

/// The words of an enumeration.
fn words(schema: &Json) -> Option<Vec<&str>> {
    if let Some(choices) = schema["oneOf"].as_array() {
        let mut words = Vec::new();
        for choice in choices {
            match choice["const"].as_str() {
                Some(word) => words.push(word),
                None => words.extend(choice["enum"].as_array()?.iter().filter_map(Json::as_str)),
            }
        }
        return Some(words);
    }
    let words = schema["enum"].as_array()?;
    Some(words.iter().filter_map(Json::as_str).collect())
}

/// How a value is named by the keys that lead to it: keys with points between them; numbers of lists in brackets; keys with points of their own in
/// quotes.
pub fn shown_path(path: &[String]) -> String {
    let mut shown = String::new();
    for (depth, key) in path.iter().enumerate() {
        if depth > 0 && !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit()) {
            shown.push_str(&format!("[{key}]"));
            continue;
        }
        if depth > 0 {
            shown.push('.');
        }
        match key.contains('.') || key.is_empty() {
            true => shown.push_str(&format!("\"{key}\"")),
            false => shown.push_str(key),
        }
    }
    shown
}

fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "none".to_owned(),
    }
}

/// A value as a message repeats it.
pub(crate) fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
