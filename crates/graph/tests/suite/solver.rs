//! The solver: what it runs for given caches, and what it never does whatever happens.

use std::collections::HashSet;

use dockerfile::Span;
use graph::{
    Action, BuildGraph, ContextName, CopySource, CopyStep, FileSource, ImageNumber, KeyKind,
    Network, Origin, RunSecurity, RunStep, Solver, SolverOptions, Step, StepId, StepKind,
    StepState, TargetImage, Unpack,
};
use oci::{Digest, ImageConfig, Reference};
use proptest::prelude::*;

use crate::machine::{Machine, Tree};
use crate::support;

const DOCKERFILE: &str = "\
FROM alpine AS one
COPY a ./
RUN stable one
FROM alpine AS two
RUN two
FROM alpine
COPY --from=one /a /
COPY --from=two /b /
RUN last
";

fn graph(text: &str) -> BuildGraph {
    let look_up = |reference: &graph::ImageName, _: &oci::Platform| {
        support::image(reference, ImageConfig::default(), "alpine")
    };
    support::lowered(text, &support::request(), look_up)
        .expect("a graph")
        .0
        .graph
}

/// Builds and says how each step ended.
fn check(machine: &mut Machine, text: &str, expected: &str) {
    let graph = graph(text);
    let solver = machine.build(&graph);
    let states = graph.ids().map(|id| {
        let state = match solver.state(id) {
            StepState::Ran => "ran",
            StepState::Cached(KeyKind::Definition) => "hit",
            StepState::Cached(KeyKind::Content) => "same-content",
            StepState::NotNeeded => "-",
            other => panic!("step {id} ended as {other:?}"),
        };
        match solver.repeats(id) {
            Some(first) => format!("{state}={first}"),
            None => state.to_owned(),
        }
    });
    let states: Vec<String> = states.collect();
    assert_eq!(states.join(" "), expected, "{text}");
}

#[test]
fn what_runs() {
    // Steps: FROM COPY RUN, FROM RUN, FROM COPY COPY RUN. The bases are one.
    let mut machine = Machine::default();
    machine.context.insert("a".to_owned(), "1".to_owned());
    check(
        &mut machine,
        DOCKERFILE,
        "ran ran ran ran=#0 ran ran=#0 ran ran ran",
    );
    assert_eq!(machine.probes, 12, "each of six steps by both of its keys");

    check(&mut machine, DOCKERFILE, "- - - -=#0 - -=#0 - - hit");
    assert_eq!(
        machine.probes, 1,
        "a build of what is there is one question"
    );

    // Nothing below the first miss is looked at; the other stage is not touched.
    let edited = DOCKERFILE.replace("RUN last", "RUN other");
    check(&mut machine, &edited, "- - - -=#0 - -=#0 - hit ran");

    // The context changed, the compiler's output did not: the ripple stops there.
    machine.context.insert("a".to_owned(), "2".to_owned());
    check(
        &mut machine,
        DOCKERFILE,
        "ran ran ran ran=#0 hit ran=#0 same-content same-content same-content",
    );

    // And is remembered under the keys of the new context.
    check(&mut machine, DOCKERFILE, "- - - -=#0 - -=#0 - - hit");

    machine.options.no_cache = true;
    check(
        &mut machine,
        DOCKERFILE,
        "ran ran ran ran=#0 ran ran=#0 ran ran ran",
    );
    assert_eq!(machine.probes, 0);
}

#[test]
fn equal_stages_are_built_once() {
    let text = "FROM alpine AS a\nRUN x\nFROM alpine AS b\nRUN x\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n";
    check(
        &mut Machine::default(),
        text,
        "ran ran ran=#0 ran=#1 ran ran ran",
    );
}

#[test]
fn independent_stages_come_out_together() {
    let graph = graph(
        "FROM alpine AS a\nRUN a\nFROM alpine AS b\nRUN b\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n",
    );
    let mut solver: Solver<Tree> = Solver::new(
        &graph,
        SolverOptions {
            no_cache: true,
            salt: String::new(),
        },
    );
    let tree = || Tree(Digest::of(b"x"));
    let run = |actions: Vec<Action>| -> Vec<u32> {
        let steps = actions.into_iter().map(|action| match action {
            Action::Run { step, .. } => step.0,
            other => panic!("{other:?}"),
        });
        let mut steps: Vec<u32> = steps.collect();
        steps.sort_unstable();
        steps
    };
    assert_eq!(run(solver.actions()), [0, 4], "both bases");
    solver.on_ran(StepId(0), tree());
    assert_eq!(run(solver.actions()), [1, 3], "both RUNs");
    solver.on_failed(StepId(1));
    solver.on_ran(StepId(3), tree());
    solver.on_ran(StepId(4), tree());
    assert_eq!(solver.actions(), [], "a failure ends it");
    assert_eq!(solver.failed(), Some(StepId(1)));
    assert_eq!(solver.state(StepId(1)), StepState::Failed);
    assert_eq!(
        solver.state(StepId(3)),
        StepState::Ran,
        "what was under way may end well"
    );
    assert!(!solver.is_done());
}

#[test]
fn a_long_file_needs_no_deep_stack() {
    let graph = graph(&format!("FROM alpine\n{}", "RUN x\n".repeat(20_000)));
    for no_cache in [true, false] {
        let mut machine = Machine::default();
        machine.options.no_cache = no_cache;
        assert!(machine.build(&graph).is_done());
    }
}

/// A step to be, with numbers that are cut down to what exists.
#[derive(Debug, Clone)]
enum Draft {
    Base(u8),
    Run(usize, u8),
    Context(usize, u8),
    From(usize, Vec<usize>),
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let draft = prop_oneof![
        1 => any::<u8>().prop_map(|n| Draft::Base(n % 3)),
        3 => (any::<usize>(), any::<u8>()).prop_map(|(parent, n)| Draft::Run(parent, n % 4)),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(parent, n)| Draft::Context(parent, n % 3)),
        2 => (any::<usize>(), prop::collection::vec(any::<usize>(), 1..3))
            .prop_map(|(parent, from)| Draft::From(parent, from)),
    ];
    prop::collection::vec(draft, 1..30)
}

fn random_graph(drafts: &[Draft]) -> BuildGraph {
    let mut steps: Vec<Step> = Vec::new();
    for draft in drafts {
        let earlier = |n: usize| StepId((n % steps.len()) as u32);
        let (kind, parent) = match draft {
            Draft::Base(n) => (base(*n), None),
            // The first step has nothing to stand on.
            _ if steps.is_empty() => (StepKind::Scratch, None),
            Draft::Run(parent, n) => (run(*n), Some(earlier(*parent))),
            Draft::Context(parent, n) => {
                let source = CopySource::Files {
                    from: FileSource::Context(ContextName::Main(ImageNumber::default())),
                    pattern: n.to_string(),
                    pivot: 0,
                    span: Span::default(),
                };
                (copy(vec![source]), Some(earlier(*parent)))
            }
            Draft::From(parent, from) => {
                let sources = from.iter().map(|step| CopySource::Files {
                    from: FileSource::Step(earlier(*step)),
                    pattern: String::new(),
                    pivot: 0,
                    span: Span::default(),
                });
                (copy(sources.collect()), Some(earlier(*parent)))
            }
        };
        steps.push(Step {
            kind,
            parent,
            span: Span::default(),
            origin: Origin::Dockerfile,
            title: String::new(),
            stage: String::new(),
            image: ImageNumber::default(),
            ignores_cache: false,
        });
    }
    let target = TargetImage {
        image: ImageNumber::default(),
        step: StepId(steps.len() as u32 - 1),
        span: Span::default(),
        config: ImageConfig::default(),
        history: Vec::new(),
    };
    BuildGraph::new(steps, vec![target])
}

fn base(number: u8) -> StepKind {
    let reference: Reference = "base".parse().expect("a reference");
    let reference = graph::ImageName::from(reference);
    StepKind::Base(Box::new(support::image(
        &reference,
        ImageConfig::default(),
        &number.to_string(),
    )))
}

fn run(number: u8) -> StepKind {
    StepKind::Run(Box::new(RunStep {
        argv: vec![number.to_string()],
        env: Vec::new(),
        hidden_env: Vec::new(),
        cwd: "/".to_owned(),
        user: String::new(),
        network: Network::Default,
        extra_hosts: Vec::new(),
        files: Vec::new(),
        platform: support::platform("linux/amd64"),
        mounts: Vec::new(),
        security: RunSecurity::Sandbox,
        shm_bytes: None,
        ulimits: Vec::new(),
        cgroup_parent: None,
        hostname: None,
        command_shown: String::new(),
    }))
}

fn copy(sources: Vec<CopySource>) -> StepKind {
    StepKind::Copy(CopyStep {
        sources,
        destination: "/".to_owned(),
        destination_is_directory: true,
        chown: None,
        chmod: None,
        unpack: Unpack::Nothing,
        parents: false,
        excludes: Vec::new(),
    })
}

/// All that the target stands on, by the graph alone.
fn cone(graph: &BuildGraph) -> HashSet<StepId> {
    let mut cone = HashSet::from([graph.targets[0].step]);
    for id in graph.ids().rev() {
        if cone.contains(&id) {
            cone.extend(graph.step(id).inputs());
        }
    }
    cone
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Plays engine in every order: answers come late and mixed up, probes hit at random, one step
    /// may fail.
    #[test]
    fn a_solver_keeps_its_word(
        drafts in drafts(),
        hits in prop::collection::vec(any::<(bool, bool)>(), 30),
        order in prop::collection::vec(any::<usize>(), 200),
        fails in prop::option::weighted(0.2, 0usize..30),
        no_cache in prop::bool::weighted(0.2),
    ) {
        let graph = random_graph(&drafts);
        let needed = cone(&graph);
        let options = SolverOptions { no_cache, salt: String::new() };
        let mut solver: Solver<Tree> = Solver::new(&graph, options);
        let mut order = order.into_iter().cycle();
        let mut under_way = Vec::new();
        let (mut ran, mut probed, mut fingerprinted) =
            (HashSet::new(), HashSet::new(), HashSet::new());
        let mut missed: HashSet<StepId> = HashSet::new();
        let mut context_pending = 0;
        loop {
            let actions = solver.actions();
            prop_assert!(solver.failed().is_none() || actions.is_empty(), "acts after a failure");
            for action in actions {
                match &action {
                    Action::FingerprintOutside(step) => {
                        prop_assert!(fingerprinted.insert((*step, true)), "asks twice");
                        prop_assert!(needed.contains(step), "not needed");
                        context_pending += 1;
                    }
                    Action::FingerprintSources(step) => {
                        prop_assert!(fingerprinted.insert((*step, false)), "asks twice");
                        for input in graph.step(*step).inputs() {
                            prop_assert!(solver.output_of(input).is_some(), "input missing");
                        }
                    }
                    Action::Probe { step, kind, key } => {
                        prop_assert_eq!(context_pending, 0, "probes before all keys are known");
                        prop_assert!(!no_cache, "asks the cache");
                        prop_assert!(probed.insert((*step, *kind)), "asks twice");
                        prop_assert_eq!(solver.key(*step, *kind), Some(key));
                    }
                    Action::Run { step, definition, content } => {
                        prop_assert!(ran.insert(*step), "runs twice");
                        prop_assert!(solver.output_of(*step).is_none(), "runs what is there");
                        for input in graph.step(*step).inputs() {
                            prop_assert!(solver.output_of(input).is_some(), "input missing");
                        }
                        prop_assert_eq!(solver.key(*step, KeyKind::Definition), Some(definition));
                        prop_assert_eq!(solver.key(*step, KeyKind::Content), content.as_ref());
                        prop_assert_eq!(content.is_none(), graph.step(*step).parent.is_none());
                    }
                }
                let (Action::FingerprintOutside(step)
                | Action::FingerprintSources(step)
                | Action::Probe { step, .. }
                | Action::Run { step, .. }) = &action;
                // Demanded: the target, or an input of a step whose definition missed. A twin may
                // have been demanded in its place.
                let demanded = matches!(action, Action::FingerprintOutside(_))
                    || std::iter::once(graph.targets[0].step)
                        .chain(missed.iter().flat_map(|user| graph.step(*user).inputs()))
                        .any(|input| solver.repeats(input).unwrap_or(input) == *step);
                prop_assert!(no_cache || demanded, "step {} was not asked for", step);
                prop_assert!(solver.repeats(*step).is_none(), "acts on a repetition");
                under_way.push(action);
            }
            if under_way.is_empty() {
                break;
            }
            let next = under_way.swap_remove(order.next().expect("endless") % under_way.len());
            let fingerprint = |step: StepId| Digest::of(step.to_string().as_bytes());
            match next {
                Action::FingerprintOutside(step) => {
                    context_pending -= 1;
                    // Copies of the same pattern have the same files.
                    let (_, pattern) = graph.step(step).file_sources().next().expect("a source");
                    solver.on_fingerprint(step, Digest::of(pattern.as_bytes()));
                }
                Action::FingerprintSources(step) => solver.on_fingerprint(step, fingerprint(step)),
                Action::Probe { step, kind, .. } => {
                    let (definition, content) = hits[step.index()];
                    let hit = match kind { KeyKind::Definition => definition, KeyKind::Content => content };
                    if !hit && kind == KeyKind::Definition {
                        missed.insert(step);
                    }
                    solver.on_probed(step, kind, hit.then(|| Tree(fingerprint(step))));
                }
                Action::Run { step, .. } => {
                    if fails == Some(step.index()) {
                        solver.on_failed(step);
                    } else {
                        solver.on_ran(step, Tree(fingerprint(step)));
                    }
                }
            }
        }
        prop_assert!(solver.is_done() != solver.failed().is_some(), "it neither ends well nor badly");
        for id in graph.ids() {
            if !needed.contains(&id) {
                prop_assert_eq!(solver.state(id), StepState::NotNeeded);
            }
        }
        let target = solver.repeats(graph.targets[0].step).unwrap_or(graph.targets[0].step);
        let is_base = graph.step(target).parent.is_none();
        if !no_cache && !is_base && hits[target.index()].0 {
            prop_assert!(ran.is_empty(), "runs although the target is there");
            prop_assert_eq!(probed.len(), 1);
        }
    }
}
