//! `kiln config`: which file is found, what counts, and how it is said what is wrong.

use super::{Environment, check_in};

const DECLARATION: &str =
    "registry: registry.example/team\nimages:\n  app:\n    args: {VERSION: 1.10}\n";

fn with(files: &[(&str, &str)]) -> Environment {
    let environment = Environment::new();
    for (name, text) in files {
        environment.write(name, text);
    }
    environment
}

/// The lines of `config show` that are not built in.
fn origins(environment: &Environment, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let arguments = [&["config", "show", "--origin"], arguments].concat();
    let mut command = environment.kiln(&arguments);
    let output = command.envs(variables.iter().copied()).output();
    let text = environment.describe(&output.expect("kiln starts"));
    let lines = text.lines().filter(|line| !line.ends_with("# built-in"));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    words.collect::<Vec<_>>().join("\n")
}

#[test]
fn mistakes_are_shown_with_their_lines_all_at_once() {
    check_in(
        &with(&[(
            "kiln.yaml",
            "registy: a.example\nimages:\n  app: {target: [x]}\n",
        )]),
        &["config", "check"],
        "exit 2\n\
         stderr:\n\
         error: unknown key `registy`\n \
         --> kiln.yaml:1:1\n  \
           |\n\
         1 | registy: a.example\n  \
           | ^^^^^^^ not known\n  \
           |\n  \
           = hint: did you mean `registry`?\n\n\
         error: `images.app.target` must be a text\n \
         --> kiln.yaml:3:9\n  \
           |\n\
         3 |   app: {target: [x]}\n  \
           |         ^^^^^^ this is a list\n  \
           |\n  \
           = hint: only one is possible here\n\n\
         error: kiln.yaml cannot be used: 2 errors\n",
    );
}

#[test]
fn values_are_shown_with_their_origins() {
    check_in(
        &with(&[("kiln.yaml", DECLARATION)]),
        &["config", "show", "--origin"],
        "exit 0\n\
         stdout:\n\
         channel-layout.default: {user}   # built-in\n\
         channel-layout.repository: {registry}/{prefix}/{channel}/{variant}/{image}  # built-in\n\
         channel-layout.tag: latest       # built-in\n\
         images.app.args.VERSION: 1.10    # kiln.yaml:4:21\n\
         registry: registry.example/team  # kiln.yaml:1:11\n\
         tags.allow-latest: false         # built-in\n\
         tags.dirty: suffix               # built-in\n\
         tags.policy: [\"git-sha\"]         # built-in\n",
    );
}

#[test]
fn flags_count_before_the_environment_and_that_before_files() {
    let environment = with(&[
        ("kiln.yaml", "registry: a.example\nprefix: p\n"),
        ("kiln.local.yaml", "registry: b.example\nchannel: kim\n"),
        (
            ".lattice/docker.json",
            r#"{"registry": "c.example", "repository_prefix": "q"}"#,
        ),
    ]);
    let lattice = "channel: kim # kiln.local.yaml:2:10\nprefix: q # .lattice/docker.json:1:48";
    let check = |arguments: &[&str], variables: &[(&str, &str)], registry: &str| {
        let found = origins(&environment, arguments, variables);
        assert_eq!(
            found,
            format!("exit 0\nstdout:\n{lattice}\nregistry: {registry}")
        );
    };
    check(&[], &[], "b.example # kiln.local.yaml:1:11");
    let variable = [("KILN_REGISTRY", "d.example")];
    check(&[], &variable, "d.example # KILN_REGISTRY");
    check(
        &["--registry", "e.example"],
        &variable,
        "e.example # --registry",
    );
    check(
        &[],
        &[("KILN_REGISTRY", "")],
        "b.example # kiln.local.yaml:1:11",
    );
    // Of lattice's own variables nothing counts unless the file says so.
    check(
        &[],
        &[("REGISTRY", "f.example")],
        "b.example # kiln.local.yaml:1:11",
    );
}

#[test]
fn variables_of_others_count_where_the_file_says_so() {
    let check = |compat: &str, variables: &[(&str, &str)], expected: &str| {
        let environment = with(&[("kiln.yaml", compat)]);
        let found = origins(&environment, &[], variables);
        assert!(found.contains(expected), "{found}");
    };
    let lattice = [
        ("REGISTRY", "a.example"),
        ("REPOSITORY_PREFIX", "p"),
        ("CHANNEL", "kim"),
    ];
    check("compat: lattice", &lattice, "channel: kim # CHANNEL");
    check("compat: lattice", &lattice, "prefix: p # REPOSITORY_PREFIX");
    check(
        "compat: lattice",
        &lattice,
        "registry: a.example # REGISTRY",
    );
    let stronger = [("REGISTRY", "a.example"), ("KILN_REGISTRY", "b.example")];
    check(
        "compat: lattice",
        &stronger,
        "registry: b.example # KILN_REGISTRY",
    );
    let parts = [
        ("PROJECT_ID", "p1"),
        ("REGION", "us-central1"),
        ("AR_REPO_NAME", "gie"),
    ];
    check(
        "compat: epp",
        &parts,
        "registry: us-central1-docker.pkg.dev/p1/gie # REGION, PROJECT_ID, AR_REPO_NAME",
    );
    check(
        "compat: epp",
        &parts[..2],
        "exit 0\nstdout:\ncompat: epp # kiln.yaml:1:9",
    );
    check(
        "compat: epp",
        &parts[1..],
        "AR_REPO_NAME is set and PROJECT_ID is not",
    );
}

#[test]
fn values_from_outside_are_checked() {
    let environment = with(&[("kiln.yaml", "")]);
    let mut command = environment.kiln(&["config", "check"]);
    let output = command.env("KILN_REGISTRY", "https://a.example/").output();
    assert_eq!(
        environment.describe(&output.expect("kiln starts")),
        "exit 2\nstderr:\nerror: KILN_REGISTRY: the registry `https://a.example/` cannot be: there \
         must be no scheme (`https://`)\nhint: write `a.example`\n"
    );
}

#[test]
fn the_file_is_found_upwards_as_far_as_the_repository() {
    let environment = with(&[
        ("kiln.yaml", "registry: above.example\n"),
        ("a/b/x", ""),
        ("repository/.git/HEAD", ""),
        ("repository/c/x", ""),
        ("other/kiln.yml", ""),
    ]);
    let check = |directory: &str, arguments: &[&str], expected: &str| {
        let arguments = [&["config", "show", "--origin"], arguments].concat();
        let mut command = environment.kiln(&arguments);
        command.current_dir(environment.work().join(directory));
        let said = environment.describe(&command.output().expect("kiln starts"));
        assert!(said.contains(expected), "{directory}: {said}");
    };
    check(".", &[], "# kiln.yaml:1:11");
    check("a/b", &[], "# ../../kiln.yaml:1:11");
    check(
        "repository/c",
        &[],
        "there is no kiln.yaml in this directory",
    );
    check(
        "repository/c",
        &["--config", "../../kiln.yaml"],
        "# ../../kiln.yaml:1:11",
    );
    check(
        "a",
        &["--config", "absent.yaml"],
        "absent.yaml does not exist",
    );
    check("a", &["--config", "b"], "b is a directory");
    check(
        "other",
        &[],
        "kiln.yml is not read: the file is called kiln.yaml",
    );
}

#[test]
fn the_answer_for_programs_has_values_and_origins() {
    let environment = with(&[("kiln.yaml", DECLARATION)]);
    let output = environment
        .kiln(&["config", "show", "--format", "json"])
        .output();
    let output = output.expect("kiln starts");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["schema"], 1);
    assert_eq!(document["file"], "kiln.yaml");
    assert_eq!(
        document["values"]["images"]["app"]["args"]["VERSION"],
        "1.10"
    );
    let origin = &document["origins"]["registry"];
    assert_eq!(origin["kind"], "file");
    assert_eq!(origin["place"], "kiln.yaml:1:11");
    assert_eq!(document["origins"]["tags.dirty"]["kind"], "built-in");
}

#[test]
fn the_schema_is_json() {
    let output = Environment::new().kiln(&["config", "schema"]).output();
    let output = output.expect("kiln starts");
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["images"]["description"].is_string());
}
