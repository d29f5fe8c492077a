//! Several images of one project: what `kiln build` without a path builds, shares and publishes.

use std::process::{Command, Output};

use serde_json::Value;
use testkit::{Layer, Registry, ValidImage, image, validate_image};

use crate::cli::Environment;
use crate::site::{Caller, Site};

const DECLARATION: &str = "\
registry: REGISTRY/team
images:
  base: {file: base.Dockerfile, platforms: [linux/amd64, linux/arm64]}
  epp: {variants: [plain, debug, other], group: main, labels: {who: epp}}
  bbr: {file: bbr.Dockerfile, needs: [base], platforms: [linux/amd64, linux/arm64]}
variants:
  debug: {overlay: REGISTRY/busybox@DIGEST, overlay-paths: {/bin: /busybox}}
  other: {base-overrides: {REGISTRY/base:1: REGISTRY/busybox@DIGEST}}
";

/// A project with three images, and a registry with what they are made from.
struct Place {
    registry: Registry,
    environment: Environment,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            registry: Registry::start(),
            environment: Environment::new(),
        };
        let base = Layer::new().file("base.txt", "base\n");
        place
            .registry
            .seed("base", "1", &image().layer(base).build());
        let busybox = Layer::new()
            .directory("bin", 0o755)
            .file_with("bin/busybox", 0o700, "#!busybox")
            .hardlink("bin/ls", "bin/busybox")
            .symlink("bin/sh", "/bin/busybox");
        place
            .registry
            .seed("busybox", "1", &image().layer(busybox).build());
        let (digest, _, _) = place.registry.manifest("busybox", "1").expect("busybox");
        let declaration = DECLARATION.replace("DIGEST", digest.as_str());
        place.write("kiln.yaml", &declaration);
        place.write("base.Dockerfile", "FROM scratch\nCOPY shared.txt /\n");
        place.write(
            "Dockerfile",
            "FROM REGISTRY/base:1 AS made\nCOPY shared.txt /made\nFROM REGISTRY/base:1\nCOPY --from=made /made /\n",
        );
        place.write("bbr.Dockerfile", "FROM base\nCOPY own.txt /\n");
        place.write("shared.txt", "shared\n");
        place.write("own.txt", "own\n");
        place
    }

    fn write(&self, path: &str, text: &str) {
        let text = text.replace("REGISTRY", &self.registry.host());
        self.environment.write(path, &text);
    }

    fn commit(&self) -> String {
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            let command = command.args(arguments).current_dir(self.environment.work());
            let output = command
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "n")))
                .envs(
                    ["AUTHOR", "COMMITTER"]
                        .map(|who| (format!("GIT_{who}_EMAIL"), "n@example.org")),
                )
                .output()
                .expect("git starts");
            assert!(output.status.success(), "git {arguments:?}: {output:?}");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        git(&["init", "--quiet"]);
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--message", "first"]);
        git(&["rev-parse", "HEAD"])
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.environment.kiln(&[&["build"], arguments].concat());
        command.output().expect("kiln starts")
    }

    /// It works; what it prints.
    fn built(&self, arguments: &[&str]) -> (String, String) {
        let output = self.run(arguments);
        let said = self.environment.describe(&output);
        assert!(output.status.success(), "{arguments:?}: {said}");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    }

    /// It does not work, and says this.
    fn refused(&self, arguments: &[&str], expected: &str) {
        let output = self.run(arguments);
        let said = self.environment.describe(&output);
        assert!(!output.status.success(), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }

    fn names(&self, arguments: &[&str]) -> Vec<String> {
        let (printed, _) = self.built(arguments);
        let names = printed.lines().filter_map(|line| line.rsplit_once(' '));
        names.map(|(name, _)| name.to_owned()).collect()
    }
}

fn layers(image: &ValidImage) -> Vec<String> {
    let layers = image.manifest["layers"].as_array().expect("layers");
    layers
        .iter()
        .map(|layer| layer["digest"].to_string())
        .collect()
}

#[test]
fn a_project_is_built_as_one_and_again_from_the_cache() {
    let place = Place::new();
    let (printed, said) = place.built(&["--progress", "plain", "--metadata-file", "built.json"]);
    let names: Vec<&str> = printed
        .lines()
        .filter_map(|line| Some(line.rsplit_once(' ')?.0))
        .collect();
    let expected = ["base", "bbr", "epp", "epp (debug)", "epp (other)"];
    assert_eq!(names, expected);
    // The same copy for two platforms, and as the base of bbr on both, is one step.
    let copies = said
        .lines()
        .filter(|line| line.starts_with('#') && line.ends_with("] COPY shared.txt /"));
    assert_eq!(copies.count(), 1, "{said}");
    let text = std::fs::read(place.environment.work().join("built.json")).expect("a file");
    let metadata: Value = serde_json::from_slice(&text).expect("JSON");
    let keys: Vec<&String> = metadata.as_object().expect("an object").keys().collect();
    assert_eq!(keys, expected);
    assert!(metadata["epp (debug)"]["containerimage.digest"].is_string());
    let (again, said) = place.built(&["--progress", "plain"]);
    assert_eq!(again, printed);
    assert!(said.contains(" 0 run, in"), "{said}");
}

#[test]
fn images_groups_and_variants_are_chosen_by_name() {
    let place = Place::new();
    let quiet = |arguments: &[&str]| place.names(&[&["--quiet"], arguments].concat());
    assert_eq!(quiet(&["--image", "bbr", "--variant", "plain"]), ["bbr"]);
    assert_eq!(
        quiet(&["--group", "main"]),
        ["epp", "epp (debug)", "epp (other)"]
    );
    assert_eq!(quiet(&["--variant", "debug"]), ["epp (debug)"]);
    place.refused(&["--image", "ep"], "did you mean `epp`?");
    place.refused(&["--group", "mein"], "did you mean `main`?");
    place.refused(&["--variant", "debig"], "did you mean `debug`?");
    place.refused(&["-t", "x"], "--tag is about one image");
    place.refused(&["--target", "x"], "kiln.yaml has `target`");
    place.refused(&["--image", "epp", "."], "a path builds what is there");
    // A path is what it always was.
    let (alone, _) = place.built(&["--quiet", "."]);
    assert!(alone.starts_with("sha256:"), "{alone}");
    let (printed, _) = place.built(&["--print"]);
    let printed: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(printed["overlays"][0]["path-suffix"], "/busybox");
    let (plan, _) = place.built(&["--dry-run"]);
    assert!(
        plan.contains("image epp (debug): not known before it is built"),
        "{plan}"
    );
    place.built(&["--check"]);
}

#[test]
fn all_images_are_published_together_under_the_names_of_the_project() {
    let place = Place::new();
    let head = place.commit();
    place.built(&["--push", "--quiet"]);
    let published =
        |image: &str, tag: &str| validate_image(&place.registry, &format!("team/{image}"), tag);
    let name = |tag: &str| format!("{head}-{tag}");
    let (plain, debug) = (
        published("epp", &head).unwrap(),
        published("epp", &name("debug")).unwrap(),
    );
    let (below, all) = (layers(&plain), layers(&debug));
    assert_eq!(all[..below.len()], below);
    assert_eq!(all.len(), below.len() + 1);
    assert_eq!(
        debug.layers.last().unwrap().listing(),
        [
            "d0755 0:0 0 busybox",
            "-0755 0:0 9 busybox/busybox",
            "h0755 0:0 -> busybox/busybox busybox/ls",
            "l0777 0:0 -> /busybox/busybox busybox/sh",
        ]
    );
    let labels = &plain.config["config"]["Labels"];
    assert_eq!(labels["who"], "epp");
    assert_eq!(labels["org.opencontainers.image.revision"], head.as_str());
    let other = published("epp", &name("other")).unwrap();
    assert_ne!(layers(&other)[0], below[0]);
    assert!(place.registry.manifest("team/bbr", &head).is_some());
    // The same again is a success, and sends nothing.
    place.built(&["--push", "--quiet"]);
}

#[test]
fn what_a_destination_wants_signed_is_signed_or_not_there() {
    let place = Place::new();
    let text = |name: &str| String::from_utf8(crate::signing::data(name)).expect("a text");
    place.write("keys/key.pem", &text("keys/p256.pem"));
    place.write("keys/key.pub", &text("keys/p256.pub"));
    let destinations = "destinations:\n  \
        release: {registry: REGISTRY, prefix: release, sign: [key]}\n  \
        other: {registry: REGISTRY, prefix: other}\n";
    let declare = |key: &str| {
        let (digest, _, _) = place.registry.manifest("busybox", "1").expect("busybox");
        let images = DECLARATION.replace("DIGEST", digest.as_str());
        let signers = format!("signers:\n  key: {{kind: cosign, key: \"{key}\"}}\n");
        place.write("kiln.yaml", &format!("{images}{destinations}{signers}"));
    };
    declare("env:NO_SUCH_KEY");
    let head = place.commit();
    place.refused(&["--push", "--dirty", "allow"], "NO_SUCH_KEY");
    for repository in ["release/epp", "release/bbr", "other/epp", "other/bbr"] {
        assert!(place.registry.tags(repository).is_empty(), "{repository}");
    }
    declare("file:keys/key.pem");
    place.built(&["--push", "--quiet", "--dirty", "allow"]);
    let judged = |repository: &str, tag: &str| {
        let name = format!("{}/{repository}:{tag}", place.registry.host());
        (place.environment).run(&["verify", &name, "--key", "keys/key.pub"])
    };
    let debug = format!("{head}-debug");
    for (image, tag) in [
        ("epp", &head),
        ("epp", &debug),
        ("bbr", &head),
        ("base", &head),
    ] {
        let said = judged(&format!("release/{image}"), tag);
        assert!(said.starts_with("exit 0\n"), "{image}:{tag}: {said}");
        // The same digest, in a repository where nobody asked for a signature.
        let said = judged(&format!("other/{image}"), tag);
        assert!(said.starts_with("exit 6\n"), "{image}:{tag}: {said}");
    }
}

#[test]
fn one_image_that_fails_keeps_all_from_being_published() {
    let place = Place::new();
    place.write("bbr.Dockerfile", "FROM base\nCOPY missing.txt /\n");
    let head = place.commit();
    place.refused(&["--push"], "bbr");
    assert!(place.registry.tags("team/epp").is_empty(), "{head}");
    place.write("bbr.Dockerfile", "FROM base\nCOPPY own.txt /\n");
    place.refused(&["--push"], "bbr: ");
    place.write("bbr.Dockerfile", "FROM bas\nCOPY own.txt /\n");
    place.refused(&[], "bbr");
}

#[test]
fn the_shell_of_a_debug_variant_runs() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let host = site.registry.host();
    let (digest, _, _) = site.registry.manifest("base", "1").expect("a base");
    let directory = site.context("set", "FROM scratch\nCOPY Dockerfile /\n");
    let declaration = format!(
        "registry: {host}\nimages:\n  app: {{variants: [plain, debug]}}\nvariants:\n  debug: {{overlay: \
         \"{host}/base@{digest}\", overlay-paths: {{/bin: /busybox}}}}\ntags: {{policy: [], floating: [set]}}\n"
    );
    std::fs::write(directory.join("kiln.yaml"), declaration).expect("a declaration");
    let mut command = site.kiln("build", "store", &["--push"]);
    let output = command
        .current_dir(&directory)
        .output()
        .expect("kiln starts");
    site.success(&output);
    let text = "FROM REGISTRY/app:set-debug\nSHELL [\"/busybox/sh\", \"-c\"]\nRUN ls / > /seen && test -s /seen\n";
    let context = site.context("shell", text);
    site.built("store", "shell", &context, &[]);
}
