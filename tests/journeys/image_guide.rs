//! docs/journey-image-guide.md: a checkout comes into Artifact Registry, and from there into a
//! release.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testkit::{ACCESS_TOKEN, Auth, Google, Layer, Options, Registry, image};

use super::page::Page;
use super::person::Person;
use super::{connect, log_in, writes};
use crate::registry_program::RealRegistry;

const BUSYBOX: &str = "/bin/busybox";
const REPOSITORY: &str = "us-central1-docker.pkg.dev/p1/gie/epp";
const RESOURCE: &str = "projects/p1/locations/us-central1/repositories/gie";
const CHART: &str = "config/charts/inferencepool";

const DOCKERFILE: &str = "ARG BUILDER_IMAGE=golang:1.24
ARG BASE_IMAGE=gcr.io/distroless/static:nonroot
FROM ${BUILDER_IMAGE} AS builder
ARG COMMIT_SHA=unknown
WORKDIR /src
COPY go.mod main.go ./
RUN cp main.go /epp && echo \"// built from $COMMIT_SHA\" >> /epp && chmod 755 /epp
FROM ${BASE_IMAGE}
COPY --from=builder /epp /epp
ENTRYPOINT [\"/epp\"]
";

/// What docker does with an archive: takes it, and calls the image by the digest of its
/// configuration.
const DOCKER: &str = "case \"$1 $2\" in
version*) echo 27 ;;
load*) cat > ../given.tar ;;
'image inspect') echo sha256:$(tar -xOf ../given.tar manifest.json | grep -o '[0-9a-f]\\{64\\}' | head -n 1) ;;
esac";

/// Rendered, a chart has in it what it was given. (What it does not read does not come this far.)
const HELM: &str = "case \"$1\" in
template) cat ;;
upgrade) cat \"$6\" > ../released.yaml ;;
esac";

/// The images that the Dockerfile starts from.
fn bases() -> Registry {
    let registry = Registry::start();
    let busybox = fs::read(BUSYBOX).expect("busybox");
    let mut tools = Layer::new()
        .directory("bin", 0o755)
        .file_with("bin/busybox", 0o755, busybox);
    for name in ["sh", "cp", "echo", "chmod"] {
        tools = tools.symlink(&format!("bin/{name}"), "busybox");
    }
    registry.seed(
        "library/golang",
        "1.24",
        &image().layer(tools).env("PATH=/bin").build(),
    );
    for tag in ["nonroot", "debug"] {
        let layer = Layer::new().file("etc/kind", tag);
        let built = image().layer(layer).config("User", json!("65532")).build();
        registry.seed("distroless/static", tag, &built);
    }
    registry
}

fn checkout(person: &Person) {
    person.write("Dockerfile", DOCKERFILE);
    person.write("go.mod", "module sigs.k8s.io/epp\n");
    person.write("main.go", "package main\n");
    person.write(".gitignore", "values.yaml\n");
    person.write(
        &format!("{CHART}/Chart.yaml"),
        "name: inferencepool\nversion: v0\n",
    );
    person.write(
        &format!("{CHART}/values.yaml"),
        "inferenceExtension:\n  image:\n    hub: registry.example\n    name: epp\n    tag: main\n",
    );
    person.write(
        &format!("{CHART}/templates/epp.yaml"),
        "{{- with .Values.inferenceExtension.image }}\nimage: {{ .hub }}/{{ .name }}:{{ .tag }}\n\
         {{- end }}\n",
    );
    person.does("git init --quiet");
    person.does("git remote add origin https://example.org/team/epp.git");
    person.does("git add --all && git commit --quiet --message first");
}

/// Whether commands of a Dockerfile can run here.
fn can_run() -> bool {
    let site = crate::site::Site::new(crate::site::Caller::Ourselves);
    site.is_some() && rustix::process::geteuid().is_root()
}

fn inspected(person: &Person, name: &str) -> Value {
    let text = person.does(&format!("kiln inspect {name} --format json"));
    serde_json::from_str(&text).expect("JSON")
}

/// The whole page, with a registry at a host. `written` is asked whether something was written.
fn run(host: &str, written: &dyn Fn() -> Vec<String>) {
    let directory = tempfile::tempdir().expect("a directory");
    let (bases, google) = (bases(), Google::start());
    let mut person = Person::new(directory.path());
    let places = [
        ("us-central1-docker.pkg.dev", host),
        ("docker.io", &bases.host()),
        ("gcr.io", &bases.host()),
    ];
    connect(&mut person, &google, host, &places);
    log_in(&person, &google);
    checkout(&person);
    person.program("docker", DOCKER);
    person.program("helm", HELM);
    let head = person.does("git rev-parse HEAD");
    let mut page = Page::read("journey-image-guide.md");

    for _ in 0..2 {
        person.types(&page.next("kiln repo ensure"));
    }
    assert_eq!(
        google.repository(RESOURCE).expect("a repository")["format"],
        "DOCKER"
    );

    person.types(&page.next("kiln build --push"));
    let name = format!("{REPOSITORY}:{head}");
    let digest = inspected(&person, &name)["digest"].clone();
    let digest = digest.as_str().expect("a digest");
    written();
    let again = person.types(&page.next("kiln build --quiet --push"));
    assert_eq!(again.trim(), format!("{name}@{digest}"));
    assert_eq!(written(), Vec::<String>::new(), "nothing is sent again");

    changes_are_told(&person, &mut page, &head);

    let said = person.types_with(&page.next("kiln build --push"), 3);
    assert!(said.contains(&head), "{said}");
    assert_eq!(inspected(&person, &name)["digest"], digest);

    look_at_it(&person, &mut page, &google, digest, &head);
    use_it(&person, &mut page, &head);
    page.ends();
}

fn changes_are_told(person: &Person, page: &mut Page, head: &str) {
    person.types(&page.next("echo"));
    let said = person.types(&page.next("kiln build --quiet --push"));
    let dirty = format!("{REPOSITORY}:{head}-dirty-");
    assert!(said.starts_with(&dirty), "{said}");
    person.types(&page.next("git checkout"));
}

fn look_at_it(person: &Person, page: &mut Page, google: &Google, digest: &str, head: &str) {
    let said = person.types(&page.next("kiln inspect"));
    for word in [digest, head, "gcr.io/distroless/static:nonroot"] {
        assert!(said.contains(word), "{word} is not in {said}");
    }
    // What the service has to say once something was pushed.
    let version = format!("{RESOURCE}/packages/epp/versions/{digest}");
    google.put(
        &format!("{RESOURCE}/packages/epp/tags/{head}"),
        json!({ "version": version }),
    );
    google.put(
        &format!("{RESOURCE}/dockerImages/epp@{digest}"),
        json!({"uri": format!("{REPOSITORY}@{digest}"), "tags": [head], "imageSizeBytes": "42"}),
    );
    let said = person.types(&page.next("kiln repo show"));
    assert!(said.contains(head), "{said}");
    let said = person.types(&page.next("kiln load"));
    assert!(said.contains(digest), "{said}");
    assert!(person.calls().contains("docker load"), "{}", person.calls());
}

fn use_it(person: &Person, page: &mut Page, head: &str) {
    // The last publication is that of the changed tree, unless the one of the commit is made again.
    person.does(&format!("kiln build --quiet --push --repo {REPOSITORY}"));
    person.types_with(&page.next("kiln emit helm --map epp=image"), 2);
    every_shape_is_read(person, head);
    let release = |person: &Person, head: &str| {
        let released = fs::read_to_string(person.work().join("../released.yaml"));
        assert_eq!(
            bare(&released.expect("values")),
            format!(
                "inferenceExtension:\n  image:\n    hub: us-central1-docker.pkg.dev/p1/gie\n    \
                 name: epp\n    tag: {head}\n"
            )
        );
        fs::remove_file(person.work().join("../released.yaml")).expect("values");
    };
    person.types(&page.next("kiln emit helm --map epp=inferenceExtension.image"));
    person.types(&page.next("helm upgrade"));
    release(person, head);
    if Path::new("/bin/bash").exists() {
        let emit = format!(
            "kiln emit helm --map epp=inferenceExtension.image:hub-name-tag --chart ./{CHART}"
        );
        person.does(&format!(
            "bash -c 'helm upgrade --install my-release ./{CHART} -f <({emit})'"
        ));
        release(person, head);
    }

    person.write("kiln.yaml", page.content("kiln.yaml"));
    person.types(&page.next("git add"));
    person.types(&page.next("git commit"));
    let head = person.does("git rev-parse HEAD");
    person.types(&page.next("kiln build --push"));
    person.types(&page.next("kiln emit helm --chart"));
    person.types(&page.next("helm upgrade"));
    release(person, &head);
}

/// Some commits look like numbers, and are quoted.
fn bare(yaml: &str) -> String {
    yaml.replace('"', "")
}

/// Charts that spell images in other ways, and one in which helm finds nothing of the image.
fn every_shape_is_read(person: &Person, head: &str) {
    let path = "p1/gie/epp";
    let check = |shape: &str, template: &str, expected: &str| {
        person.write("other/Chart.yaml", "name: other\n");
        person.write("other/values.yaml", "");
        person.write("other/templates/a.yaml", &format!("image: {template}\n"));
        let command = format!("kiln emit helm --map epp=image:{shape} --chart other");
        let values = person.does(&command);
        assert_eq!(bare(&values), format!("image:\n{expected}\n  tag: {head}"));
    };
    check(
        "repository-tag",
        "{{ .Values.image.repository }}:{{ .Values.image.tag }}",
        &format!("  repository: us-central1-docker.pkg.dev/{path}"),
    );
    check(
        "registry-repository-tag",
        "{{ .Values.image.registry }}/{{ .Values.image.repository }}:{{ .Values.image.tag }}",
        &format!("  registry: us-central1-docker.pkg.dev\n  repository: {path}"),
    );
    check(
        "hub-name-tag",
        "{{ .Values.image.hub }}/{{ .Values.image.name }}:{{ .Values.image.tag }}",
        "  hub: us-central1-docker.pkg.dev/p1/gie\n  name: epp",
    );
    // It mentions the values and does not use them: only rendering shows that.
    person.program(
        "helm",
        "cat > /dev/null\necho image: registry.example/epp:main",
    );
    let command = "kiln emit helm --map epp=image:hub-name-tag --chart other";
    let output = person.shell(command);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("names neither tag nor digest"), "{said}");
    person.program("helm", HELM);
    person.does("rm -r other");
}

#[test]
fn the_guide_runs_as_written() {
    if !can_run() {
        return;
    }
    let registry = Registry::with(Options {
        auth: Auth::token("oauth2accesstoken", ACCESS_TOKEN),
        ..Options::default()
    });
    run(&registry.host(), &|| {
        let lines = writes(&registry);
        registry.clear_log();
        lines
    });
}

#[test]
fn the_guide_runs_with_the_registry_of_others() {
    if !can_run() {
        return;
    }
    let Some(registry) = RealRegistry::start() else {
        return;
    };
    run(&registry.host, &Vec::new);
}
