//! What a build says about a Dockerfile that it builds all the same.

use super::Environment;

/// The lines on stderr that warn, of a build that ends well.
fn check(dockerfile: &str, arguments: &[&str], expected: &[&str]) {
    let environment = Environment::new();
    environment.write("Dockerfile", dockerfile);
    environment.write(".dockerignore", "ignored\n");
    let arguments = [&["build", "--progress", "plain"], arguments, &["."]].concat();
    let output = environment.kiln(&arguments).output().expect("kiln starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let warnings: Vec<&str> = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("warning: "))
        .filter(|line| !line.starts_with("RUN will not work here"))
        .collect();
    assert_eq!(warnings, expected, "{stderr}");
    assert_eq!(output.status.code(), Some(0), "{stderr}");
}

/// Rows: V3, A12, F5, F9, F10, P8, I5
#[test]
fn findings_have_a_place_a_rule_and_advice() {
    check(
        "FROM scratch AS a\nENV x $y\nFROM scratch AS context\nARG NAME=n\nCOPY \\\n\n  \
         Dockerfile /$NMAE/\nEXPOSE 80/TCP\n",
        &["--build-arg", "NAEM=x"],
        &[
            "Dockerfile:3:1: no ARG declares the build argument `NAEM`; did you mean `NAME`?",
            "Dockerfile:3:17: ReservedStageName: `context` is a reserved name; choose another name",
            "Dockerfile:6:1: NoEmptyContinuation: an empty line inside a continued instruction; \
             remove the line, or the escape character before it",
            "Dockerfile:7:14: UndefinedVar: `NMAE` is not set here; did you mean `NAME`?",
            "Dockerfile:8:8: ExposeProtoCasing: the protocol of `80/TCP` has capitals; write `80/tcp`",
        ],
    );
}

/// Rows: P2
#[test]
fn other_frontends_are_told_about() {
    let instead = "kiln runs no frontend images: it reads this file as `docker/dockerfile:1` \
                   would, and says so where it cannot";
    check(
        "# syntax=mirror.invalid/frontend:2\nFROM scratch\nCOPY Dockerfile /\n",
        &[],
        &[&format!(
            "Dockerfile:1:10: this file is written for the frontend `mirror.invalid/frontend:2`; {instead}"
        )],
    );
    for known in [
        "docker/dockerfile:1",
        "docker/dockerfile:1.7-labs",
        "docker.io/docker/dockerfile:1.3",
    ] {
        let text = format!("# syntax = {known}\nFROM scratch\nCOPY Dockerfile /\n");
        let argument = format!("BUILDKIT_SYNTAX={known}");
        check(&text, &["--build-arg", &argument], &[]);
    }
    check(
        "FROM scratch\nCOPY Dockerfile /\n",
        &["--build-arg", "BUILDKIT_SYNTAX=other/frontend"],
        &[&format!(
            "BUILDKIT_SYNTAX asks for the frontend `other/frontend`: {instead}"
        )],
    );
}

#[test]
fn settings_choose_what_is_told() {
    let file = "FROM scratch as a\nMAINTAINER me\nCOPY Dockerfile /\n";
    let maintainer = "Dockerfile:3:1: MaintainerDeprecated: MAINTAINER is deprecated; write \
                      `LABEL org.opencontainers.image.authors=\"me\"`";
    check(&format!("# check=skip=all;error=true\n{file}"), &[], &[]);
    check(
        &format!("# check=skip=FromAsCasing\n{file}"),
        &[],
        &[maintainer],
    );
    check(
        &format!("# check=skip=FromAsCasin\n{}", file.replace("as a", "AS a")),
        &[],
        &[
            "Dockerfile:1:14: there is no check `FromAsCasin`; did you mean `FromAsCasing`?",
            maintainer,
        ],
    );
    check(
        &format!("# check=error=true\n{file}"),
        &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all,Nothing"],
        &[
            "BUILDKIT_DOCKERFILE_CHECK: there is no check `all`",
            "BUILDKIT_DOCKERFILE_CHECK: there is no check `Nothing`",
            "Dockerfile:2:14: FromAsCasing: `as` is written otherwise than `FROM`; write `AS`",
            maintainer,
        ],
    );
}

#[test]
fn programs_get_the_parts() {
    let environment = Environment::new();
    environment.write("Dockerfile", "FROM scratch as a\nCOPY Dockerfile /\n");
    let output = environment
        .kiln(&["build", "--progress", "json", "."])
        .output()
        .expect("kiln starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let warning = stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|line| line["event"] == "warning" && line["rule"] == "FromAsCasing")
        .unwrap_or_else(|| panic!("{stderr}"));
    assert_eq!(warning["file"], "Dockerfile");
    assert_eq!(warning["line"], 1);
    assert_eq!(warning["column"], 14);
    assert_eq!(warning["hint"], "write `AS`");
}
