//! Values as they are written, and charts that read them or do not.

use super::{Chart, ChartError, HelmError, HelmValues, Ignored};
use crate::PublishedImage;

fn image(tag: Option<&str>) -> PublishedImage {
    let reference: oci::Reference = "registry.example/team/gie/epp".parse().unwrap();
    PublishedImage {
        name: "epp".to_owned(),
        repository: reference.repository().clone(),
        tag: tag.map(|tag| tag.parse().unwrap()),
        digest: oci::Digest::of(b"image"),
    }
}

fn values(path: &str, shape: &str) -> Result<HelmValues, HelmError> {
    let mut values = HelmValues::default();
    values.put(path, &shape.parse()?, &image(Some("v1")))?;
    Ok(values)
}

#[test]
fn every_shape_has_its_keys() {
    let check = |shape: &str, expected: &str| {
        assert_eq!(values("a.image", shape).unwrap().to_yaml(), expected);
    };
    check(
        "hub-name-tag",
        "a:\n  image:\n    hub: registry.example/team/gie\n    name: epp\n    tag: v1\n",
    );
    check(
        "registry-repository-tag",
        "a:\n  image:\n    registry: registry.example\n    repository: team/gie/epp\n    tag: v1\n",
    );
    check(
        "repository-tag",
        "a:\n  image:\n    repository: registry.example/team/gie/epp\n    tag: v1\n",
    );
    let digest = oci::Digest::of(b"image");
    check(
        "repository-digest",
        &format!(
            "a:\n  image:\n    digest: {digest}\n    repository: registry.example/team/gie/epp\n"
        ),
    );
    check(
        "image={repository}:{tag}@{digest}",
        &format!("a:\n  image:\n    image: registry.example/team/gie/epp:v1@{digest}\n"),
    );
}

#[test]
fn what_is_no_path_or_shape_is_refused() {
    let check = |path: &str, shape: &str, expected: &str| {
        let error = values(path, shape).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("a..b", "repository-tag", "not a path of values");
    check("a[0]", "repository-tag", "not a path of values");
    check("a", "repository", "is not a shape");
    check("a", "image={tagg}", "`{tagg}` means nothing");
    let mut values = HelmValues::default();
    let shape = "repository-tag".parse().unwrap();
    let error = values.put("a", &shape, &image(None)).unwrap_err();
    assert!(error.to_string().contains("without a tag"), "{error}");
    values.put("a", &shape, &image(Some("v1"))).unwrap();
    values.put("a", &shape, &image(Some("v1"))).unwrap();
    let error = values.put("a", &shape, &image(Some("v2"))).unwrap_err();
    assert_eq!(error, HelmError::Conflict("a.tag".to_owned()));
}

#[test]
fn arguments_say_the_same_as_the_file() {
    let values = values("a\\.b.c", "x={tag}").unwrap();
    assert_eq!(values.to_arguments(), ["--set-string", "a\\.b.c.x=v1"]);
    assert_eq!(
        values.to_yaml(),
        "\"a.b\":\n  c:\n    x: v1\n".replace("\"a.b\"", "a.b")
    );
}

const VALUES: &str = "inferenceExtension:\n  replicas: 1\n  image:\n    hub: h\n    name: n\n    tag: t\nunused:\n  tag: x\n";
const TEMPLATE: &str = "image: {{ .Values.inferenceExtension.image.hub }}/{{ .Values.inferenceExtension.image.name }}:{{ .Values.inferenceExtension.image.tag }}\n{{- with .Values.extra }}{{ toYaml . }}{{ end }}";

#[test]
fn a_chart_that_does_not_read_a_value_says_what_it_reads() {
    let chart = Chart::read(
        "name: pool\ndependencies:\n  - name: sub\n",
        VALUES,
        [TEMPLATE.to_owned()],
    )
    .unwrap();
    let check = |path: &str, shape: &str, ignored: &[(&str, &[&str])]| {
        let found = match chart.check(&values(path, shape).unwrap()) {
            Ok(()) => Vec::new(),
            Err(ChartError::Ignored(ignored)) => ignored,
            Err(other) => panic!("{other}"),
        };
        let expected: Vec<Ignored> = ignored
            .iter()
            .map(|(path, near)| Ignored {
                path: (*path).to_owned(),
                near: near.iter().map(|near| (*near).to_owned()).collect(),
            })
            .collect();
        assert_eq!(found, expected, "{path} {shape}");
    };
    check("inferenceExtension.image", "hub-name-tag", &[]);
    check(
        "image",
        "tag={tag}",
        &[("image.tag", &["inferenceExtension.image.tag"])],
    );
    check(
        "inferenceExtension.image",
        "repository={repository},tag={tag}",
        &[(
            "inferenceExtension.image.repository",
            &[
                "inferenceExtension.image.hub",
                "inferenceExtension.image.name",
                "inferenceExtension.image.tag",
            ],
        )],
    );
    check(
        "inferenceExtensions",
        "replicas={tag}",
        &[(
            "inferenceExtensions.replicas",
            &["inferenceExtension.replicas"],
        )],
    );
    // In the values, but no template reads it.
    check(
        "unused",
        "tag={tag}",
        &[("unused.tag", &["inferenceExtension.image.tag"])],
    );
    // Only in a template, which takes all that is below it.
    check("extra", "tag={tag}", &[]);
    // Somebody else's.
    check("sub.image", "tag={tag}", &[]);
}

#[test]
fn a_chart_that_is_no_yaml_says_which_file() {
    let error = Chart::read("a: [", "", []).unwrap_err().to_string();
    assert!(error.starts_with("Chart.yaml is not YAML"), "{error}");
}
