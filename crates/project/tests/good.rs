//! What a declaration means.

use project::{DirtyPolicy, HelmShape, Project, SignatureEnvelope, TagPolicy, read, schema};

const EVERYTHING: &str = include_str!("good/everything.yaml");

#[test]
fn everything_is_understood() {
    let declared = read("kiln.yaml", EVERYTHING).expect("a declaration");
    let project = &declared.value;
    assert_eq!(
        project.tags.policy,
        [TagPolicy::GitSha, TagPolicy::GitDescribe]
    );
    assert_eq!(project.tags.dirty, DirtyPolicy::Suffix);
    let epp = &project.images["epp"];
    // Scalars mean what is written: neither 1.1 nor false.
    assert_eq!(epp.args["GO_VERSION"], "1.10");
    assert_eq!(epp.args["DEBUG"], "no");
    let shape = epp.helm.as_ref().map(|helm| helm.shape);
    assert_eq!(shape, Some(HelmShape::RegistryRepositoryTag));
    // What is merged in stands below what is said.
    let bbr = &project.images["bbr"];
    assert_eq!(bbr.path.as_deref(), Some("bbr"));
    assert_eq!(bbr.platforms, epp.platforms);
    assert_eq!(
        project.signers["release"].envelope,
        Some(SignatureEnvelope::Cose)
    );
    let place = declared.places.of(&["images", "epp", "args", "GO_VERSION"]);
    assert_eq!(&EVERYTHING[place.start..place.end], "1.10");
    let place = declared.places.of(&["images", "epp", "platforms", "1"]);
    assert_eq!(&EVERYTHING[place.start..place.end], "linux/arm64");
    let place = declared.places.of(&["images", "epp", "args", "ABSENT"]);
    assert_eq!(&EVERYTHING[place.start..place.end], "args");
}

#[test]
fn the_sample_has_every_key() {
    let schema = schema();
    let forms =
        std::iter::once(&schema).chain(schema["$defs"].as_object().expect("types").values());
    for form in forms {
        for key in form["properties"]
            .as_object()
            .into_iter()
            .flat_map(|keys| keys.keys())
        {
            assert!(
                EVERYTHING.contains(&format!("{key}:")),
                "{key} is not in the sample"
            );
        }
    }
}

#[test]
fn nothing_declares_nothing() {
    for text in ["", "# nothing yet\n", "---\n", "{}", "\u{feff}"] {
        let declared = read("kiln.yaml", text).expect("a declaration");
        assert_eq!(declared.value, Project::default(), "{text:?}");
    }
}

#[test]
fn json_is_yaml() {
    let declared = read(
        "kiln.yaml",
        r#"{"registry": "a.example", "tags": {"allow-latest": true}}"#,
    );
    assert!(declared.expect("a declaration").value.tags.allow_latest);
}

/// The reader understands these words of JSON Schema; a type that needs another needs a reader that
/// knows it.
#[test]
fn the_schema_says_nothing_that_is_not_checked() {
    const KNOWN: [&str; 17] = [
        "$schema",
        "$defs",
        "$ref",
        "title",
        "description",
        "type",
        "properties",
        "items",
        "additionalProperties",
        "required",
        "default",
        "oneOf",
        "enum",
        "const",
        "format",
        "minimum",
        "propertyNames",
    ];
    fn walk(value: &serde_json::Value, is_schema: bool, unknown: &mut Vec<String>) {
        let Some(map) = value.as_object() else {
            for item in value.as_array().into_iter().flatten() {
                walk(item, is_schema, unknown);
            }
            return;
        };
        for (key, value) in map {
            if is_schema && !KNOWN.contains(&key.as_str()) {
                unknown.push(key.clone());
            }
            match key.as_str() {
                "default" | "const" | "enum" | "required" if is_schema => {}
                _ => walk(
                    value,
                    !is_schema || !matches!(key.as_str(), "properties" | "$defs"),
                    unknown,
                ),
            }
        }
    }
    let mut unknown = Vec::new();
    walk(&schema(), true, &mut unknown);
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_key_is_described() {
    let schema = schema();
    let mut bare = Vec::new();
    let forms =
        std::iter::once(&schema).chain(schema["$defs"].as_object().expect("types").values());
    for form in forms {
        for (key, value) in form["properties"].as_object().into_iter().flatten() {
            if value["description"].as_str().is_none_or(str::is_empty) {
                bare.push(key.clone());
            }
        }
    }
    assert!(bare.is_empty(), "{bare:?}");
}
