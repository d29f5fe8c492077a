//! The file of `--metadata-file`: the keys that buildx writes, and kiln's own beside them.
//! Documented in docs/metadata.md; keys are added, never changed.

use engine::{BuildReport, OutputReport, Traffic};
use oci::Reference;
use serde_json::{Map, Value, json};

use super::Numbers;

/// The version of kiln's own keys.
const SCHEMA: u32 = 1;

/// The whole document, with a final newline.
pub(crate) fn document(report: &BuildReport, tags: &[Reference]) -> String {
    let text = serde_json::to_string_pretty(&keys(report, tags)).unwrap_or_default();
    text + "\n"
}

/// The document of one image.
pub(crate) fn keys(report: &BuildReport, tags: &[Reference]) -> Value {
    let mut keys = Map::new();
    let mut put = |key: &str, value: Value| {
        keys.insert(key.to_owned(), value);
    };
    put("containerimage.digest", json!(report.manifest.digest));
    // As in buildx: an index has no configuration.
    if let ([image], false) = (report.images.as_slice(), report.is_index()) {
        put("containerimage.config.digest", json!(image.config));
    }
    put("containerimage.descriptor", json!(report.manifest));
    if !tags.is_empty() {
        let names: Vec<String> = tags.iter().map(Reference::to_string).collect();
        put("image.name", json!(names.join(",")));
    }
    put("kiln.schema", json!(SCHEMA));
    for (key, value) in build_numbers(report) {
        put(&format!("kiln.{key}"), value);
    }
    // A map of plain values has no way to fail.
    Value::Object(keys)
}

/// The numbers of the summary, under the names that the metadata file and the JSON lines share.
pub(crate) fn build_numbers(report: &BuildReport) -> Map<String, Value> {
    let numbers = Numbers::of(report);
    let step = |step: &engine::StepReport| {
        json!({
            "step": step.step,
            "title": step.title,
            "outcome": step.outcome,
            "cache": step.cache,
            "seconds": step.duration.as_secs_f64(),
            "cause": step.cause,
        })
    };
    let steps: Vec<Value> = report.steps.iter().map(step).collect();
    let slowest: Vec<Value> = numbers.slowest.into_iter().map(step).collect();
    let image = |image: &engine::ImageReport| {
        json!({
            "platform": image.platform.to_string(),
            "digest": image.manifest.digest,
            "config": image.config,
        })
    };
    let images: Vec<Value> = report.images.iter().map(image).collect();
    let Value::Object(mut map) = json!({
        "build": report.id,
        "images": images,
        "image.bytes": report.image_bytes,
        "seconds": report.duration.as_secs_f64(),
        "steps.total": numbers.steps,
        "steps.cached": numbers.cached,
        "steps.shared": numbers.shared,
        "steps.ran": numbers.ran,
        "steps": steps,
        "steps.slowest": slowest,
        "compared": report.explanation.compared,
        "causes": report.explanation.causes,
    }) else {
        return Map::new();
    };
    map.extend(traffic_numbers(&report.traffic, &report.outputs));
    map
}

/// What was moved, and where to.
pub(crate) fn traffic_numbers(traffic: &Traffic, outputs: &[OutputReport]) -> Map<String, Value> {
    let outputs: Vec<Value> = outputs.iter().map(output).collect();
    match json!({
        "bytes.pulled": traffic.down_bytes,
        "bytes.pushed": traffic.up_bytes,
        "requests": traffic.requests,
        "blobs.sent": traffic.blobs_sent,
        "blobs.mounted": traffic.blobs_mounted,
        "blobs.present": traffic.blobs_present,
        "outputs": outputs,
    }) {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn output(output: &OutputReport) -> Value {
    match output {
        OutputReport::Published {
            reference,
            unchanged,
        } => json!({"kind": "published", "reference": reference, "unchanged": unchanged}),
        OutputReport::Stored { reference } => json!({"kind": "stored", "reference": reference}),
        OutputReport::Written { path } => {
            json!({"kind": "written", "path": path.as_ref().map(|path| path.to_string_lossy())})
        }
        OutputReport::Loaded { engine } => json!({"kind": "loaded", "engine": engine}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::report;

    #[test]
    fn the_keys_of_buildx_and_the_numbers_of_the_summary_are_there() {
        let tags = ["127.0.0.1:5000/x:1", "x"].map(|tag| tag.parse().expect("a reference"));
        let document: Value =
            serde_json::from_str(&document(&report(), &tags)).expect("a document");
        let check = |key: &str, expected: Value| assert_eq!(document[key], expected, "{key}");
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        check("containerimage.digest", json!(digest));
        check("containerimage.config.digest", json!(digest));
        check(
            "containerimage.descriptor",
            json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 7}),
        );
        check(
            "image.name",
            json!("127.0.0.1:5000/x:1,docker.io/library/x:latest"),
        );
        check("kiln.schema", json!(1));
        check("kiln.steps.cached", json!(1));
        check("kiln.steps.ran", json!(2));
        check("kiln.build", json!("0123456789ab"));
        assert_eq!(document["kiln.causes"][0]["reason"]["reason"], "files");
        check("kiln.bytes.pushed", json!(2_000_000));
        check(
            "kiln.steps.slowest",
            json!([
                {"step": 2, "title": "[2/3] RUN make", "outcome": "ran", "cache": null, "seconds": 90.0, "cause": 0},
                {"step": 3, "title": "[3/3] COPY . .", "outcome": "ran", "cache": null, "seconds": 0.5, "cause": 0},
            ]),
        );
    }
}
