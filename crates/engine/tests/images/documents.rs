//! Configuration, history and times of finished images.

use serde_json::{Value, json};
use testkit::{Layer, image, validate_image};

use crate::Bench;

/// The container configuration of what a Dockerfile gives.
fn config(bench: &Bench, dockerfile: &str) -> Value {
    bench.image(dockerfile).config["config"].clone()
}

fn history(config: &Value) -> Vec<(String, bool)> {
    let entries = config["history"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            let text = entry["created_by"].as_str().unwrap().to_owned();
            (text, entry["empty_layer"] == true)
        })
        .collect()
}

/// Rows: I7
#[test]
fn every_field_is_inherited_or_replaced() {
    let bench = Bench::new();
    let base = image()
        .layer(Layer::new().file("f", "F"))
        .env("PATH=/bin")
        .env("KEEP=1")
        .env("OLD=1")
        .config("User", json!("7"))
        .config("WorkingDir", json!("/base"))
        .config("ExposedPorts", json!({"1/tcp": {}}))
        .config("Volumes", json!({"/v": {}}))
        .config("Labels", json!({"a": "1", "b": "1"}))
        .config("Entrypoint", json!(["/e"]))
        .config("Cmd", json!(["c"]))
        .config("OnBuild", json!(["ENV TRIGGERED=1"]))
        .config("StopSignal", json!("SIGINT"))
        .config("Shell", json!(["/bin/bash", "-c"]))
        .config(
            "Healthcheck",
            json!({"Test": ["CMD", "x"], "Interval": 5_000_000_000_i64}),
        )
        .build();
    bench.registry.seed("full", "1", &base);
    let from = format!("FROM {}/full:1\n", bench.registry.host());
    assert_eq!(
        config(&bench, &from),
        json!({
            "Env": ["PATH=/bin", "KEEP=1", "OLD=1", "TRIGGERED=1"],
            "User": "7",
            "WorkingDir": "/base",
            "ExposedPorts": {"1/tcp": {}},
            "Volumes": {"/v": {}},
            "Labels": {"a": "1", "b": "1"},
            "Entrypoint": ["/e"],
            "Cmd": ["c"],
            "StopSignal": "SIGINT",
            "Shell": ["/bin/bash", "-c"],
            "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5_000_000_000_i64},
        })
    );
    let lines = "ENV OLD=2 NEW=3\nUSER u\nEXPOSE 2/UDP\nVOLUME /w\nLABEL b=2\nENTRYPOINT e\n\
                 STOPSIGNAL 9\nSHELL [\"/bin/zsh\"]\nCMD c\nHEALTHCHECK --retries=2 CMD y\nONBUILD ENV X=1\n";
    assert_eq!(
        config(&bench, &format!("{from}{lines}")),
        json!({
            "Env": ["PATH=/bin", "KEEP=1", "OLD=2", "TRIGGERED=1", "NEW=3"],
            "User": "u",
            "WorkingDir": "/base",
            "ExposedPorts": {"1/tcp": {}, "2/udp": {}},
            "Volumes": {"/v": {}, "/w": {}},
            "Labels": {"a": "1", "b": "2"},
            "Entrypoint": ["/bin/bash", "-c", "e"],
            "Cmd": ["/bin/zsh", "c"],
            "ArgsEscaped": true,
            "OnBuild": ["ENV X=1"],
            "StopSignal": "9",
            "Shell": ["/bin/zsh"],
            "Healthcheck": {"Test": ["CMD-SHELL", "y"], "Retries": 2},
        })
    );
}

/// Rows: I10
#[test]
fn history_has_a_line_for_every_layer() {
    let bench = Bench::new();
    bench.file("a: A");
    let image = bench.image(
        "FROM BASE\nARG V=1\nENV K=\"a b\" L='c\"d'\nWORKDIR /w\nWORKDIR /\nCOPY --chown=1 a <<t .\nx\nt\nLABEL q=\"it's\"\nCMD [\"a\", \"b c\"]\n",
    );
    let lines = history(&image.config);
    let expected = [
        ("testkit", false),
        ("ARG V=1", true),
        ("ENV K=a b L=c\"d", true),
        ("WORKDIR /w", false),
        ("WORKDIR /", true),
        ("COPY --chown=1 a <<t . # buildkit", false),
        ("LABEL q=it's", true),
        ("CMD [\"a\" \"b c\"]", true),
    ];
    let expected = expected.map(|(text, empty)| (text.to_owned(), empty));
    assert_eq!(lines, expected);
    assert_eq!(image.layers.len(), 3);
}

/// New entries are never later than the build's time; those of the base are as they were.
///
/// Rows: I12
#[test]
fn times_are_the_builds() {
    let mut bench = Bench::new();
    bench.epoch = 500;
    bench.file("a: A");
    let tar = testkit::tar::write(&[
        testkit::tar::Entry {
            mtime: 100,
            ..crate::entry("early", b'0', "E", "")
        },
        testkit::tar::Entry {
            mtime: 900,
            ..crate::entry("late", b'0', "L", "")
        },
    ]);
    std::fs::write(bench.context.path().join("t.tar"), tar).unwrap();
    let base = image()
        .layer(Layer::new().entry(testkit::tar::Entry {
            mtime: 900,
            ..crate::entry("top", b'5', "", "")
        }))
        .build();
    bench.registry.seed("timed", "1", &base);
    let from = format!("FROM {}/timed:1\n", bench.registry.host());
    let built = bench.image(&format!("{from}ADD t.tar /top/\nCOPY a /top/\n"));
    let times = |layer: usize| -> Vec<(String, i64)> {
        let entries = built.layers[layer].entries.iter();
        entries.map(|entry| (entry.name(), entry.mtime)).collect()
    };
    let expect = |list: &[(&str, i64)]| -> Vec<(String, i64)> {
        list.iter()
            .map(|(name, time)| ((*name).to_owned(), *time))
            .collect()
    };
    assert_eq!(times(0), expect(&[("top", 900)]));
    assert_eq!(
        times(1),
        expect(&[("top", 500), ("top/early", 100), ("top/late", 500)])
    );
    assert_eq!(times(2), expect(&[("top", 500), ("top/a", 500)]));
    assert_eq!(built.config["created"], "1970-01-01T00:08:20Z");
    assert_eq!(
        built.config["history"][0]["created"],
        "2001-09-09T01:46:40Z"
    );
    assert_eq!(
        built.config["history"][1]["created"],
        "1970-01-01T00:08:20Z"
    );
}

/// Rows: I9
#[test]
fn triggers_run_once_and_may_copy_from_stages() {
    let bench = Bench::new();
    bench.file("a: A");
    let host = bench.registry.host();
    let base = image()
        .layer(Layer::new().file("f", "F"))
        .config(
            "OnBuild",
            json!([
                "ARG WHO=trigger",
                "COPY --from=tools /t /tools/$WHO",
                "COPY <<n /\ntext\nn\n",
                "COPY a /a",
            ]),
        )
        .build();
    bench.registry.seed("triggers", "1", &base);
    let built = bench.image(&format!(
        "FROM BASE AS tools\nCOPY a /t\nFROM {host}/triggers:1 AS child\nFROM child\nENV LAST=1\n"
    ));
    let names: Vec<Vec<String>> = built
        .layers
        .iter()
        .map(testkit::ValidLayer::listing)
        .collect();
    assert_eq!(
        names[1..],
        [
            vec![
                "d0755 0:0 0 tools".to_owned(),
                "-0644 0:0 1 tools/trigger".to_owned()
            ],
            vec!["-0644 0:0 5 n".to_owned()],
            vec!["-0644 0:0 1 a".to_owned()],
        ]
    );
    assert_eq!(built.config["config"]["OnBuild"], Value::Null);
}

/// Rows: I9
#[test]
fn stages_of_one_file_pass_triggers_on_once() {
    let bench = Bench::new();
    bench.image(
        "FROM BASE AS one\nONBUILD ENV A=1\nFROM one AS two\nENV B=$A\nFROM two\nENV C=$A-$B\n",
    );
    let built = validate_image(&bench.registry, "out", "1").unwrap();
    assert_eq!(
        built.config["config"]["Env"],
        json!(["PATH=/bin", "A=1", "B=1", "C=1-1"])
    );
}

/// Rows: F2, F14
#[test]
fn a_base_without_layers_is_as_good_as_scratch() {
    let bench = Bench::new();
    bench.file("a: A");
    bench
        .registry
        .seed("bare", "1", &image().env("A=b").build());
    let built = bench.image(&format!(
        "FROM {}/bare:1\nCOPY a /a\n",
        bench.registry.host()
    ));
    assert_eq!(built.layers.len(), 1);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(built.config["config"]["Env"], json!(["A=b", path]));
}

/// Rows: I14, I15
#[test]
fn the_base_decides_media_types_of_none_but_itself() {
    let bench = Bench::new();
    bench.file("a: A");
    let base = image()
        .layer(Layer::new().file("f", "F"))
        .docker()
        .annotation("x", "y")
        .build();
    bench.registry.seed("docker", "1", &base);
    let built = bench.image(&format!(
        "FROM {}/docker:1\nCOPY a /a\n",
        bench.registry.host()
    ));
    for layer in built.manifest["layers"].as_array().unwrap() {
        let media_type = layer["mediaType"].as_str().unwrap();
        assert!(
            media_type.starts_with("application/vnd.oci."),
            "{media_type}"
        );
    }
    assert_eq!(built.manifest["annotations"], Value::Null);
}
