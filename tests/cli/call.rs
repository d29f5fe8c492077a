//! `kiln build --call` and `--check`: answers about a Dockerfile, with nothing being built.

use super::{Environment, check, check_in};

const DOCKERFILE: &str = "\
# VERSION of the base
ARG VERSION=1
ARG REGISTRY=registry.invalid
ARG BASE=$REGISTRY/x:$VERSION
ARG OTHER=unused

# tools for building
FROM --platform=$BUILDPLATFORM scratch AS tools
# FLAGS for the compiler
ARG FLAGS=\"-O2 -g\"
RUN --mount=type=secret,id=token,required=true --mount=type=cache,target=/c make

FROM $BASE
RUN --mount=type=ssh x

# app is what runs
FROM scratch AS app
ARG VERSION
ARG TARGETARCH
ARG MODE
COPY --from=tools /a /a
";

fn environment() -> Environment {
    let environment = Environment::new();
    environment.write("Dockerfile", DOCKERFILE);
    environment
}

#[test]
fn targets_are_the_stages() {
    check_in(
        &environment(),
        &["build", "--call", "targets", "."],
        "exit 0\n\
         stdout:\n\
         TARGET          DESCRIPTION\n\
         tools           for building\n\
         app (default)   is what runs\n",
    );
    let output = environment()
        .kiln(&["build", "--call=targets,format=json", "."])
        .output()
        .expect("kiln starts");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        answer["targets"],
        serde_json::json!([
            {
                "name": "tools",
                "description": "for building",
                "base": "scratch",
                "platform": "$BUILDPLATFORM",
                "location": { "ranges": [{ "start": { "line": 8 }, "end": { "line": 8 } }] },
            },
            {
                "base": "$BASE",
                "location": { "ranges": [{ "start": { "line": 13 }, "end": { "line": 13 } }] },
            },
            {
                "name": "app",
                "default": true,
                "description": "is what runs",
                "base": "scratch",
                "location": { "ranges": [{ "start": { "line": 17 }, "end": { "line": 17 } }] },
            },
        ])
    );
}

#[test]
fn an_outline_has_what_the_target_takes() {
    check_in(
        &environment(),
        &["build", "--call=outline", "--build-arg", "MODE=fast", "."],
        "exit 0\n\
         stdout:\n\
         TARGET:      app\n\
         DESCRIPTION: is what runs\n\
         \n\
         BUILD ARG   VALUE    DESCRIPTION\n\
         VERSION     1        of the base\n\
         FLAGS       -O2 -g   for the compiler\n\
         MODE        fast\n\
         \n\
         SECRET   REQUIRED\n\
         token    true\n",
    );
    let output = environment()
        .kiln(&[
            "build",
            "--call=outline,format=json",
            "--target",
            "tools",
            ".",
        ])
        .output()
        .expect("kiln starts");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["name"], "tools");
    let line = |line: u32| serde_json::json!({ "ranges": [{ "start": { "line": line }, "end": { "line": line } }] });
    assert_eq!(
        answer["args"],
        serde_json::json!([{
            "name": "FLAGS", "value": "-O2 -g", "description": "for the compiler",
            "location": line(10),
        }])
    );
    assert_eq!(
        answer["secrets"],
        serde_json::json!([{ "name": "token", "required": true, "location": line(11) }])
    );
    assert_eq!(
        answer["cache"],
        serde_json::json!([{ "ID": "/c", "location": line(11) }])
    );
    assert!(answer.get("ssh").is_none());
}

#[test]
fn a_check_ends_with_1_when_a_rule_is_broken() {
    let environment = Environment::new();
    environment.write("Dockerfile", "FROM scratch as a\nCOPY Dockerfile /\n");
    let found = "warning[FromAsCasing]: `as` is written otherwise than `FROM`\n \
         --> Dockerfile:1:14\n  \
           |\n\
         1 | FROM scratch as a\n  \
           |              ^^ another case\n  \
           |\n  \
           = hint: write `AS`\n\n";
    check_in(
        &environment,
        &["build", "--check", "."],
        &format!("exit 1\nstdout:\n{found}"),
    );
    check_in(
        &environment,
        &["build", "--call=check,ignorestatus", "."],
        &format!("exit 0\nstdout:\n{found}"),
    );
    let output = environment
        .kiln(&["build", "--call=check,format=json", "."])
        .output()
        .expect("kiln starts");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["warnings"][0]["ruleName"], "FromAsCasing");
    assert_eq!(
        answer["warnings"][0]["location"]["ranges"][0]["start"]["line"],
        1
    );
    environment.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    check_in(
        &environment,
        &["build", "--check", "."],
        "exit 0\nstdout:\nDockerfile: no findings\n",
    );
}

#[test]
fn methods_that_there_are_not_are_errors() {
    check(
        &["build", "--call=outlin", "."],
        "exit 2\nstderr:\n\
         error: --call outlin: there is no such method: known are build, check, outline and targets\n\
         hint: did you mean `outline`?\n",
    );
    check(
        &["build", "--call=check,format=yaml", "."],
        "exit 2\nstderr:\n\
         error: --call check,format=yaml: `format=yaml` is not understood: expected format=json, \
         format=text or ignorestatus\n",
    );
    check(
        &["build", "--check", "--call=targets", "."],
        "exit 2\nstderr:\n\
         error: --check and --call ask for different things: give one of them\n",
    );
}
