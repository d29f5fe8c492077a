//! `kiln pin`: names get their digests, and nothing else of a file changes.

use testkit::Registry;

use super::Environment;

fn prepared() -> (Environment, Registry, String, String) {
    let registry = Registry::start();
    let one = registry.seed("team/app", "1", &testkit::image().build());
    let two = registry.seed("team/base", "latest", &testkit::image().build());
    (
        Environment::new(),
        registry,
        one.to_string(),
        two.to_string(),
    )
}

#[test]
fn names_get_the_digests_of_their_tags() {
    let (environment, registry, one, two) = prepared();
    let host = registry.host();
    let manifest = format!(
        "# keep\nspec:\n  - image: \"{host}/team/app:1\"   # this\r\n    image: {{{{ x }}}}\n"
    );
    environment.write("deploy.yaml", &manifest);
    environment.write(
        "Dockerfile",
        &format!("ARG BASE={host}/team/base\nFROM $BASE AS a\nFROM a\nCOPY --from={host}/team/app:1 /x /x\n"),
    );
    let files = ["pin", "deploy.yaml", "Dockerfile"];
    let said = environment.run(&[&files[..], &["--check"]].concat());
    assert!(said.starts_with("exit 1\n"), "{said}");
    let read = |name: &str| std::fs::read_to_string(environment.work().join(name)).expect("a file");
    assert_eq!(read("deploy.yaml"), manifest);

    let said = environment.run(&files);
    let expected = format!(
        "exit 0\nstdout:\n\
         deploy.yaml:3:13: {host}/team/app:1 -> {host}/team/app:1@{one}\n\
         Dockerfile:1:10: {host}/team/base -> {host}/team/base:latest@{two}\n\
         Dockerfile:4:13: {host}/team/app:1 -> {host}/team/app:1@{one}\n\
         stderr:\n\
         warning: deploy.yaml:4:12: `{{{{ x }}}}` is left as it is: a template fills it in\n"
    );
    assert_eq!(said, expected);
    let pinned = manifest.replace("app:1", &format!("app:1@{one}"));
    assert_eq!(read("deploy.yaml"), pinned);
    let again = environment.run(&[&files[..], &["--check", "--format", "json"]].concat());
    assert!(
        again.contains("exit 0\n") && again.contains("\"changes\": []"),
        "{again}"
    );

    // The tag moves: only who asks for it is told.
    let moved = registry.seed("team/app", "1", &testkit::image().env("V=2").build());
    let said = environment.run(&[&files[..], &["--check"]].concat());
    assert!(said.starts_with("exit 0\n"), "{said}");
    let said = environment.run(&[&files[..], &["--update"]].concat());
    assert!(
        said.contains(&format!("app:1@{one} -> {host}/team/app:1@{moved}")),
        "{said}"
    );
    assert_eq!(
        read("deploy.yaml"),
        pinned.replace(&one, &moved.to_string())
    );
}

#[test]
fn nothing_is_written_when_one_name_is_not_found() {
    let (environment, registry, ..) = prepared();
    let host = registry.host();
    environment.write("a.yaml", &format!("image: {host}/team/app:1\n"));
    environment.write("b.yaml", &format!("image: {host}/team/none:1\n"));
    let said = environment.run(&["pin", "a.yaml", "b.yaml"]);
    assert!(said.contains("exit 1\n"), "{said}");
    assert!(
        said.contains(&format!(
            "b.yaml:1:8: {host}/team/none:1 could not be looked up"
        )),
        "{said}"
    );
    let text = std::fs::read_to_string(environment.work().join("a.yaml")).expect("a file");
    assert_eq!(text, format!("image: {host}/team/app:1\n"));
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let environment = Environment::new();
    environment.write("main.go", "FROM x");
    let said = environment.run(&["pin", "main.go"]);
    assert!(
        said.contains("exit 2\n") && said.contains("neither YAML nor a Dockerfile"),
        "{said}"
    );
}
