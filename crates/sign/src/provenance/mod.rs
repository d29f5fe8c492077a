//! Provenance: how an image came to be, as a predicate of SLSA. It is told what a build did and
//! has never seen one.
//!
//! SLSA build provenance, version 1 (`https://slsa.dev/provenance/v1`). Where the specification
//! leaves the form to the build type, the keys are those of BuildKit's definition, so that what
//! reads one reads the other; what BuildKit calls `buildkit_…` is called `kiln_…`.

mod build;

pub use build::{
    BuildFacts, ConfigSource, Material, ProvenanceMode, RunTimes, SecretUse, StepFacts,
};

use serde_json::{Map, Value, json};

/// What the `predicateType` of a provenance says.
pub const PROVENANCE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// The build type: the page that says what the parameters mean.
pub const BUILD_TYPE: &str =
    "https://github.com/kiln-build/kiln/blob/main/docs/attestations.md#build-type";
/// The builder, where the user names no other.
pub const BUILDER: &str = "https://github.com/kiln-build/kiln";

/// Writes the predicate. Equal facts have equal bytes.
pub fn predicate(facts: &BuildFacts, mode: ProvenanceMode) -> Value {
    json!({
        "buildDefinition": definition(facts, mode),
        "runDetails": {
            "builder": {
                "id": facts.builder_id.as_deref().unwrap_or(BUILDER),
                "version": {"kiln": facts.kiln_version},
            },
            "metadata": metadata(facts, mode),
        },
    })
}

fn definition(facts: &BuildFacts, mode: ProvenanceMode) -> Value {
    let mut internal = Map::new();
    internal.insert("builderPlatform".to_owned(), json!(facts.builder_platform));
    if mode == ProvenanceMode::Max {
        let steps: Vec<Value> = facts.steps.iter().map(step).collect();
        internal.insert("buildConfig".to_owned(), json!({"steps": steps}));
    }
    let mut materials = facts.materials.clone();
    materials.sort();
    materials.dedup();
    let materials: Vec<Value> = materials.iter().map(material).collect();
    json!({
        "buildType": BUILD_TYPE,
        "externalParameters": {
            "configSource": config_source(&facts.config_source),
            "request": request(facts, mode),
        },
        "internalParameters": internal,
        "resolvedDependencies": materials,
    })
}

fn config_source(source: &ConfigSource) -> Value {
    let mut map = Map::new();
    if let Some(material) = &source.remote {
        map.insert("uri".to_owned(), json!(material.uri));
        map.insert("digest".to_owned(), json!(digest(material)));
    }
    map.insert("path".to_owned(), json!(source.path));
    Value::Object(map)
}

fn request(facts: &BuildFacts, mode: ProvenanceMode) -> Value {
    let mut arguments: Map<String, Value> = Map::new();
    for (name, value) in &facts.options {
        arguments.insert(name.clone(), json!(value));
    }
    let names = |names: &[String]| -> Vec<Value> {
        names.iter().map(|name| json!({"name": name})).collect()
    };
    let mut request = Map::new();
    request.insert("frontend".to_owned(), json!("dockerfile.v0"));
    request.insert("locals".to_owned(), json!(names(&facts.locals)));
    if mode == ProvenanceMode::Max {
        for (name, value) in &facts.build_arguments {
            arguments.insert(format!("build-arg:{name}"), json!(value));
        }
        for (name, value) in &facts.labels {
            arguments.insert(format!("label:{name}"), json!(value));
        }
        let uses = |uses: &[SecretUse]| -> Vec<Value> {
            let uses = uses.iter();
            let use_of = |one: &SecretUse| json!({"id": one.id, "optional": one.optional});
            uses.map(use_of).collect()
        };
        request.insert("secrets".to_owned(), json!(uses(&facts.secrets)));
        request.insert("ssh".to_owned(), json!(uses(&facts.ssh)));
    }
    request.insert("args".to_owned(), Value::Object(arguments));
    Value::Object(request)
}

fn metadata(facts: &BuildFacts, mode: ProvenanceMode) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    put("invocationId", json!(facts.invocation_id));
    if let Some(times) = &facts.times {
        put("startedOn", json!(times.started));
        put("finishedOn", json!(times.finished));
    }
    put(
        "kiln_completeness",
        json!({
            "request": mode == ProvenanceMode::Max,
            "resolvedDependencies": facts.materials_are_complete,
        }),
    );
    put("kiln_hermetic", json!(facts.hermetic));
    put("kiln_reproducible", json!(facts.reproducible));
    let mut more = Map::new();
    if !facts.vcs.is_empty() {
        more.insert("vcs".to_owned(), json!(facts.vcs));
    }
    if mode == ProvenanceMode::Max {
        let infos = json!([{
            "filename": facts.config_source.path,
            "language": "Dockerfile",
            "data": facts.dockerfile,
        }]);
        more.insert("source".to_owned(), json!({"infos": infos}));
        more.insert("layers".to_owned(), json!(facts.layers));
    }
    put("kiln_metadata", Value::Object(more));
    Value::Object(map)
}

fn step(step: &StepFacts) -> Value {
    let StepFacts {
        id,
        title,
        stage,
        inputs,
        operation,
        line,
    } = step;
    let mut map = Map::new();
    map.insert("id".to_owned(), json!(id));
    map.insert("title".to_owned(), json!(title));
    map.insert("stage".to_owned(), json!(stage));
    map.insert("inputs".to_owned(), json!(inputs));
    map.insert("op".to_owned(), operation.clone());
    if let Some(line) = line {
        map.insert("line".to_owned(), json!(line));
    }
    Value::Object(map)
}

fn material(material: &Material) -> Value {
    let mut map = Map::new();
    map.insert("uri".to_owned(), json!(material.uri));
    map.insert("digest".to_owned(), json!(digest(material)));
    Value::Object(map)
}

fn digest(material: &Material) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert(material.algorithm.clone(), json!(material.hex));
    map
}

#[cfg(test)]
mod tests;
