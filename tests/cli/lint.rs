//! `kiln lint`: what it says, in which shape, and how it ends.

use super::{Environment, check_in};

/// A file that breaks two rules and names an image that nobody has.
const TWO: &str = "FROM registry.invalid/x:1 as build\nMAINTAINER me\n";

fn with(files: &[(&str, &str)]) -> Environment {
    let environment = Environment::new();
    for (name, text) in files {
        environment.write(name, text);
    }
    environment
}

#[test]
fn findings_are_shown_with_their_lines() {
    check_in(
        &with(&[("Dockerfile", TWO)]),
        &["lint"],
        "exit 0\n\
         stdout:\n\
         warning[FromAsCasing]: `as` is written otherwise than `FROM`\n \
         --> Dockerfile:1:27\n  \
           |\n\
         1 | FROM registry.invalid/x:1 as build\n  \
           |                           ^^ another case\n  \
           |\n  \
           = hint: write `AS`\n\n\
         warning[MaintainerDeprecated]: MAINTAINER is deprecated\n \
         --> Dockerfile:2:1\n  \
           |\n\
         2 | MAINTAINER me\n  \
           | ^^^^^^^^^^ deprecated\n  \
           |\n  \
           = hint: write `LABEL org.opencontainers.image.authors=\"me\"`\n\n\
         stderr:\n\
         2 findings\n",
    );
}

#[test]
fn what_counts_as_an_error_decides_the_end() {
    let errors = format!("# check=error=true\n{TWO}");
    let skipped = format!("# check=skip=all;error=true\n{TWO}");
    let files = [
        ("warn", TWO),
        ("error", errors.as_str()),
        ("skip", skipped.as_str()),
        ("broken", "FROM a\nRUNN b\n"),
        ("clean", "FROM a\nCMD [\"b\"]\n"),
    ];
    let environment = with(&files);
    let check = |arguments: &[&str], code: i32| {
        let arguments = [&["lint"], arguments].concat();
        let output = environment.kiln(&arguments).output().expect("kiln starts");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    };
    check(&["warn"], 0);
    check(&["clean"], 0);
    check(&["skip"], 0);
    check(&["error"], 1);
    check(&["--error", "warn"], 1);
    check(&["--error", "clean", "skip"], 0);
    check(&["warn", "error", "clean"], 1);
    check(&["broken"], 2);
    check(&["broken", "error"], 2);
    check(&["-f", "error"], 1);
    check(
        &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all", "error"],
        0,
    );
    check(
        &[
            "--build-arg",
            "BUILDKIT_DOCKERFILE_CHECK=error=true",
            "warn",
        ],
        1,
    );
    check(
        &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=nothing", "warn"],
        2,
    );
    check(&["--target", "nowhere", "warn"], 2);
    check(&["--format", "json", "broken"], 2);
    check(&["missing"], 2);
    check(&["."], 2);
    check(&[], 2);
    check(&["-", "-"], 2);
}

/// Rows: F10
#[test]
fn all_stages_are_checked_unless_one_is_named() {
    let environment = with(&[(
        "Dockerfile",
        "FROM scratch AS a\nENV x $y\nFROM scratch AS b\nWORKDIR c\n",
    )]);
    check_in(
        &environment,
        &["lint", "--format", "github"],
        "exit 0\n\
         stdout:\n\
         ::warning file=Dockerfile,line=2,endLine=2,col=5,endColumn=9,title=LegacyKeyValueFormat::ENV without `=`; write `ENV x=$y`\n\
         ::warning file=Dockerfile,line=2,endLine=2,col=7,endColumn=9,title=UndefinedVar::`y` is not set here; set it with ENV or ARG, or write `${y:-}` for nothing\n\
         ::warning file=Dockerfile,line=4,endLine=4,col=9,endColumn=10,title=WorkdirRelativePath::WORKDIR c is relative to what the base image says; write `WORKDIR /c`\n",
    );
    check_in(
        &environment,
        &["lint", "--format", "github", "--target", "b"],
        "exit 0\n\
         stdout:\n\
         ::warning file=Dockerfile,line=4,endLine=4,col=9,endColumn=10,title=WorkdirRelativePath::WORKDIR c is relative to what the base image says; write `WORKDIR /c`\n",
    );
}

/// Rows: R9, R10
#[test]
fn what_only_a_command_needs_is_not_asked_for() {
    let environment = with(&[(
        "Dockerfile",
        "FROM scratch\n\
         RUN --mount=type=secret,id=a,required --mount=type=ssh,required=true [\"x\"]\n\
         RUN --security=insecure [\"x\"]\n",
    )]);
    check_in(&environment, &["lint", "--format", "github"], "exit 0\n");
    check_in(
        &environment,
        &["build", "--check", "."],
        "exit 0\nstdout:\nDockerfile: no findings\n",
    );
}

/// Rows: V3
#[test]
fn what_an_image_or_an_argument_may_set_is_not_missed() {
    let environment = with(&[(
        "Dockerfile",
        "FROM image.example/app AS base\n\
         USER $APP_UID\n\
         WORKDIR $APP_HOME\n\
         EXPOSE $APP_PORT/tcp\n\
         STOPSIGNAL $APP_SIGNAL\n\
         ENV COPIED=${APP_NAME:?}\n\
         FROM base\n\
         COPY --chown=$APP_UID:$APP_GID a $APP_HOME/\n\
         RUN --mount=type=cache,target=$APP_CACHE x\n\
         FROM scratch\n\
         ARG OWNER\n\
         USER $OWNER\n",
    )]);
    check_in(&environment, &["lint", "--format", "github"], "exit 0\n");
    let environment = with(&[("Dockerfile", "FROM scratch\nUSER $OWNER\n")]);
    check_in(
        &environment,
        &["lint", "--format", "github"],
        "exit 2\n\
         stdout:\n\
         ::error file=Dockerfile,line=2,endLine=2,col=6,endColumn=12,title=Dockerfile::USER names nobody\n\
         ::warning file=Dockerfile,line=2,endLine=2,col=6,endColumn=12,title=UndefinedVar::`OWNER` is not set here; set it with ENV or ARG, or write `${OWNER:-}` for nothing\n",
    );
}

/// Rows: C30, D1
#[test]
fn the_ignore_file_beside_the_dockerfile_counts() {
    let ignored = "::warning file=a/Dockerfile,line=2,endLine=2,col=6,endColumn=10,\
                   title=CopyIgnoredFile::the ignore file leaves out `x/y`; line 1 of the ignore \
                   file, `x`, leaves it out\n";
    let dockerfile = "FROM scratch\nCOPY /x/y /z/\n";
    let found = |environment: &Environment, arguments: &[&str]| {
        let arguments = [&["lint", "--format", "github"], arguments].concat();
        let output = environment.kiln(&arguments).output().expect("kiln starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let environment = with(&[("a/Dockerfile", dockerfile), ("a/.dockerignore", "x\n")]);
    assert_eq!(found(&environment, &["a/Dockerfile"]), ignored);
    assert_eq!(found(&environment, &["a/Dockerfile", "--context", "."]), "");
    environment.write("a/Dockerfile.dockerignore", "y\n");
    assert_eq!(found(&environment, &["a/Dockerfile"]), "");
    environment.write("a/Dockerfile.dockerignore", "x\n!x/y\n");
    assert_eq!(found(&environment, &["a/Dockerfile"]), "");
}

#[test]
fn stdin_and_several_files() {
    use std::io::Write;
    use std::process::Stdio;

    let environment = with(&[("a", TWO)]);
    let mut child = environment
        .kiln(&["lint", "--format", "json", "a", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"from scratch\n").expect("kiln reads");
    drop(stdin);
    let output = child.wait_with_output().expect("an end");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        document["files"][0]["findings"][1]["rule"],
        "MaintainerDeprecated"
    );
    assert_eq!(document["files"][1]["file"], "stdin");
    assert_eq!(document["files"][1]["findings"], serde_json::json!([]));
}
