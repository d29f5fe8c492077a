//! Keys: what must miss after an edit, and what must not.

use std::collections::HashSet;

use dockerfile::Span;
use graph::{
    BuildGraph, CacheKey, ExtraHost, ImageNumber, InlineFile, KeyKind, Network, Origin, Request,
    RunSecurity, RunStep, Solver, SolverOptions, Step, StepId, StepKind, TargetImage, Variable,
};
use oci::ImageConfig;
use proptest::prelude::*;

use crate::machine::{Machine, Tree};
use crate::support;

const DOCKERFILE: &str = "\
ARG BASE=alpine
FROM $BASE AS build
ARG VERSION
ENV LEVEL=1
WORKDIR /src
COPY main.c lib.c ./
RUN make
FROM alpine
# a comment
LABEL who=me
HEALTHCHECK CMD true
COPY --from=build /src/app /bin/app
COPY --chown=1:1 config /etc/
COPY <<greeting /etc/
hello
greeting
RUN --network=none [\"/bin/app\", \"--check\"]
";

/// Everything that decides keys.
#[derive(Clone)]
struct Input {
    text: String,
    request: Request,
    context: Vec<(&'static str, &'static str)>,
    layers: &'static str,
    config: ImageConfig,
    salt: &'static str,
}

impl Input {
    fn new() -> Self {
        Self {
            text: DOCKERFILE.to_owned(),
            request: support::request(),
            context: vec![("main.c", "1"), ("lib.c", "1"), ("config", "1")],
            layers: "alpine",
            config: ImageConfig::default(),
            salt: "",
        }
    }

    /// The definition keys of all steps, with the texts of their lines.
    fn keys(&self) -> Vec<(CacheKey, String)> {
        let look_up = |reference: &graph::ImageName, _: &oci::Platform| {
            support::image(reference, self.config.clone(), self.layers)
        };
        let (lowered, _) = support::lowered(&self.text, &self.request, look_up).expect("a graph");
        let mut machine = Machine::default();
        machine.options.salt = self.salt.to_owned();
        for (name, content) in &self.context {
            machine
                .context
                .insert((*name).to_owned(), (*content).to_owned());
        }
        let solver = machine.build(&lowered.graph);
        let graph = &lowered.graph;
        let named = graph.ids().map(|id| {
            let key = solver.key(id, KeyKind::Definition).expect("all are known");
            let title = &graph.step(id).title;
            let (_, line) = title.split_once("] ").expect("a title");
            let line = line.split("@sha256").next().unwrap_or(line);
            (key.clone(), line.to_owned())
        });
        named.collect()
    }
}

/// Makes an edit and says which lines have a key that was not there before.
fn check(what: &str, edit: impl FnOnce(&mut Input), expected: &[&str]) {
    let before: HashSet<CacheKey> = Input::new()
        .keys()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    let mut input = Input::new();
    edit(&mut input);
    let missed: Vec<String> = input
        .keys()
        .into_iter()
        .filter(|(key, _)| !before.contains(key))
        .map(|(_, line)| line)
        .collect();
    assert_eq!(missed, expected, "{what}");
}

/// Replaces a piece of the text that must be there.
fn replace(input: &mut Input, from: &str, to: &str) {
    assert!(input.text.contains(from), "{from}");
    input.text = input.text.replace(from, to);
}

const WORKDIR: &str = "WORKDIR /src";
const SOURCES: &str = "COPY main.c lib.c ./";
const MAKE: &str = "RUN make";
const APP: &str = "COPY --from=build /src/app /bin/app";
const CONFIG: &str = "COPY --chown=1:1 config /etc/";
const GREETING: &str = "COPY <<greeting /etc/";
const CHECK: &str = "RUN --network=none [\"/bin/app\", \"--check\"]";
const FROM: &str = "FROM docker.io/library/alpine:latest";

/// Replaces a piece of the text.
fn edit(what: &str, from: &str, to: &str, expected: &[&str]) {
    check(what, |input| replace(input, from, to), expected);
}

/// Rows: R19, A10
#[test]
fn edits_that_change_no_key() {
    edit("nothing", "make", "make", &[]);
    edit("comment", "# a comment", "# another\n\n", &[]);
    edit("case of a keyword", "RUN make", "run make", &[]);
    edit("name of a stage", "build", "compile", &[]);
    edit("label", "who=me", "who=you", &[]);
    edit("health check", "CMD true", "CMD false", &[]);
    edit("unset argument", "ARG VERSION", "ARG VERSION OTHER", &[]);
    edit("continuation", "main.c lib.c", "main.c \\\n  lib.c", &[]);
}

/// Rows: A10, H12, R18
#[test]
fn edits_that_change_keys() {
    let below = |first: &'static str| vec![first, APP, CONFIG, GREETING, CHECK];
    edit("variable", "LEVEL=1", "LEVEL=2", &below(MAKE));
    edit("default", "ARG VERSION", "ARG VERSION=1", &below(MAKE));
    edit(
        "command",
        "RUN make",
        "RUN make all",
        &below("RUN make all"),
    );
    edit("user", "RUN make", "USER 7\nRUN make", &below(MAKE));
    let shell = "SHELL [\"/bin/bash\", \"-c\"]\nWORKDIR";
    edit("shell", "WORKDIR", shell, &below(MAKE));
    let all = ["WORKDIR /s", SOURCES].into_iter().chain(below(MAKE));
    edit(
        "directory",
        "WORKDIR /src",
        "WORKDIR /s",
        &all.collect::<Vec<_>>(),
    );
    let order = ["COPY lib.c main.c ./"].into_iter().chain(below(MAKE));
    edit(
        "order of sources",
        "main.c lib.c",
        "lib.c main.c",
        &order.collect::<Vec<_>>(),
    );

    let copies = |line: &'static str| vec![line, GREETING, CHECK];
    let line = "COPY --chown=1:2 config /etc/";
    edit("group", CONFIG, line, &copies(line));
    let line = "COPY --chown=1:a config /etc/";
    edit("group by name", CONFIG, line, &copies(line));
    let line = "COPY --chmod=600 --chown=1:1 config /etc/";
    edit("mode", CONFIG, line, &copies(line));
    let line = "COPY --chown=1:1 config /etc";
    edit("trailing slash", CONFIG, line, &copies(line));
    let line = "ADD --chown=1:1 config /etc/";
    edit("ADD instead of COPY", CONFIG, line, &copies(line));
    let line = "COPY --from=build /src/a.out /bin/app";
    edit(
        "source in a stage",
        APP,
        line,
        &[line, CONFIG, GREETING, CHECK],
    );
    edit("here-document", "hello", "good-bye", &[GREETING, CHECK]);
    let line = "RUN [\"/bin/app\", \"--check\"]";
    edit("network", CHECK, line, &[line]);
    let line = "RUN --network=none [\"/bin/app --check\"]";
    edit("arguments put together", CHECK, line, &[line]);
}

#[test]
fn edits_around_the_text() {
    let argument = |name: &'static str| {
        move |i: &mut Input| {
            i.request.build_args.insert(name.to_owned(), "x".to_owned());
        }
    };
    let below_make: &[&str] = &[MAKE, APP, CONFIG, GREETING, CHECK];
    let everything: &[&str] = &[
        FROM, WORKDIR, SOURCES, MAKE, FROM, APP, CONFIG, GREETING, CHECK,
    ];
    check("declared argument", argument("VERSION"), below_make);
    check("undeclared argument", argument("OTHER"), &[]);
    check("proxy", argument("http_proxy"), &[]);
    check(
        "context of the build stage",
        |i| i.context[1].1 = "2",
        &[SOURCES, MAKE, APP, CONFIG, GREETING, CHECK],
    );
    check(
        "context of the last stage",
        |i| i.context[2].1 = "2",
        &[CONFIG, GREETING, CHECK],
    );
    check(
        "layers of the base",
        |i| i.layers = "alpine more",
        everything,
    );
    check("salt", |i| i.salt = "zstd", everything);
    check(
        "labels of the request",
        |i| {
            i.request.labels.insert("a".to_owned(), "b".to_owned());
        },
        &[],
    );
    check(
        "created time of the base",
        |i| i.config.created = Some("1970-01-01T00:00:00Z".to_owned()),
        &[],
    );
    check(
        "labels of the base",
        |i| {
            i.config
                .config
                .labels
                .insert("a".to_owned(), "b".to_owned());
        },
        &[],
    );
    // COPY's destination is expanded with it and did not change.
    check(
        "variable of the base",
        |i| i.config.config.env = vec!["A=b".to_owned()],
        &[MAKE, APP, CONFIG, GREETING, CHECK],
    );
    check(
        "user of the base",
        |i| i.config.config.user = "app".to_owned(),
        &[WORKDIR, SOURCES, MAKE, APP, CONFIG, GREETING, CHECK],
    );
    // The step that names its network itself misses because of what is below it.
    check("network", |i| i.request.network = Network::Host, below_make);
    check(
        "platform",
        |i| {
            i.request.platform = support::platform("linux/arm64");
            i.config.os = "linux".to_owned();
            i.config.architecture = "arm64".to_owned();
        },
        below_make,
    );
    let host = |name: &'static str, address: &'static str| {
        move |i: &mut Input| {
            i.request.extra_hosts.push(ExtraHost {
                name: name.to_owned(),
                address: address.to_owned(),
            });
        }
    };
    check("extra host", host("db", "10.0.0.1"), below_make);
    let with_host = |address: &'static str| {
        let mut input = Input::new();
        host("db", address)(&mut input);
        input.keys()
    };
    assert_eq!(
        with_host("10.0.0.1"),
        with_host("10.0.0.2"),
        "the address of an extra host"
    );
}

/// A key must say what it was made from, once each, and be made from just that.
#[test]
fn a_key_can_be_explained() {
    let graph = |text: &str| {
        let look_up = |reference: &graph::ImageName, _: &oci::Platform| {
            support::image(reference, ImageConfig::default(), "alpine")
        };
        support::lowered(text, &support::request(), look_up)
            .expect("a graph")
            .0
            .graph
    };
    let explained = |text: &str| {
        let graph = graph(text);
        let solver = Machine::default().build(&graph);
        let parts = solver
            .parts(graph.targets[0].step, KeyKind::Definition)
            .expect("known");
        let lines: Vec<String> = parts
            .iter()
            .map(|part| format!("{} = {}", part.name, part.value))
            .collect();
        let mut names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), lines.len(), "a name stands for two things");
        assert_eq!(
            Some(&parts.key()),
            solver.key(graph.targets[0].step, KeyKind::Definition)
        );
        lines
    };
    let before = explained("FROM alpine\nENV A=1\nRUN make");
    let after = explained("FROM alpine\nENV A=2\nRUN make");
    let differing: Vec<(&String, &String)> =
        before.iter().zip(&after).filter(|(a, b)| a != b).collect();
    assert_eq!(
        differing,
        [(&"env.A = 1".to_owned(), &"env.A = 2".to_owned())]
    );
    let long = "x".repeat(300);
    let lines = explained(&format!("FROM alpine\nENV A={long}\nRUN make"));
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("env.A = sha256:") && line.ends_with("(300 bytes)"))
    );
}

/// The parts of a RUN that belong in its key.
type Command = (
    Vec<String>,
    Vec<(String, String)>,
    String,
    String,
    Vec<(String, String)>,
);

fn commands() -> impl Strategy<Value = Command> {
    let word =
        || prop::sample::select(vec!["", "a", "b", "ab", "env.a", "0"]).prop_map(str::to_owned);
    let words = || prop::collection::vec(word(), 0..3);
    let pairs = || prop::collection::vec((word(), word()), 0..2);
    (words(), pairs(), word(), word(), pairs())
}

fn command_key((argv, env, cwd, user, files): &Command) -> CacheKey {
    let step = |kind, parent| Step {
        kind,
        parent,
        span: Span::default(),
        origin: Origin::Dockerfile,
        title: String::new(),
        stage: String::new(),
        image: ImageNumber::default(),
        ignores_cache: false,
    };
    let run = RunStep {
        argv: argv.clone(),
        env: env
            .iter()
            .map(|(name, value)| Variable {
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
        hidden_env: Vec::new(),
        cwd: cwd.clone(),
        user: user.clone(),
        network: Network::Default,
        extra_hosts: Vec::new(),
        files: files
            .iter()
            .map(|(name, content)| InlineFile {
                name: name.clone(),
                content: content.clone(),
            })
            .collect(),
        platform: support::platform("linux/amd64"),
        mounts: Vec::new(),
        security: RunSecurity::Sandbox,
        shm_bytes: None,
        ulimits: Vec::new(),
        cgroup_parent: None,
        hostname: None,
        command_shown: String::new(),
    };
    let target = TargetImage {
        image: ImageNumber::default(),
        step: StepId(1),
        span: Span::default(),
        config: ImageConfig::default(),
        history: Vec::new(),
    };
    let steps = vec![
        step(StepKind::Scratch, None),
        step(StepKind::Run(Box::new(run)), Some(StepId(0))),
    ];
    let solver: Solver<Tree> = Solver::new(
        &BuildGraph::new(steps, vec![target]),
        SolverOptions::default(),
    );
    solver
        .key(StepId(1), KeyKind::Definition)
        .expect("nothing to wait for")
        .clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Words that could be put together in two ways are what keys collide over.
    #[test]
    fn different_commands_have_different_keys(one in commands(), other in commands()) {
        prop_assert_eq!(one == other, command_key(&one) == command_key(&other));
    }
}
