//! An image as facts: each path of its root file system and each field of its configuration, as one
//! line of text. Written from the image specification and with nothing of the code under test.

use std::collections::BTreeMap;

use serde_json::Value;
use testkit::ValidImage;
use testkit::tar::Entry;

use crate::site::line;

/// The fields of the configuration that are compared. `ArgsEscaped` is Docker's own.
const FIELDS: &[&str] = &[
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];

/// What is at one path, and which file it is: hard links are several names of one.
struct Node {
    entry: Entry,
    file: usize,
}

/// A root file system and a configuration.
pub(super) struct Flat {
    nodes: BTreeMap<String, Node>,
    config: Value,
}

impl Flat {
    pub(super) fn of(image: &ValidImage) -> Self {
        let mut nodes = BTreeMap::new();
        let mut files = 0;
        for layer in &image.layers {
            // What a layer hides is below it, wherever in the layer that is said.
            for entry in &layer.entries {
                hide(&mut nodes, &path(entry));
            }
            for entry in &layer.entries {
                add(&mut nodes, entry, &mut files);
            }
        }
        Self {
            nodes,
            config: image.config["config"].clone(),
        }
    }

    /// By path, or by `config.` and the name of a field.
    pub(super) fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::new();
        let mut names: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (path, node) in &self.nodes {
            names.entry(node.file).or_default().push(path);
        }
        for (path, node) in &self.nodes {
            let entry = Entry {
                path: Vec::new(),
                mtime: 0,
                // Some writers put the file type into the upper bits.
                mode: node.entry.mode & 0o7777,
                ..node.entry.clone()
            };
            let mut fact = line(&entry).trim().to_owned();
            if entry.kind == b'0' && entry.content.len() > 2000 {
                fact.push_str(&format!(" {}", oci::Digest::of(&entry.content)));
            }
            if names[&node.file].len() > 1 {
                fact.push_str(&format!(" = {}", names[&node.file].join(" = ")));
            }
            facts.insert(format!("/{path}"), fact);
        }
        for field in FIELDS {
            match &self.config[*field] {
                Value::Null => {}
                Value::Object(map) if *field != "Healthcheck" => {
                    for (name, value) in map {
                        facts.insert(format!("config.{field}.{name}"), value.to_string());
                    }
                }
                // Absent, null and empty are one to whoever runs the image.
                Value::Array(list) if list.is_empty() => {}
                Value::String(text) if text.is_empty() => {}
                value => {
                    facts.insert(format!("config.{field}"), value.to_string());
                }
            }
        }
        facts
    }
}

fn path(entry: &Entry) -> String {
    let name = entry.name();
    name.trim_start_matches("./").trim_matches('/').to_owned()
}

/// Carries out a whiteout (image specification, "Whiteouts").
fn hide(nodes: &mut BTreeMap<String, Node>, path: &str) {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let below = |directory: &str| match directory {
        "" => String::new(),
        directory => format!("{directory}/"),
    };
    if name == ".wh..wh..opq" {
        let inside = below(parent);
        nodes.retain(|path, _| !path.starts_with(&inside));
    } else if let Some(hidden) = name.strip_prefix(".wh.") {
        let hidden = format!("{}{hidden}", below(parent));
        remove(nodes, &hidden);
    }
}

fn remove(nodes: &mut BTreeMap<String, Node>, path: &str) {
    let inside = format!("{path}/");
    nodes.retain(|found, _| found != path && !found.starts_with(&inside));
}

fn add(nodes: &mut BTreeMap<String, Node>, entry: &Entry, files: &mut usize) {
    let path = path(entry);
    let name = path.rsplit('/').next().unwrap_or_default();
    if path.is_empty() || name.starts_with(".wh.") {
        return;
    }
    let mut next = || {
        *files += 1;
        *files
    };
    // Directories that no layer names are root's.
    for (at, _) in path.match_indices('/') {
        nodes.entry(path[..at].to_owned()).or_insert_with(|| Node {
            entry: Entry {
                kind: b'5',
                mode: 0o755,
                ..Entry::default()
            },
            file: next(),
        });
    }
    if entry.kind != b'5'
        || nodes
            .get(&path)
            .is_some_and(|below| below.entry.kind != b'5')
    {
        remove(nodes, &path);
    }
    let node = match entry.kind {
        b'1' => {
            let target = String::from_utf8_lossy(&entry.link).into_owned();
            let target = target.trim_start_matches("./").trim_matches('/');
            let linked = nodes
                .get(target)
                .unwrap_or_else(|| panic!("no {target} for {path}"));
            Node {
                entry: linked.entry.clone(),
                file: linked.file,
            }
        }
        _ => Node {
            entry: entry.clone(),
            file: next(),
        },
    };
    nodes.insert(path, node);
}
