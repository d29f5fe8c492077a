//! `--filter`: which things of the cache are meant.

use std::collections::BTreeSet;

use dockerfile::suggest::nearest;
use store::inventory::{Among, Part};

use crate::command::amount;
use crate::error::ProgramError;

/// The keys.
const KEYS: [&str; 3] = ["until", "type", "id"];

/// The kinds by name: ours, and those of `docker buildx du` behind them.
const KINDS: [(&str, &[Part]); 13] = [
    ("records", &[Part::Record]),
    ("blobs", &[Part::Blob]),
    ("unpacked", &[Part::Unpacked]),
    ("indexes", &[Part::Index]),
    ("seeks", &[Part::SeekTable]),
    ("spans", &[Part::Span]),
    ("mounts", &[Part::CacheMount]),
    ("contexts", &[Part::StatCache]),
    (
        "regular",
        &[Part::Record, Part::Blob, Part::Unpacked, Part::Span],
    ),
    ("exec.cachemount", &[Part::CacheMount]),
    ("source.local", &[Part::StatCache]),
    ("internal", &[Part::Index, Part::SeekTable]),
    ("frontend", &[Part::Index, Part::SeekTable]),
];

/// How a kind is called.
pub(super) fn kind(part: Part) -> &'static str {
    match part {
        Part::Record => "records",
        Part::Blob => "blobs",
        Part::Unpacked => "unpacked",
        Part::Index => "indexes",
        Part::SeekTable => "seeks",
        Part::Span => "spans",
        Part::CacheMount => "mounts",
        Part::StatCache => "contexts",
    }
}

/// All filters together: a thing is meant if every one of them means it, and one of several kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filters {
    pub(super) among: Among,
}

impl Filters {
    /// Reads the values of the flags.
    pub(super) fn read(texts: &[String]) -> Result<Self, ProgramError> {
        let mut among = Among::default();
        let mut without = BTreeSet::new();
        for text in texts {
            let wrong = |reason: String| ProgramError::input(format!("--filter {text}: {reason}"));
            let Some((key, value)) = text.split_once('=') else {
                return Err(wrong("expected KEY=VALUE, such as until=24h".into()));
            };
            // Both are what buildx takes.
            let value = value.strip_prefix('=').unwrap_or(value);
            match key {
                "until" => {
                    let time = amount::time(value).map_err(wrong)?;
                    among.unused_for = among.unused_for.max(Some(time));
                }
                "id" => among.name = Some(value.to_owned()),
                "type" => {
                    let parts = parts(value).map_err(|error| error(text))?;
                    among.parts.get_or_insert_default().extend(parts);
                }
                "type!" => without.extend(parts(value).map_err(|error| error(text))?),
                unknown => {
                    let error = wrong(format!("there are {}", KEYS.join(", ")));
                    return Err(match nearest(unknown, KEYS) {
                        Some(near) => error.hint(format!("did you mean `{near}`?")),
                        None => error,
                    });
                }
            }
        }
        if !without.is_empty() {
            let parts = among.parts.unwrap_or_else(|| Part::ALL.into());
            among.parts = Some(parts.difference(&without).copied().collect());
        }
        Ok(Self { among })
    }
}

/// The kinds of a name; else what is wrong with it, for whoever knows where it stands.
fn parts(value: &str) -> Result<&'static [Part], impl Fn(&str) -> ProgramError> {
    let known = KINDS.iter().find(|(name, _)| *name == value);
    match known {
        Some((_, parts)) => Ok(*parts),
        None => {
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            let near = nearest(value, names.iter().copied()).map(str::to_owned);
            Err(move |text: &str| {
                let error =
                    ProgramError::input(format!("--filter {text}: kinds are {}", names.join(", ")));
                match &near {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error,
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(texts: &[&str], expected: &str) {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let found = match Filters::read(&texts) {
            Ok(filters) => {
                let Among {
                    parts,
                    unused_for,
                    name,
                } = filters.among;
                let parts = parts.map(|parts| {
                    let names: Vec<_> = parts.into_iter().map(kind).collect();
                    names.join("+")
                });
                format!("{parts:?} {unused_for:?} {name:?}")
            }
            Err(error) => [vec![error.headline], error.hints].concat().join("; "),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn filters_are_those_of_buildx() {
        check(&[], "None None None");
        check(&["until=24h"], "None Some(86400s) None");
        check(&["until=24h", "until=7d"], "None Some(604800s) None");
        check(
            &["type=exec.cachemount", "type==blobs"],
            r#"Some("blobs+mounts") None None"#,
        );
        check(
            &["type!=mounts", "id=0a"],
            r#"Some("blobs+indexes+seeks+spans+unpacked+records+contexts") None Some("0a")"#,
        );
        check(
            &["type=regular", "type!=blobs"],
            r#"Some("spans+unpacked+records") None None"#,
        );
        check(
            &["until"],
            "--filter until: expected KEY=VALUE, such as until=24h",
        );
        check(
            &["until=soon"],
            "--filter until=soon: expected a number and s, m, h or d, such as 12h",
        );
        check(
            &["untill=1h"],
            "--filter untill=1h: there are until, type, id; did you mean `until`?",
        );
        check(
            &["type=mount"],
            "--filter type=mount: kinds are records, blobs, unpacked, indexes, seeks, spans, mounts, \
             contexts, regular, exec.cachemount, source.local, internal, frontend; did you mean `mounts`?",
        );
    }
}
