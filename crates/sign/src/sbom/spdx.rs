//! SPDX 2.3, JSON (`https://spdx.github.io/spdx-spec/v2.3/`).

use serde_json::{Map, Value, json};

use super::{Contents, SbomSubject, identity, name};
use crate::packages::Package;

/// What is said where nobody knows.
const UNKNOWN: &str = "NOASSERTION";
const IMAGE: &str = "SPDXRef-Image";
const SYSTEM: &str = "SPDXRef-OperatingSystem";

pub(super) fn document(subject: &SbomSubject, contents: &Contents) -> Value {
    let tool = format!("Tool: kiln-{}", subject.kiln_version);
    let mut packages = vec![image(subject)];
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    if let Some(system) = &contents.distribution {
        packages.push(json!({
            "SPDXID": SYSTEM,
            "name": system.id,
            "versionInfo": system.version,
            "downloadLocation": UNKNOWN,
            "filesAnalyzed": false,
            "licenseConcluded": UNKNOWN,
            "licenseDeclared": UNKNOWN,
            "copyrightText": UNKNOWN,
            "primaryPackagePurpose": "OPERATING-SYSTEM",
        }));
        relations.push(relation(IMAGE, "CONTAINS", SYSTEM));
    }
    for (number, (found, places)) in contents.packages().enumerate() {
        let id = format!("SPDXRef-Package-{}", number + 1);
        packages.push(package(&id, found, places));
        relations.push(relation(IMAGE, "CONTAINS", &id));
    }
    let mut document = Map::new();
    let mut put = |key: &str, value: Value| document.insert(key.to_owned(), value);
    put("spdxVersion", json!("SPDX-2.3"));
    put("dataLicense", json!("CC0-1.0"));
    put("SPDXID", json!("SPDXRef-DOCUMENT"));
    put("name", json!(name(subject)));
    put(
        "creationInfo",
        json!({"created": subject.created, "creators": [tool]}),
    );
    put("packages", json!(packages));
    put("relationships", json!(relations));
    let notes: Vec<Value> = contents
        .notes()
        .map(|note| {
            json!({
                "annotationDate": subject.created,
                "annotationType": "OTHER",
                "annotator": tool,
                "comment": note,
            })
        })
        .collect();
    if !notes.is_empty() {
        put("annotations", json!(notes));
    }
    // It has to be different for every document: it is made from all that is in it.
    let identity = identity::of(&json!(document));
    let namespace = format!(
        "https://github.com/kiln-build/kiln/spdx/{}",
        identity::uuid(&identity)
    );
    document.insert("documentNamespace".to_owned(), json!(namespace));
    Value::Object(document)
}

fn image(subject: &SbomSubject) -> Value {
    json!({
        "SPDXID": IMAGE,
        "name": name(subject),
        "versionInfo": subject.digest.as_str(),
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "CONTAINER",
        "comment": format!("platform {}", subject.platform),
        "checksums": [{
            "algorithm": subject.digest.algorithm().name().to_uppercase(),
            "checksumValue": subject.digest.hex(),
        }],
    })
}

fn package<'p>(id: &str, package: &Package, places: impl IntoIterator<Item = &'p String>) -> Value {
    let Package {
        kind: _,
        name,
        version,
        purl,
        license,
        supplier,
        source,
    } = package;
    let places: Vec<&str> = places.into_iter().map(String::as_str).collect();
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put("SPDXID", json!(id));
    put("name", json!(name));
    if !version.is_empty() {
        put("versionInfo", json!(version));
    }
    put("downloadLocation", json!(UNKNOWN));
    put("filesAnalyzed", json!(false));
    put("licenseConcluded", json!(UNKNOWN));
    // What packages say of their licence is no expression of SPDX that one could rely on.
    put("licenseDeclared", json!(UNKNOWN));
    if let Some(license) = license {
        put(
            "licenseComments",
            json!(format!("the package says: {license}")),
        );
    }
    put("copyrightText", json!(UNKNOWN));
    if let Some(supplier) = supplier {
        put("supplier", json!(format!("Organization: {supplier}")));
    }
    let mut origin = format!("listed in {}", places.join(", "));
    if let Some(source) = source {
        origin = format!("built from {source}; {origin}");
    }
    put("sourceInfo", json!(origin));
    put(
        "externalRefs",
        json!([{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": purl,
        }]),
    );
    Value::Object(map)
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({
        "spdxElementId": from,
        "relationshipType": kind,
        "relatedSpdxElement": to,
    })
}
