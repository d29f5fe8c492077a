//! Whether a chart reads the values that it is given. Helm itself says nothing about a value that no
//! template reads: the release then runs the chart's default image.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{HelmValues, join};

/// The most near misses that are named.
const NEAR_MAX: usize = 3;

/// The texts of a chart.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    values: Value,
    /// All templates, helpers included, as one text.
    templates: String,
    /// Names (or aliases) of charts inside of this one: values below them are theirs.
    dependencies: BTreeSet<String>,
}

/// Why a chart cannot be given values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChartError {
    /// A file is not YAML.
    #[error("{file} is not YAML that can be read: {reason}")]
    Yaml {
        /// Which.
        file: String,
        /// What the reader says.
        reason: String,
    },
    /// It would ignore values.
    #[error("the chart ignores {}", names(.0))]
    Ignored(Vec<Ignored>),
}

/// A value that a chart does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Its path.
    pub path: String,
    /// Paths that the chart reads and that may have been meant.
    pub near: Vec<String>,
}

fn names(ignored: &[Ignored]) -> String {
    let names: Vec<String> = (ignored.iter())
        .map(|ignored| format!("`{}`", ignored.path))
        .collect();
    names.join(", ")
}

impl Chart {
    /// From the texts of `Chart.yaml`, `values.yaml` and all files below `templates`.
    ///
    /// # Errors
    ///
    /// [`ChartError::Yaml`].
    pub fn read(
        chart: &str,
        values: &str,
        templates: impl IntoIterator<Item = String>,
    ) -> Result<Self, ChartError> {
        let about = yaml("Chart.yaml", chart)?;
        let dependencies = about["dependencies"].as_array();
        let dependencies = dependencies.into_iter().flatten().filter_map(|entry| {
            let name = entry.get("alias").or_else(|| entry.get("name"))?;
            name.as_str().map(str::to_owned)
        });
        Ok(Self {
            values: yaml("values.yaml", values)?,
            templates: templates.into_iter().collect::<Vec<_>>().join("\n"),
            dependencies: dependencies.collect(),
        })
    }

    /// Whether every value has a place in the chart's own values or in a template, and some template
    /// reads it or what is above it.
    ///
    /// # Errors
    ///
    /// [`ChartError::Ignored`] with those that have not.
    pub fn check(&self, values: &HelmValues) -> Result<(), ChartError> {
        let known = self.known();
        let ignored: Vec<Ignored> = values
            .leaves()
            .iter()
            .filter(|leaf| !self.reads(&leaf.path))
            .map(|leaf| Ignored {
                path: join(&leaf.path),
                near: near(&leaf.path, &known),
            })
            .collect();
        match ignored.is_empty() {
            true => Ok(()),
            false => Err(ChartError::Ignored(ignored)),
        }
    }

    fn reads(&self, path: &[String]) -> bool {
        if path.len() > 1 && (self.dependencies.contains(&path[0]) || path[0] == "global") {
            return true;
        }
        let written = |length: usize| self.mentions(&path[..length]);
        let is_read = self.templates.is_empty() || (1..=path.len()).any(written);
        is_read && (self.has(path) || written(path.len()) || self.takes_whatever(path))
    }

    /// Whether the chart's own values have it.
    fn has(&self, path: &[String]) -> bool {
        let mut at = Some(&self.values);
        for key in path {
            at = at.and_then(|value| value.get(key));
        }
        at.is_some()
    }

    /// Whether a template takes something above it as it is, of which the chart's own values do not
    /// say which keys it has.
    fn takes_whatever(&self, path: &[String]) -> bool {
        (1..path.len()).any(|length| {
            let mut own = &self.values;
            for key in &path[..length] {
                own = own.get(key).unwrap_or(&Value::Null);
            }
            let is_open = match own {
                Value::Null => true,
                Value::Object(map) => map.is_empty(),
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
            };
            is_open && self.mentions(&path[..length])
        })
    }

    /// Whether a template says `.Values.a.b`, and no longer word.
    fn mentions(&self, path: &[String]) -> bool {
        let wanted = format!(".Values.{}", path.join("."));
        self.templates.match_indices(&wanted).any(|(at, _)| {
            let next = self.templates[at + wanted.len()..].chars().next();
            next.is_none_or(|c| !(c.is_alphanumeric() || "_-".contains(c)))
        })
    }

    /// All paths of the chart's own values.
    fn known(&self) -> Vec<Vec<String>> {
        fn walk(value: &Value, path: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
            match value {
                Value::Object(map) => {
                    for (key, value) in map {
                        path.push(key.clone());
                        walk(value, path, out);
                        path.pop();
                    }
                }
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => out.push(path.clone()),
            }
        }
        let mut out = Vec::new();
        walk(&self.values, &mut Vec::new(), &mut out);
        out
    }
}

/// What may have been meant: keys beside it, else paths that end as `path` does (the longer the
/// better), else one that is spelled nearly so.
fn near(path: &[String], known: &[Vec<String>]) -> Vec<String> {
    let first = |paths: Vec<&Vec<String>>| -> Vec<String> {
        let paths = paths.into_iter().take(NEAR_MAX);
        paths.map(|path| join(path)).collect()
    };
    let beside: Vec<_> = known
        .iter()
        .filter(|other| other.len() == path.len() && path.len() > 1)
        .filter(|other| other[..path.len() - 1] == path[..path.len() - 1] && *other != path)
        .collect();
    if !beside.is_empty() {
        return first(beside);
    }
    let common = |other: &[String]| {
        let pairs = path.iter().rev().zip(other.iter().rev());
        pairs.take_while(|(a, b)| a == b).count()
    };
    let others = || known.iter().filter(|other| *other != path);
    let longest = others().map(|other| common(other)).max().unwrap_or(0);
    if longest > 0 {
        return first(others().filter(|other| common(other) == longest).collect());
    }
    let all: Vec<String> = others().map(|other| join(other)).collect();
    let nearest = dockerfile::suggest::nearest(&join(path), all.iter().map(String::as_str));
    nearest.map(str::to_owned).into_iter().collect()
}

fn yaml(file: &str, text: &str) -> Result<Value, ChartError> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(text).map_err(|error| ChartError::Yaml {
        file: file.to_owned(),
        reason: error.to_string(),
    })
}
