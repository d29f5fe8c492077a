//! CycloneDX 1.6, JSON (`https://cyclonedx.org/docs/1.6/json/`).

use serde_json::{Map, Value, json};

use super::{Contents, SbomSubject, identity, name};
use crate::packages::{Package, PackageKind};

/// The name of the image in the document.
const IMAGE: &str = "image";
/// The name of its system in the document.
const SYSTEM: &str = "operating-system";

pub(super) fn document(subject: &SbomSubject, contents: &Contents) -> Value {
    let mut components = Vec::new();
    if let Some(system) = &contents.distribution {
        components.push(json!({
            "type": "operating-system",
            "bom-ref": SYSTEM,
            "name": system.id,
            "version": system.version,
        }));
    }
    for (number, (package, places)) in contents.packages().enumerate() {
        components.push(component(number + 1, package, places));
    }
    let references: Vec<&Value> = components.iter().map(|one| &one["bom-ref"]).collect();
    let dependencies = json!([{"ref": IMAGE, "dependsOn": references}]);
    let notes: Vec<Value> = contents
        .notes()
        .map(|note| json!({"name": "kiln:note", "value": note}))
        .collect();
    let mut metadata = Map::new();
    let mut put = |key: &str, value: Value| metadata.insert(key.to_owned(), value);
    put("timestamp", json!(subject.created));
    put(
        "tools",
        json!({"components": [{
            "type": "application",
            "name": "kiln",
            "version": subject.kiln_version,
        }]}),
    );
    put(
        "component",
        json!({
            "type": "container",
            "bom-ref": IMAGE,
            "name": name(subject),
            "version": subject.digest.as_str(),
            "properties": [{
                "name": "kiln:platform",
                "value": subject.platform.to_string(),
            }],
        }),
    );
    if !notes.is_empty() {
        put("properties", json!(notes));
    }
    let mut document = Map::new();
    let mut put = |key: &str, value: Value| document.insert(key.to_owned(), value);
    put(
        "$schema",
        json!("http://cyclonedx.org/schema/bom-1.6.schema.json"),
    );
    put("bomFormat", json!("CycloneDX"));
    put("specVersion", json!("1.6"));
    put("version", json!(1));
    put("metadata", Value::Object(metadata));
    put("components", json!(components));
    put("dependencies", dependencies);
    let identity = identity::of(&json!(document));
    let serial = format!("urn:uuid:{}", identity::uuid(&identity));
    document.insert("serialNumber".to_owned(), json!(serial));
    Value::Object(document)
}

fn component<'p>(
    number: usize,
    package: &Package,
    places: impl IntoIterator<Item = &'p String>,
) -> Value {
    let Package {
        kind,
        name,
        version,
        purl,
        license,
        supplier,
        source,
    } = package;
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put(
        "type",
        json!(match kind {
            PackageKind::GoProgram => "application",
            PackageKind::Deb
            | PackageKind::Apk
            | PackageKind::Rpm
            | PackageKind::Cargo
            | PackageKind::Npm
            | PackageKind::Python
            | PackageKind::Go
            | PackageKind::Gem
            | PackageKind::Composer
            | PackageKind::Maven => "library",
        }),
    );
    put("bom-ref", json!(format!("package-{number}")));
    put("name", json!(name));
    put("version", json!(version));
    put("purl", json!(purl));
    if let Some(license) = license {
        put("licenses", json!([{"license": {"name": license}}]));
    }
    if let Some(supplier) = supplier {
        put("supplier", json!({"name": supplier}));
    }
    let mut properties: Vec<Value> = places
        .into_iter()
        .map(|place| json!({"name": "kiln:listed-in", "value": place}))
        .collect();
    if let Some(source) = source {
        properties.push(json!({"name": "kiln:source", "value": source}));
    }
    put("properties", json!(properties));
    Value::Object(map)
}
