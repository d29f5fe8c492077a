//! `kiln emit`: the last report in the forms of others, and a chart that ignores what it is given.

use super::{Environment, check_in};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A report as publications write it.
fn report(names: &[(&str, &str)]) -> String {
    let images: Vec<_> = names
        .iter()
        .map(|(name, repository)| {
            serde_json::json!({
                "name": name,
                "repository": repository,
                "digest": DIGEST,
                "platforms": [{"architecture": "amd64", "os": "linux"}],
                "tags": [
                    {"reference": format!("{repository}:main"), "floating": true, "change": "created"},
                    {"reference": format!("{repository}:5d41402"), "floating": false, "change": "created"},
                ],
                "sealed_by": [],
            })
        })
        .collect();
    serde_json::json!({
        "schema": 1,
        "publication": DIGEST,
        "finished": "2026-01-02T03:04:05Z",
        "images": images,
    })
    .to_string()
}

fn environment() -> Environment {
    let environment = Environment::new();
    let two = [
        ("epp", "registry.example/p1/gie/epp"),
        ("bbr", "registry.example/p1/gie/bbr"),
    ];
    environment.write("report.json", &report(&two));
    environment
}

#[test]
fn every_form_names_images_by_what_never_moves() {
    let environment = environment();
    let check = |arguments: &[&str], stdout: &str| {
        let arguments = [&["emit"], arguments, &["--report", "report.json"]].concat();
        let stdout = stdout.replace("SHA", DIGEST);
        check_in(
            &environment,
            &arguments,
            &format!("exit 0\nstdout:\n{stdout}"),
        );
    };
    check(
        &["env", "--image", "epp"],
        "EPP_IMAGE='registry.example/p1/gie/epp:5d41402@SHA'\n\
         EPP_REPOSITORY='registry.example/p1/gie/epp'\n\
         EPP_TAG='5d41402'\n\
         EPP_DIGEST='SHA'\n",
    );
    check(
        &["kustomize", "--image", "bbr"],
        "apiVersion: kustomize.config.k8s.io/v1alpha1\n\
         kind: Component\n\
         images:\n  \
           - name: bbr\n    \
             newName: registry.example/p1/gie/bbr\n    \
             digest: SHA\n",
    );
    check(
        &["promoter"],
        "- name: bbr\n  dmap:\n    \"SHA\": [\"5d41402\"]\n\
         - name: epp\n  dmap:\n    \"SHA\": [\"5d41402\"]\n",
    );
    check(
        &["skaffold", "--image", "epp"],
        "{\n  \"builds\": [\n    {\n      \"imageName\": \"epp\",\n      \
         \"tag\": \"registry.example/p1/gie/epp:5d41402@SHA\"\n    }\n  ]\n}\n",
    );
    check(
        &["helm", "--map", "epp=inferenceExtension.image:hub-name-tag"],
        "inferenceExtension:\n  image:\n    hub: registry.example/p1/gie\n    name: epp\n    tag: \"5d41402\"\n",
    );
    check(
        &[
            "helm",
            "--map",
            "epp=a",
            "--map",
            "bbr=b:image={repository}@{digest}",
            "--set",
        ],
        "--set-string\na.repository=registry.example/p1/gie/epp\n\
         --set-string\na.tag=5d41402\n\
         --set-string\nb.image=registry.example/p1/gie/bbr@SHA\n",
    );
}

#[test]
fn the_project_says_where_images_belong() {
    let environment = environment();
    environment.write(
        "kiln.yaml",
        "images:\n  epp:\n    helm: {path: server.image, shape: registry-repository-tag}\n  bbr: {}\n",
    );
    check_in(
        &environment,
        &["emit", "helm", "--report", "report.json"],
        "exit 0\nstdout:\nserver:\n  image:\n    registry: registry.example\n    \
         repository: p1/gie/epp\n    tag: \"5d41402\"\n",
    );
}

#[test]
fn a_chart_that_ignores_values_is_told_with_what_it_reads() {
    let environment = environment();
    environment.write("chart/Chart.yaml", "name: pool\n");
    environment.write(
        "chart/values.yaml",
        "inferenceExtension:\n  image:\n    repository: x\n    tag: y\n",
    );
    environment.write(
        "chart/templates/a.yaml",
        "image: {{ .Values.inferenceExtension.image.repository }}:{{ .Values.inferenceExtension.image.tag }}\n",
    );
    let arguments = |map| {
        [
            "emit",
            "helm",
            "--report",
            "report.json",
            "--chart",
            "chart",
            "--map",
            map,
        ]
    };
    check_in(
        &environment,
        &arguments("epp=image"),
        "exit 2\n\
         stderr:\n\
         error: the chart ignores `image.repository`, `image.tag` (chart)\n\
         hint: instead of `image.repository` the chart reads `inferenceExtension.image.repository`\n\
         hint: instead of `image.tag` the chart reads `inferenceExtension.image.tag`\n",
    );
    check_in(
        &environment,
        &arguments("epp=inferenceExtension.image"),
        "exit 0\nstdout:\ninferenceExtension:\n  image:\n    \
         repository: registry.example/p1/gie/epp\n    tag: \"5d41402\"\n",
    );
    // What is no text is no template, and is no reason to fail.
    let logo = environment.work().join("chart/templates/logo.png");
    std::fs::write(&logo, [0x89, b'P', 0xff]).expect("a file");
    let said = environment.run(&arguments("epp=inferenceExtension.image"));
    assert!(said.starts_with("exit 0\n"), "{said}");
    // A helm that renders what the values do not reach.
    let helm = |rendered: &str| {
        environment.write(
            "bin/helm",
            &format!("#!/bin/sh\ncat >/dev/null\n{rendered}\n"),
        );
        let path = environment.work().join("bin");
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path.join("helm"), mode).expect("our own file");
        let mut kiln = environment.kiln(&arguments("epp=inferenceExtension.image"));
        kiln.env("PATH", format!("{}:/usr/bin:/bin", path.display()));
        environment.describe(&kiln.output().expect("kiln starts"))
    };
    let said = helm("echo image: registry.example/p1/gie/epp:5d41402");
    assert!(said.starts_with("exit 0\n"), "{said}");
    let said = helm("echo image: other");
    assert!(
        said.contains("exit 2\n") && said.contains("neither tag nor digest of epp"),
        "{said}"
    );
    let said = helm("echo broken >&2; exit 1");
    assert!(
        said.contains("helm could not render the chart: broken"),
        "{said}"
    );
}

#[test]
fn what_is_not_clear_is_asked_for() {
    let environment = environment();
    let check = |arguments: &[&str], expected: &str| {
        check_in(&environment, &[&["emit"], arguments].concat(), expected);
    };
    check(
        &["env"],
        "exit 2\nstderr:\nerror: nothing was published from this store yet\n\
         hint: publish with `kiln build --push`, `kiln push` or `kiln channel push`, or name a report \
         with --report\n",
    );
    check(
        &["env", "--report", "report.json", "--image", "epq"],
        "exit 2\nstderr:\nerror: no image `epq` was published\nhint: did you mean `epp`?\n",
    );
    check(
        &["helm", "--report", "report.json"],
        "exit 2\nstderr:\nerror: nothing says where the images belong in the values of the chart\n\
         hint: say it with --map IMAGE=PATH, or with `helm` of the images in kiln.yaml\n",
    );
    environment.write("kiln.yaml", "{}");
    environment.write("odd.json", "{\"schema\": 99}");
    check(
        &["env", "--report", "odd.json"],
        "exit 2\nstderr:\nerror: odd.json is not a report that this kiln can read\n\
         hint: `--report FILE` of kiln build, push or channel push writes one\n",
    );
    let twice = [("epp", "a.example/epp"), ("epp", "b.example/x/epp")];
    environment.write("twice.json", &report(&twice));
    check(
        &["env", "--report", "twice.json"],
        "exit 2\nstderr:\nerror: `epp` was sent to a.example/epp and to b.example/x/epp\n\
         hint: say which is meant with --repository\n",
    );
    let output = environment.run(&[
        "emit",
        "env",
        "--report",
        "twice.json",
        "--repository",
        "b.example/x",
    ]);
    assert!(
        output.contains("EPP_REPOSITORY='b.example/x/epp'"),
        "{output}"
    );
}
