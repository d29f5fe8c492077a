//! What counts where several places say something: flag, environment, the user's own file,
//! `kiln.yaml`, and what is built in, in this order (spec §2.7, "Precedence").

use std::collections::BTreeMap;
use std::fmt;

use policy::ChannelName;

use crate::form::shown_path;
use crate::rules::destinations::{prefix_fault, registry_fault};
use crate::{Declared, Project};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag, such as `--registry`.
    Flag(String),
    /// A variable of the environment, or several that make one value.
    Environment(String),
    /// A place in a file.
    File {
        /// How messages call it.
        name: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// Nobody says it.
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Environment(name) => formatter.write_str(name),
            Self::File { name, line, column } => write!(formatter, "{name}:{line}:{column}"),
            Self::BuiltIn => formatter.write_str("built-in"),
        }
    }
}

/// What can be said outside of `kiln.yaml` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// The registry.
    Registry,
    /// The path below it.
    Prefix,
    /// The channel that is meant when none is named.
    Channel,
}

impl Setting {
    /// The key, as in `kiln.local.yaml`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Prefix => "prefix",
            Self::Channel => "channel",
        }
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced {
    /// The value.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// What one place says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer(BTreeMap<Setting, Sourced>);

impl Layer {
    /// Adds a value.
    pub fn set(&mut self, setting: Setting, value: &str, origin: Origin) {
        let value = value.to_owned();
        self.0.insert(setting, Sourced { value, origin });
    }
}

/// A declaration with everything that others say put into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layered {
    /// What counts.
    pub project: Project,
    /// The channel that is meant when none is named; without it [`crate::ChannelLayout::default`]
    /// decides.
    pub channel: Option<Sourced>,
    /// Where values come from that `kiln.yaml` or another place says, by their path:
    /// `images.epp.context`. What is not here is built in.
    pub origins: BTreeMap<String, Origin>,
}

impl Layered {
    /// Where a value comes from, by its path, such as `tags.policy`.
    pub fn origin(&self, path: &str) -> &Origin {
        self.origins.get(path).unwrap_or(&Origin::BuiltIn)
    }
}

/// A value from outside of `kiln.yaml` that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: the {} `{value}` cannot be: {reason}", .setting.key())]
pub struct LayerError {
    /// What it is for.
    pub setting: Setting,
    /// The value.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
    /// What is wrong with it.
    pub reason: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Puts layers, the strongest first, above a declaration.
///
/// # Errors
///
/// [`LayerError`] for the first value that cannot be, wherever it stands: what is hidden by a
/// stronger one today is not tomorrow.
pub fn layered(declared: &Declared<Project>, layers: &[Layer]) -> Result<Layered, LayerError> {
    let mut project = declared.value.clone();
    let mut origins: BTreeMap<String, Origin> = declared
        .places
        .iter()
        .map(|(path, place)| {
            let (line, column) = place.position(&declared.text);
            let name = declared.name.clone();
            (path, Origin::File { name, line, column })
        })
        .collect();
    let mut channel = None;
    for layer in layers.iter().rev() {
        for (setting, sourced) in &layer.0 {
            check(*setting, sourced)?;
            let value = Some(sourced.value.clone());
            match setting {
                Setting::Registry => project.registry = value,
                Setting::Prefix => project.prefix = value.filter(|prefix| !prefix.is_empty()),
                Setting::Channel => channel = Some(sourced.clone()),
            }
            let path = shown_path(&[setting.key().to_owned()]);
            origins.insert(path, sourced.origin.clone());
        }
    }
    Ok(Layered {
        project,
        channel,
        origins,
    })
}

fn check(setting: Setting, sourced: &Sourced) -> Result<(), LayerError> {
    let value = sourced.value.as_str();
    let fault = match setting {
        Setting::Registry => registry_fault(value),
        // Nothing is a prefix: the one of the file does not count then.
        Setting::Prefix if value.is_empty() => None,
        Setting::Prefix => prefix_fault(value),
        Setting::Channel => match value.parse::<ChannelName>() {
            Ok(_) => None,
            Err(error) => Some((error.reason.to_owned(), None)),
        },
    };
    match fault {
        None => Ok(()),
        Some((reason, help)) => Err(LayerError {
            setting,
            value: crate::form::cut(value),
            origin: sourced.origin.clone(),
            reason,
            help,
        }),
    }
}
