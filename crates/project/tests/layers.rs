//! What counts where several places say something.

use project::{Layer, Origin, Setting, layered, read, read_lattice, read_local};

const DECLARATION: &str = "prefix: team\nregistry: file.example\n";

fn flag(setting: Setting, value: &str) -> Layer {
    let mut layer = Layer::default();
    layer.set(setting, value, Origin::Flag(format!("--{}", setting.key())));
    layer
}

#[test]
fn the_strongest_place_counts() {
    let local = "registry: local.example\nchannel: kim\n";
    let lattice = r#"{"registry": "lattice.example", "repository_prefix": "old", "other": [1]}"#;
    let declared = read("kiln.yaml", DECLARATION).expect("a declaration");
    let flag = flag(Setting::Registry, "flag.example");
    let local = read_local("kiln.local.yaml", local).expect("a layer");
    let lattice = read_lattice(".lattice/docker.json", lattice).expect("a layer");
    let check = |layers: &[Layer], expected: [&str; 6]| {
        let found = layered(&declared, layers).expect("values");
        let said = [
            found.project.registry.clone().unwrap_or_default(),
            found.origin("registry").to_string(),
            found.project.prefix.clone().unwrap_or_default(),
            found.origin("prefix").to_string(),
            found
                .channel
                .as_ref()
                .map(|channel| channel.value.clone())
                .unwrap_or_default(),
            found.origin("channel").to_string(),
        ];
        assert_eq!(said, expected);
    };
    check(
        &[],
        [
            "file.example",
            "kiln.yaml:2:11",
            "team",
            "kiln.yaml:1:9",
            "",
            "built-in",
        ],
    );
    let mine = "kiln.local.yaml:1:11";
    let channel = "kiln.local.yaml:2:10";
    check(
        std::slice::from_ref(&local),
        [
            "local.example",
            mine,
            "team",
            "kiln.yaml:1:9",
            "kim",
            channel,
        ],
    );
    let old = ".lattice/docker.json:1:54";
    check(
        &[local.clone(), lattice.clone()],
        ["local.example", mine, "old", old, "kim", channel],
    );
    check(
        &[flag, local, lattice],
        ["flag.example", "--registry", "old", old, "kim", channel],
    );
}

#[test]
fn values_from_outside_are_checked_with_their_origin() {
    let declared = read("kiln.yaml", DECLARATION).expect("a declaration");
    let check = |setting, value: &str, expected: &str| {
        let error = layered(&declared, &[flag(setting, value)]).expect_err(value);
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(
        Setting::Registry,
        "https://a.example",
        "--registry: the registry `https://a.example`",
    );
    check(
        Setting::Registry,
        "a.example/",
        "no separator at its beginning or end",
    );
    check(
        Setting::Registry,
        "a.example/b:1",
        "there must be no tag (`:1`)",
    );
    check(
        Setting::Prefix,
        "a/",
        "no separator at its beginning or end",
    );
    check(Setting::Prefix, "A", "lower case");
    check(
        Setting::Channel,
        "a/b",
        "--channel: the channel `a/b` cannot be",
    );
}

#[test]
fn own_files_are_as_strict() {
    let error = read_local("kiln.local.yaml", "registri: x\nprefix: [a]\n").expect_err("wrong");
    let said: Vec<&str> = error
        .diagnostics
        .iter()
        .map(|found| found.message.as_str())
        .collect();
    assert_eq!(said, ["unknown key `registri`", "`prefix` must be a text"]);
}
