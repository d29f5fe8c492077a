//! Which of the steps that could run is to run first: the one with the longest
//! way to a target, by what its steps took when they last ran.
//!
//! Knows times and what stands on what; runs nothing. A wrong time costs a
//! little waiting and nothing else.

use std::collections::HashMap;
use std::time::Duration;

use graph::{BuildGraph, Step, StepId, StepKind};
use oci::{Digest, Hasher};
use store::Store;

/// What a RUN is expected to take that was never seen.
const UNKNOWN_RUN: Duration = Duration::from_secs(2);
/// The same of any other step.
const UNKNOWN_COPY: Duration = Duration::from_millis(200);
/// A difference that is none.
const NEARLY: Duration = Duration::from_millis(20);

/// How long a step took when it last ran, if it ever did.
pub(crate) fn last_time(store: &Store, step: &Step) -> Option<Duration> {
    let bytes = store.records().get(&name(step))?;
    let milliseconds = u64::from_le_bytes(bytes.try_into().ok()?);
    Some(Duration::from_millis(milliseconds))
}

/// Remembers how long a step took, if that is news.
pub(crate) fn remember_time(store: &Store, step: &Step, took: Duration) {
    let is_close = |known: Duration| known.abs_diff(took) <= known / 4 + NEARLY;
    if last_time(store, step).is_some_and(is_close) {
        return;
    }
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let name = name(step);
    store.records().put(&name, &milliseconds.to_le_bytes());
}

/// What a step is called across builds: its stage and its text, whatever number
/// it has and whatever it is given to work on.
fn name(step: &Step) -> Digest {
    let text = match step.title.split_once("] ") {
        Some((_, text)) => text,
        None => &step.title,
    };
    let mut hash = Hasher::default();
    hash.update(b"time of a step\0");
    hash.update(step.stage.as_bytes());
    hash.update(b"\0");
    hash.update(text.as_bytes());
    hash.finish()
}

/// How far each step is from the end of the build: its own time and that of the
/// longest chain of steps that wait for it. `first` gives the step that stands
/// for all that do the same; `is_open` says whether a step may still have to
/// run; `time` how long it took.
pub(crate) fn distances(
    graph: &BuildGraph,
    first: impl Fn(StepId) -> StepId,
    is_open: impl Fn(StepId) -> bool,
    time: impl Fn(&Step) -> Option<Duration>,
) -> HashMap<StepId, Duration> {
    let mut behind: HashMap<StepId, Duration> = HashMap::new();
    // Inputs have smaller numbers, so everything behind a step is known before it.
    for id in graph.ids().rev() {
        let step = graph.step(id);
        let at = first(id);
        let waiting = behind.get(&at).copied().unwrap_or_default();
        // A step that stands for others is counted where it is itself.
        let own = match is_open(id) && at == id {
            true => expected(step, &time),
            false => Duration::ZERO,
        };
        let distance = waiting + own;
        behind.insert(at, distance);
        for input in step.inputs() {
            let before = behind.entry(first(input)).or_default();
            *before = distance.max(*before);
        }
    }
    behind
}

fn expected(step: &Step, time: &impl Fn(&Step) -> Option<Duration>) -> Duration {
    match &step.kind {
        StepKind::Scratch | StepKind::Base(_) | StepKind::Merge(_) => Duration::ZERO,
        StepKind::Run(_) => time(step).unwrap_or(UNKNOWN_RUN),
        StepKind::Copy(_) | StepKind::Workdir(_) => time(step).unwrap_or(UNKNOWN_COPY),
    }
}

#[cfg(test)]
mod tests {
    use graph::{Pinned, Request, lower, stages};
    use oci::Platform;

    use super::*;

    fn graph_of(dockerfile: &str) -> BuildGraph {
        let request = Request::new(Platform::host(), Platform::host());
        let parse = dockerfile::parse(dockerfile);
        let set = stages(&parse.tree, &request).expect("stages");
        match set.pin(|_, _| unreachable!("everything is from scratch")) {
            Ok(Pinned::All(set)) => lower(&set, &request).expect("a graph").graph,
            Ok(Pinned::More(_)) | Err(_) => unreachable!("there is nothing to pin"),
        }
    }

    /// Times by the commands of steps, and the order that comes of them.
    fn check(dockerfile: &str, seconds: &[(&str, u64)], done: &[&str], expected: &[(&str, u64)]) {
        let graph = graph_of(dockerfile);
        let is = |step: &Step, command: &str| step.title.ends_with(&format!("RUN {command}"));
        let time = |step: &Step| {
            let known = seconds.iter().find(|(command, _)| is(step, command));
            // What is not named takes no time.
            Some(Duration::from_secs(
                known.map_or(0, |(_, seconds)| *seconds),
            ))
        };
        let is_open = |id: StepId| !done.iter().any(|command| is(graph.step(id), command));
        let found = distances(&graph, |id| id, is_open, time);
        for (command, expected) in expected {
            let id = graph
                .ids()
                .find(|id| is(graph.step(*id), command))
                .expect("a step");
            assert_eq!(found[&id].as_secs(), *expected, "{command}");
        }
    }

    const DIAMOND: &str = "FROM scratch AS base\nRUN base\n\
         FROM base AS short\nRUN short\n\
         FROM base AS long\nRUN long\nRUN longer\n\
         FROM scratch\nCOPY --from=short /a /\nCOPY --from=long /b /\nRUN last\n";

    #[test]
    fn the_longest_way_to_the_end_counts() {
        let times = [
            ("base", 1),
            ("short", 10),
            ("long", 2),
            ("longer", 20),
            ("last", 3),
        ];
        check(
            DIAMOND,
            &times,
            &[],
            &[
                ("last", 3),
                ("longer", 23),
                ("long", 25),
                ("short", 13),
                ("base", 26),
            ],
        );
        check(
            DIAMOND,
            &times,
            &["base", "longer"],
            &[("long", 5), ("short", 13), ("base", 13)],
        );
    }

    #[test]
    fn a_step_that_was_never_seen_takes_as_long_as_others_of_its_kind() {
        let graph = graph_of("FROM scratch\nRUN a\nWORKDIR /w\n");
        let found = distances(&graph, |id| id, |_| true, |_| None);
        let all: Duration = UNKNOWN_RUN + UNKNOWN_COPY;
        assert_eq!(found.values().max(), Some(&all));
    }

    #[test]
    fn a_time_is_known_again_where_the_step_has_another_number() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("store")).expect("a store");
        let before = graph_of("FROM scratch AS a\nRUN make\n");
        let after = graph_of("FROM scratch AS a\nRUN new\nRUN make\n");
        let step = |graph: &BuildGraph, command: &str| {
            let found = graph
                .steps()
                .iter()
                .find(|step| step.title.ends_with(command));
            found.expect("a step").clone()
        };
        remember_time(&store, &step(&before, "make"), Duration::from_millis(1500));
        let known = last_time(&store, &step(&after, "make"));
        assert_eq!(known, Some(Duration::from_millis(1500)));
        assert_eq!(last_time(&store, &step(&after, "new")), None);
        // Nearly the same is not written again.
        remember_time(&store, &step(&after, "make"), Duration::from_millis(1600));
        assert_eq!(last_time(&store, &step(&before, "make")), known);
    }
}
