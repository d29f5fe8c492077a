//! YAML as a tree whose every node knows its place. The only file that knows serde-saphyr.
//!
//! Nothing is decided here about keys and types: a scalar keeps the text that it is written with, so
//! `1.10` can be a version, and keys that occur twice are both there.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use crate::{Diagnostic, Span};

/// The longest text, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// How deep lists and maps may lie in each other; the form of `kiln.yaml` needs five.
const DEPTH_MAX: usize = 32;

/// The most values that a text may have, with those that aliases repeat (F12: a bomb of anchors).
const NODES_MAX: usize = 50_000;

/// The most aliases, and the most anchors.
const ALIASES_MAX: usize = 1_000;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Nothing,
    /// One word, in quotes or not.
    Scalar { text: String, word: Word },
    /// `- a` or `[a]`.
    List(Vec<Node>),
    /// `a: b` or `{a: b}`, in the order of the text.
    Map(Vec<(Key, Node)>),
}

/// What a scalar looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Boolean(bool),
    Number,
    Text,
}

/// A key and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) span: Span,
    pub(crate) name: String,
}

/// Reads a text. A text without a document is a map without keys.
pub(crate) fn parse(text: &str) -> Result<Node, Diagnostic> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Diagnostic::error(
            Span::new(0, 0),
            format!("the file has more than {TEXT_BYTES_MAX} bytes"),
            "",
        ));
    }
    if let Some(place) = text.find('\0') {
        return Err(Diagnostic::error(
            Span::new(place, place + 1),
            "this is not a text: a byte is zero",
            "here",
        ));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_documents: 1,
            max_total_scalar_bytes: 2 * TEXT_BYTES_MAX,
            max_merge_keys: ALIASES_MAX,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: NODES_MAX,
            max_replay_stack_depth: DEPTH_MAX,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        // Whether `.nan` can be meant is decided where the type is known.
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| not_understood(text, &error))?;
    let mut root = node(text, raw);
    if root.value == Value::Nothing {
        root.value = Value::Map(Vec::new());
    }
    Ok(root)
}

/// What serde-saphyr hands over.
#[derive(Debug)]
enum Raw {
    Nothing,
    Boolean(bool),
    Number,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Boolean(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Raw::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

fn node(text: &str, raw: Spanned<Raw>) -> Node {
    // What an alias repeats is understood where it is written.
    let span = span(text, &raw.defined);
    let written = || {
        let written = text.get(span.start..span.end).unwrap_or_default();
        written.trim().to_owned()
    };
    let value = match raw.value {
        Raw::Nothing => Value::Nothing,
        Raw::Boolean(value) => Value::Scalar {
            text: written(),
            word: Word::Boolean(value),
        },
        Raw::Number => Value::Scalar {
            text: written(),
            word: Word::Number,
        },
        Raw::Text(text) => Value::Scalar {
            text,
            word: Word::Text,
        },
        Raw::List(nodes) => Value::List(nodes.into_iter().map(|raw| node(text, raw)).collect()),
        Raw::Map(entries) => {
            let entry = |(key, value): (Spanned<String>, Spanned<Raw>)| {
                let key = Key {
                    span: self::span(text, &key.defined),
                    name: key.value,
                };
                (key, node(text, value))
            };
            Value::Map(entries.into_iter().map(entry).collect())
        }
    };
    Node { span, value }
}

/// The bytes of a location, without the blanks and newlines behind them.
fn span(text: &str, location: &Location) -> Span {
    let found = location.span();
    let (start, length) = match (found.byte_offset(), found.byte_len()) {
        (Some(start), Some(length)) => (start, length),
        _ => (0, 0),
    };
    let floor = |offset: u64| {
        let mut offset = usize::try_from(offset).map_or(text.len(), |o| o.min(text.len()));
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    };
    let (start, end) = (floor(start), floor(start.saturating_add(length)));
    let inside = text[start..end].trim_end();
    Span::new(start, start + inside.len())
}

/// A text that is no YAML, or more of it than anybody writes.
fn not_understood(text: &str, error: &serde_saphyr::Error) -> Diagnostic {
    use serde_saphyr::Error;
    use serde_saphyr::budget::BudgetBreach;

    let error = error.without_snippet();
    let place = error.location().map(|location| place(text, &location));
    let place = place.unwrap_or_default();
    // What is wrong with what an alias repeats.
    let mut inner = error;
    while let Error::AliasError { error, .. } = inner {
        inner = error.without_snippet();
    }
    match inner {
        Error::Budget {
            breach: BudgetBreach::Documents { .. },
            ..
        } => Diagnostic::error(place, "the file has more than one document", "the second")
            .with_help("one file declares one project: remove the `---`"),
        Error::Budget {
            breach: BudgetBreach::Depth { .. },
            ..
        } => too_deep(place),
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => Diagnostic::error(
            place,
            format!("the file has more than {NODES_MAX} values, with those that aliases repeat"),
            "too many by here",
        ),
        Error::UnknownAnchor { .. } => {
            Diagnostic::error(place, "this alias repeats what has no anchor", "not known")
                .with_help("an anchor `&name` stands before the alias `*name`")
        }
        _ => {
            let said = inner.to_string();
            let said = said.split(" at line ").next().unwrap_or_default();
            match said {
                "recursion limit exceeded" => too_deep(place),
                "expected string scalar" => Diagnostic::error(place, "a key must be a word", ""),
                said => Diagnostic::error(place, format!("this is not YAML: {said}"), ""),
            }
        }
    }
}

fn too_deep(place: Span) -> Diagnostic {
    let message = format!("lists and maps lie in each other deeper than {DEPTH_MAX} levels");
    Diagnostic::error(place, message, "too deep")
}

/// The place of an error: some know only line and column.
fn place(text: &str, location: &Location) -> Span {
    if location.span().byte_offset().is_some() {
        return span(text, location);
    }
    let at_most = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1) - 1;
    let (line, column) = (at_most(location.line()), at_most(location.column()));
    let mut lines = text.split_inclusive('\n');
    let before: usize = lines.by_ref().take(line).map(str::len).sum();
    let line = lines.next().unwrap_or_default().trim_end();
    let inside = line.char_indices().nth(column);
    let (offset, length) = inside.map_or((line.len(), 0), |(offset, c)| (offset, c.len_utf8()));
    Span::new(before + offset, before + offset + length)
}
