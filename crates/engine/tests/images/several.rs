//! Several images in one build: what they have in common is done once, some are built on others, and
//! some are others with files laid over them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use engine::{
    BuildError, Event, Overlay, OverlayImage, OverlaySource, Reporter, SetImage, SetReport,
    SetRequest, Shape, StepOutcome,
};
use testkit::{Layer, ValidImage, image, validate_image};

use super::{Bench, Quiet, explain};

/// Hears what was said.
#[derive(Default)]
struct Titles(Mutex<Vec<String>>);

impl Reporter for Titles {
    fn report(&self, event: Event) {
        if let Event::StepStarted { title, .. } = event {
            self.0.lock().unwrap().push(title);
        }
    }
}

/// An image by name and text, published under its name.
fn one(bench: &Bench, name: &str, dockerfile: &str, needs: &[(&str, &str)]) -> SetImage {
    let mut request = bench.request(dockerfile);
    request.tags = vec![
        format!("{}/{name}:1", bench.registry.host())
            .parse()
            .unwrap(),
    ];
    SetImage {
        name: name.to_owned(),
        request,
        needs: needs
            .iter()
            .map(|(word, name)| ((*word).to_owned(), (*name).to_owned()))
            .collect(),
    }
}

fn debug(bench: &Bench, of: &str, from: OverlaySource) -> OverlayImage {
    OverlayImage {
        name: format!("{of} (debug)"),
        of: of.to_owned(),
        overlay: Overlay {
            from,
            paths: BTreeMap::from([("/bin".to_owned(), "/busybox".to_owned())]),
            path_suffix: Some("/busybox".to_owned()),
        },
        tags: vec![
            format!("{}/{of}-debug:1", bench.registry.host())
                .parse()
                .unwrap(),
        ],
        outputs: vec![engine::Output::Registry],
    }
}

/// A static busybox, more or less: hard links, and a link that is absolute.
fn busybox(bench: &Bench) -> OverlaySource {
    let busybox = image()
        .layer(
            Layer::new()
                .directory("bin", 0o755)
                .file_with("bin/[", 0o4755, "#!busybox")
                .hardlink("bin/ls", "bin/[")
                .symlink("bin/sh", "/bin/[")
                .directory("etc", 0o755)
                .file("etc/motd", "not wanted"),
        )
        .build();
    bench.registry.seed("busybox", "1", &busybox);
    let name = format!("{}/busybox:1", bench.registry.host());
    OverlaySource::Image(graph::ImageName::Registry(name.parse().unwrap()))
}

fn build_under(
    bench: &Bench,
    images: Vec<SetImage>,
    overlays: Vec<OverlayImage>,
    reporter: Arc<dyn Reporter>,
) -> Result<SetReport, BuildError> {
    let ports = bench.ports(bench.store.path(), reporter);
    let set = SetRequest::new(images, overlays)?;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(engine::build_set(&set, &ports))
}

fn build(bench: &Bench, images: Vec<SetImage>, overlays: Vec<OverlayImage>) -> SetReport {
    let built = build_under(bench, images, overlays, Arc::new(Quiet));
    built.unwrap_or_else(|error| panic!("{}", explain(&error)))
}

fn published(bench: &Bench, name: &str) -> ValidImage {
    validate_image(&bench.registry, name, "1").unwrap()
}

fn blobs(image: &ValidImage) -> Vec<String> {
    let layers = image.manifest["layers"].as_array().unwrap();
    let digests = layers.iter().map(|layer| layer["digest"].to_string());
    digests.collect()
}

const SHARED: &str =
    "FROM BASE AS build\nCOPY a.txt /a\nWORKDIR /built\nFROM BASE\nCOPY --from=build /a /";

#[test]
fn six_images_in_two_variants_do_what_they_share_once() {
    let bench = Bench::new();
    bench.file("a.txt: A");
    let names = ["one", "two", "three", "four", "five", "six"];
    let images = || {
        let images = names.iter().map(|name| {
            let text = format!("{SHARED}\nLABEL name={name}\nWORKDIR /{name}\n");
            one(&bench, name, &text, &[])
        });
        images.collect::<Vec<_>>()
    };
    let overlays = || {
        let from = busybox(&bench);
        let overlays = names.iter().map(|name| debug(&bench, name, from.clone()));
        overlays.collect::<Vec<_>>()
    };
    let titles = Arc::new(Titles::default());
    let report = build_under(&bench, images(), overlays(), titles.clone())
        .unwrap_or_else(|error| panic!("{}", explain(&error)));
    let started = titles.0.lock().unwrap().clone();
    // Two shared copies (one of them of a stage), and a directory for each image. The directory of
    // the stage is needed by nobody's files, but by the stage.
    let shared: Vec<&String> = started
        .iter()
        .filter(|title| title.contains("COPY"))
        .collect();
    assert_eq!(shared.len(), 2, "{started:?}");
    assert!(
        shared[0].starts_with("[one build 2/3] COPY a.txt /a"),
        "{shared:?}"
    );
    let own = started.iter().filter(|title| title.contains("WORKDIR"));
    assert_eq!(own.count(), 7, "{started:?}");
    assert_eq!(report.images.len(), 12);
    for name in names {
        let plain = published(&bench, name);
        let debug = published(&bench, &format!("{name}-debug"));
        let (below, all) = (blobs(&plain), blobs(&debug));
        assert_eq!(all[..all.len() - 1], below, "{name}");
        assert_eq!(plain.config["config"]["Env"][0], "PATH=/bin");
        assert_eq!(debug.config["config"]["Env"][0], "PATH=/bin:/busybox");
        assert_eq!(debug.config["config"]["Labels"]["name"], name);
        assert_eq!(
            debug.layers.last().unwrap().listing(),
            [
                "d0755 0:0 0 busybox",
                "-0755 0:0 9 busybox/[",
                "h0755 0:0 -> busybox/[ busybox/ls",
                "l0777 0:0 -> /busybox/[ busybox/sh",
            ]
        );
        let history = debug.config["history"].as_array().unwrap();
        let last = history.last().unwrap()["created_by"].as_str().unwrap();
        assert!(last.contains("/busybox:1@sha256:"), "{last}");
    }
    // The layer of the overlay is one blob for all.
    let top = |name: &str| blobs(&published(&bench, &format!("{name}-debug"))).pop();
    assert_eq!(top("one"), top("six"));

    let again = build(&bench, images(), overlays());
    let cached = |report: &SetReport| {
        let mut steps = report.steps.iter();
        steps.all(|step| step.outcome == StepOutcome::Cached)
    };
    assert!(cached(&again), "{:?}", again.steps);
    for (before, after) in report.images.iter().zip(&again.images) {
        assert_eq!(before.manifest, after.manifest, "{}", before.name);
        assert_eq!(before.input, after.input, "{}", before.name);
    }
    let inputs: std::collections::BTreeSet<_> =
        report.images.iter().map(|image| &image.input).collect();
    assert_eq!(inputs.len(), 12, "no two are made from the same");
}

#[test]
fn an_image_of_a_set_is_the_image_that_is_built_alone() {
    let bench = Bench::new();
    bench.file("a.txt: A").file("b.txt: B");
    let texts = [
        ("one", "FROM BASE\nCOPY a.txt /\nENV A=1\n"),
        ("two", "FROM BASE\nCOPY a.txt /\nCOPY b.txt /\n"),
        ("three", "FROM scratch\nCOPY b.txt /\n"),
    ];
    let images = texts
        .iter()
        .map(|(name, text)| one(&bench, name, text, &[]));
    let report = build(&bench, images.collect(), Vec::new());
    for ((_, text), image) in texts.iter().zip(&report.images) {
        let elsewhere = tempfile::tempdir().unwrap();
        let alone = bench.run_with(&bench.request(text), elsewhere.path());
        let alone = alone.unwrap_or_else(|error| panic!("{}", explain(&error)));
        assert_eq!(alone.manifest, image.manifest, "{}", image.name);
    }
}

#[test]
fn an_image_goes_on_where_another_one_ends() {
    let bench = Bench::new();
    bench.file("a.txt: A").file("b.txt: B");
    let base = "FROM BASE\nCOPY a.txt /\nENV A=1\nLABEL made=here\n";
    let app = "FROM common\nCOPY --from=common /a.txt /copied\nCOPY b.txt /$A\n";
    let images = vec![
        one(&bench, "common", base, &[]),
        one(&bench, "app", app, &[("common", "common")]),
    ];
    build(&bench, images, Vec::new());
    let (common, app) = (published(&bench, "common"), published(&bench, "app"));
    let (below, all) = (blobs(&common), blobs(&app));
    assert_eq!(all[..below.len()], below);
    assert_eq!(all.len(), below.len() + 2);
    assert_eq!(app.config["config"]["Labels"]["made"], "here");
    assert_eq!(app.layers.last().unwrap().listing(), ["-0644 0:0 1 1"]);
    // The same as if it had been pushed and pulled in between.
    let pulled = format!("FROM {}/common:1\n", bench.registry.host());
    let pulled = format!(
        "{pulled}COPY --from={}/common:1 /a.txt /copied\nCOPY b.txt /$A\n",
        bench.registry.host()
    );
    let alone = bench.run(&bench.request(&pulled)).unwrap();
    let layers = blobs(&published(&bench, "out"));
    assert_eq!(layers, all, "{}", alone.manifest.digest);
}

#[test]
fn two_platforms_have_an_overlay_each() {
    let bench = Bench::new();
    bench.file("a.txt: A");
    let platforms: Vec<oci::Platform> = ["linux/amd64", "linux/arm64"]
        .iter()
        .map(|name| name.parse().unwrap())
        .collect();
    let mut tool = one(
        &bench,
        "tool",
        "FROM scratch\nARG TARGETARCH\nCOPY a.txt /bin/$TARGETARCH\n",
        &[],
    );
    let mut app = one(&bench, "app", "FROM scratch\nCOPY a.txt /\n", &[]);
    tool.request.shape = Shape::Index(platforms.clone());
    app.request.shape = Shape::Index(platforms);
    let overlay = debug(&bench, "app", OverlaySource::Built("tool".to_owned()));
    let report = build(&bench, vec![tool, app], vec![overlay]);
    let [_, plain, debug] = report.images.as_slice() else {
        panic!("{:?}", report.images);
    };
    assert!(debug.manifest.media_type.is_index());
    assert_eq!(debug.images.len(), 2);
    assert_ne!(plain.manifest, debug.manifest);
    for (image, name) in debug.images.iter().zip(["amd64", "arm64"]) {
        assert_eq!(image.platform.architecture, name);
        let image =
            testkit::validate_image(&bench.registry, "app-debug", image.manifest.digest.as_str());
        let image = image.unwrap();
        assert_eq!(
            image.layers.last().unwrap().listing(),
            [
                "d0755 0:0 0 busybox".to_owned(),
                format!("-0644 0:0 1 busybox/{name}")
            ]
        );
        // Nothing said where programs are: the usual places come first.
        assert_eq!(
            image.config["config"]["Env"][0],
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/busybox"
        );
    }
}

#[test]
fn what_is_wrong_with_one_image_names_it_and_keeps_all_from_going_anywhere() {
    let bench = Bench::new();
    bench.file("a.txt: A");
    let good = || one(&bench, "good", "FROM BASE\nCOPY a.txt /\n", &[]);
    let check = |images: Vec<SetImage>, overlays: Vec<OverlayImage>, expected: &str| {
        let error = build_under(&bench, images, overlays, Arc::new(Quiet)).expect_err(expected);
        let told = match &error {
            BuildError::Image { image, error } => format!("{image}: {}", explain(error)),
            error => explain(error),
        };
        assert!(told.contains(expected), "{told}");
        assert!(validate_image(&bench.registry, "good", "1").is_err());
    };
    let bad = |text: &str| one(&bench, "bad", text, &[]);
    check(
        vec![good(), bad("FROM BASE\nCOPY missing /\n")],
        Vec::new(),
        "bad: ",
    );
    check(
        vec![good(), bad("FROM BASE\nCOPPY a /\n")],
        Vec::new(),
        "bad: ",
    );
    check(
        vec![good(), good()],
        Vec::new(),
        "two images have the name good",
    );
    let needs = one(&bench, "needs", "FROM later\n", &[("later", "good")]);
    check(vec![needs, good()], Vec::new(), "needs needs good");
    let mut overlay = debug(&bench, "good", busybox(&bench));
    overlay.overlay.paths = BTreeMap::from([("/sbin".to_owned(), "/busybox".to_owned())]);
    check(
        vec![good()],
        vec![overlay],
        "good (debug): the overlay cannot be made",
    );
}
