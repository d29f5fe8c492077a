//! Files beside `kiln.yaml` that are one user's own: `kiln.local.yaml`, and the file of lattice.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::layers::{Layer, Origin, Setting};
use crate::read::{Declared, ReadError, read_form};
use crate::schema::schema_of;

/// `kiln.local.yaml`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Local {
    registry: Option<String>,
    prefix: Option<String>,
    channel: Option<String>,
}

/// `.lattice/docker.json`. What else lattice keeps there is not for us.
#[derive(Deserialize, JsonSchema)]
struct Lattice {
    registry: Option<String>,
    repository_prefix: Option<String>,
    channel: Option<String>,
}

/// Reads `kiln.local.yaml`: the keys `registry`, `prefix` and `channel`.
///
/// # Errors
///
/// [`ReadError`].
pub fn read_local(name: &str, text: &str) -> Result<Layer, ReadError> {
    let declared: Declared<Local> = read_form(name, text, &schema_of::<Local>())?;
    let local = &declared.value;
    Ok(layer(
        &declared,
        [
            (Setting::Registry, "registry", &local.registry),
            (Setting::Prefix, "prefix", &local.prefix),
            (Setting::Channel, "channel", &local.channel),
        ],
    ))
}

/// Reads `.lattice/docker.json`: the keys `registry`, `repository_prefix` and `channel`.
///
/// # Errors
///
/// [`ReadError`].
pub fn read_lattice(name: &str, text: &str) -> Result<Layer, ReadError> {
    let declared: Declared<Lattice> = read_form(name, text, &schema_of::<Lattice>())?;
    let lattice = &declared.value;
    Ok(layer(
        &declared,
        [
            (Setting::Registry, "registry", &lattice.registry),
            (
                Setting::Prefix,
                "repository_prefix",
                &lattice.repository_prefix,
            ),
            (Setting::Channel, "channel", &lattice.channel),
        ],
    ))
}

fn layer<T>(declared: &Declared<T>, values: [(Setting, &str, &Option<String>); 3]) -> Layer {
    let mut layer = Layer::default();
    for (setting, key, value) in values {
        if let Some(value) = value {
            let place = declared.places.of(&[key]);
            let (line, column) = place.position(&declared.text);
            let origin = Origin::File {
                name: declared.name.clone(),
                line,
                column,
            };
            layer.set(setting, value, origin);
        }
    }
    layer
}
