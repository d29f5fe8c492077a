//! Compares a build with an earlier one and says why steps were carried out. Pure: traces in,
//! an explanation out.
//!
//! Every step that was carried out is followed down its inputs to the first that is itself another
//! than before: that is the cause, and all that only followed stands under it.

use std::collections::BTreeMap;

use super::align::Alignment;
use super::explanation::{
    Cause, Change, Compared, Explanation, FileChange, Follower, Reason, StepName,
};
use super::files::FileList;
use super::{Miss, Part, Trace, TracedOutcome, TracedStep, Value};

/// How many files of one step are named.
const FILES_SHOWN_MAX: usize = 5;

/// How much is remembered of what was told of steps below.
const SAID_MAX: usize = 32;

/// The longest text that is shown of an instruction, in characters.
const TEXT_SHOWN_MAX: usize = 160;

/// What is compared.
pub(crate) struct Comparison<'c> {
    /// The earlier build, and whether it was made in another place.
    pub old: Option<(&'c Trace, bool)>,
    /// This one.
    pub new: &'c Trace,
    /// Nothing was to be taken from the cache.
    pub no_cache: bool,
    /// The files of a step of the earlier build, and of this one.
    pub old_files: &'c dyn Fn(&TracedStep) -> Option<FileList>,
    /// The same of this one.
    pub new_files: &'c dyn Fn(&TracedStep) -> Option<FileList>,
    /// The line of the ARG or ENV that sets a variable for an instruction of a line.
    pub line_of: &'c dyn Fn(&str, usize) -> Option<usize>,
}

impl Comparison<'_> {
    /// Says why.
    pub(crate) fn explain(&self) -> Explanation {
        let new = self.new;
        let done: Vec<usize> = (0..new.steps.len())
            .filter(|at| new.steps[*at].was_done())
            .collect();
        let seconds = sum(done.iter().map(|at| new.steps[*at].seconds));
        let mut explanation = Explanation {
            compared: self.old.map(|(old, elsewhere)| Compared {
                at: old.at,
                elsewhere,
                complete: old.complete,
            }),
            causes: Vec::new(),
            seconds,
        };
        if done.is_empty() {
            return explanation;
        }
        let of_all = match self.old {
            _ if self.no_cache => Some(Reason::NoCache),
            None => Some(Reason::NeverBuilt),
            Some((old, _)) => layers_changed(old, new),
        };
        if let Some(reason) = of_all {
            let followers = done.iter().map(|at| Follower {
                name: self.name(*at),
                input: String::new(),
            });
            explanation.causes.push(Cause {
                step: None,
                reason,
                ran: false,
                more: 0,
                followers: followers.collect(),
                seconds,
            });
            return explanation;
        }
        let Some((old, _)) = self.old else {
            return explanation;
        };
        let pair = Pair {
            comparison: self,
            old,
            new,
            alignment: Alignment::of(old, new),
        };
        explanation.causes = pair.causes(&done);
        explanation
    }

    fn name(&self, at: usize) -> StepName {
        let step = &self.new.steps[at];
        StepName {
            step: step.number,
            title: step.title.clone(),
            file: self.new.dockerfile.clone(),
            line: step.line,
            seconds: match step.was_done() {
                true => step.seconds,
                false => 0.0,
            },
        }
    }
}

/// Two builds, and which step is which.
struct Pair<'c> {
    comparison: &'c Comparison<'c>,
    old: &'c Trace,
    new: &'c Trace,
    alignment: Alignment,
}

impl Pair<'_> {
    fn causes(&self, done: &[usize]) -> Vec<Cause> {
        let mut known: Vec<Option<Found>> = vec![None; self.new.steps.len()];
        // Inputs come before their users.
        for at in 0..self.new.steps.len() {
            known[at] = Some(self.look_at(at, &known));
        }
        let mut causes: BTreeMap<usize, Cause> = BTreeMap::new();
        for at in done.iter().copied() {
            let Some(found) = &known[at] else { continue };
            let first = found.root;
            let entry = causes.entry(first).or_insert_with(|| {
                let reason = known[first].as_ref().and_then(|first| first.reason.clone());
                let (reason, more) = reason.unwrap_or_else(|| (self.unchanged(first), 0));
                Cause {
                    step: Some(self.comparison.name(first)),
                    reason,
                    ran: self.new.steps[first].was_done(),
                    more,
                    followers: Vec::new(),
                    seconds: 0.0,
                }
            });
            entry.seconds += self.new.steps[at].seconds;
            if at != first {
                let input = found
                    .through
                    .map(|input| self.new.steps[input].title.clone());
                entry.followers.push(Follower {
                    name: self.comparison.name(at),
                    input: input.unwrap_or_default(),
                });
            }
        }
        causes.into_values().collect()
    }

    /// Finds out what is another about a step. `known`: the same of those in front of it.
    fn look_at(&self, at: usize, known: &[Option<Found>]) -> Found {
        let step = &self.new.steps[at];
        let mut own = Vec::new();
        match self.alignment.old_of[at] {
            Some(was) => own.extend(self.differences(at, was)),
            None => own.extend(self.without_like(at)),
        }
        let input = self.changed_input(at);
        let parent = step.inputs.first().map(|(_, parent)| *parent);
        let below = input.or(parent).and_then(|input| known[input].as_ref());
        let mut said = below.map_or_else(Vec::new, |below| below.said.clone());
        // What is another for a step below is told there.
        let told = own.iter().find_map(|reason| {
            let mut said = said.iter();
            said.find(|(known, _)| known == reason)
                .map(|(_, root)| *root)
        });
        own.retain(|reason| !said.iter().any(|(known, _)| known == reason));
        let follows = match (input, told) {
            (Some(input), _) => Some((input, below.map_or(input, |below| below.root))),
            (None, Some(root)) => parent.map(|parent| (parent, root)),
            (None, None) => None,
        };
        if own.is_empty()
            && let Some((input, root)) = follows
        {
            return Found {
                reason: None,
                root,
                through: Some(input),
                said,
            };
        }
        if step.ignores_cache && own.is_empty() {
            let stage = step.stage.clone();
            own.push(Reason::NoCacheFilter { stage });
        }
        let of_several = own.iter().filter(|reason| is_of_several(reason)).cloned();
        said.extend(of_several.map(|reason| (reason, at)));
        said.truncate(SAID_MAX);
        let more = own.len().saturating_sub(1);
        Found {
            reason: own.into_iter().next().map(|reason| (reason, more)),
            root: at,
            through: None,
            said,
        }
    }

    /// What to say of a step that has no like in the earlier build; nothing where it only follows
    /// others of its kind.
    fn without_like(&self, at: usize) -> Option<Reason> {
        let step = &self.new.steps[at];
        let mut free =
            (0..self.old.steps.len()).filter(|was| self.alignment.new_of[*was].is_none());
        let moved = free.find(|was| {
            let old = &self.old.steps[*was];
            old.text == step.text && old.stage == step.stage && old.platform == step.platform
        });
        if let Some(was) = moved.filter(|_| step.is_work()) {
            let old_line = self.old.steps[was].line;
            return Some(Reason::Moved { old_line });
        }
        let above = step.inputs.first().map(|(_, input)| *input);
        let follows = above.is_some_and(|input| {
            let above = &self.new.steps[input];
            self.alignment.old_of[input].is_none() && above.stage == step.stage && above.is_work()
        });
        (!follows).then_some(Reason::Inserted)
    }

    /// What is another about a step itself.
    fn differences(&self, at: usize, was: usize) -> Vec<Reason> {
        let (old, new) = (&self.old.steps[was], &self.new.steps[at]);
        if let (Some(old_base), Some(new_base)) = (&old.base, &new.base) {
            let layers = |step: &TracedStep| -> Vec<Value> {
                let parts = step.parts.iter();
                let layers = parts.filter(|Part(name, _)| name.starts_with("layer."));
                layers.map(|Part(_, value)| value.clone()).collect()
            };
            let (old_layers, new_layers) = (layers(old), layers(new));
            if old_layers == new_layers {
                return Vec::new();
            }
            let same = old_layers.iter().zip(&new_layers);
            return vec![Reason::Base {
                old: old_base.clone(),
                new: new_base.clone(),
                same_layers: same.take_while(|(a, b)| a == b).count(),
            }];
        }
        let mut reasons = Vec::new();
        let mut text_is_said = old.text == new.text;
        for (name, before, now) in changed_parts(old, new) {
            if let Some(variable) = name.strip_prefix("env.") {
                reasons.push(self.variable(variable, before, now, new.line));
            } else if !text_is_said {
                text_is_said = true;
                reasons.push(instruction(old, new));
            } else if old.text == new.text {
                reasons.push(Reason::Setting {
                    change: change(&name, before, now),
                });
            }
        }
        // The text says more than a variable that is in it.
        reasons.sort_by_key(|reason| !matches!(reason, Reason::Instruction { .. }));
        // Of other paths there are other files.
        let elsewhere = reasons.iter().any(|reason| match reason {
            Reason::Setting { change } => change.name.starts_with("source."),
            Reason::Instruction { .. } => true,
            _ => false,
        });
        reasons.extend(self.files(old, new).filter(|_| !elsewhere));
        reasons.extend(self.structure(at, was));
        reasons
    }

    fn variable(
        &self,
        name: &str,
        before: Option<&Value>,
        now: Option<&Value>,
        line: usize,
    ) -> Reason {
        let mut change = change(name, before, now);
        let given = |trace: &Trace| trace.arguments.iter().any(|argument| argument == name);
        if given(self.old) || given(self.new) {
            return Reason::BuildArgument { change };
        }
        change.line = (self.comparison.line_of)(name, line);
        Reason::Variable { change }
    }

    fn files(&self, old: &TracedStep, new: &TracedStep) -> Option<Reason> {
        let (before, now) = (old.part("outside"), new.part("outside"));
        if before == now || before.is_none() || now.is_none() {
            return None;
        }
        let lists = (
            (self.comparison.old_files)(old),
            (self.comparison.new_files)(new),
        );
        let (Some(before), Some(now)) = lists else {
            return Some(Reason::UnlistedFiles { too_many: false });
        };
        let mut changes: Vec<FileChange> = now.changes_since(&before);
        let total = changes.len();
        if total == 0 {
            let too_many = before.is_cut() || now.is_cut();
            return Some(Reason::UnlistedFiles { too_many });
        }
        changes.truncate(FILES_SHOWN_MAX);
        Some(Reason::Files { changes, total })
    }

    /// Whether the step stands on something else, for a reason that none of its inputs has.
    fn structure(&self, at: usize, was: usize) -> Option<Reason> {
        let (old, new) = (&self.old.steps[was], &self.new.steps[at]);
        for (role, input) in &new.inputs {
            let Some(old_input) = input_of(old, role) else {
                continue;
            };
            let Some(like) = self.alignment.old_of[*input] else {
                continue;
            };
            if like == old_input || self.is_same(old_input, *input) {
                continue;
            }
            let before = &self.old.steps[old_input];
            let mut strangers = (0..self.new.steps.len())
                .filter(|place| self.alignment.old_of[*place].is_none())
                .map(|place| &self.new.steps[place]);
            if strangers.any(|stranger| is_alike(before, stranger)) {
                let old_line = old.line;
                return Some(Reason::Moved { old_line });
            }
            // What stood between is gone; what came between is a reason of its own.
            return Some(match self.alignment.new_of[old_input] {
                None if before.is_work() => Reason::Removed {
                    text: one_line(&before.text),
                    old_line: before.line,
                },
                None | Some(_) => Reason::Input {
                    old: before.title.clone(),
                    new: self.new.steps[*input].title.clone(),
                },
            });
        }
        None
    }

    /// The first input that is another than before.
    fn changed_input(&self, at: usize) -> Option<usize> {
        let step = &self.new.steps[at];
        let was = self.alignment.old_of[at].map(|was| &self.old.steps[was]);
        let mut inputs = step.inputs.iter();
        let found = inputs.find(
            |(role, input)| match was.and_then(|was| input_of(was, role)) {
                Some(old_input) => !self.is_same(old_input, *input),
                None => true,
            },
        );
        found.map(|(_, input)| *input)
    }

    /// Whether two steps came to the same.
    fn is_same(&self, was: usize, at: usize) -> bool {
        let (old, new) = (&self.old.steps[was], &self.new.steps[at]);
        match (old.output.as_str(), new.output.as_str()) {
            ("", _) | (_, "") => old.key == new.key,
            (old_output, new_output) => old_output == new_output,
        }
    }

    /// What to say of a step of which nothing changed.
    fn unchanged(&self, at: usize) -> Reason {
        let step = &self.new.steps[at];
        let Some(was) = self.alignment.old_of[at].map(|was| &self.old.steps[was]) else {
            return Reason::Inserted;
        };
        if !was.is_there() {
            let failed = was.outcome == TracedOutcome::Failed;
            return Reason::Unfinished { failed };
        }
        if was.key != step.key && was.parts == step.parts {
            return Reason::OtherVersion;
        }
        match step.miss {
            Miss::NoRecord => Reason::Forgotten,
            Miss::NoLayers => Reason::LayersGone,
        }
    }
}

/// What was found out about a step.
#[derive(Clone, Debug)]
struct Found {
    /// What is another about the step itself, and how much else is.
    reason: Option<(Reason, usize)>,
    /// The step that the cause begins with.
    root: usize,
    /// The input that leads there.
    through: Option<usize>,
    /// What was told of this step and of those below it, and may concern others too; and where.
    said: Vec<(Reason, usize)>,
}

/// Whether one thing that the user changed may be seen in several steps.
fn is_of_several(reason: &Reason) -> bool {
    match reason {
        Reason::BuildArgument { .. }
        | Reason::Variable { .. }
        | Reason::Setting { .. }
        | Reason::NoCacheFilter { .. } => true,
        Reason::NeverBuilt
        | Reason::NoCache
        | Reason::Files { .. }
        | Reason::UnlistedFiles { .. }
        | Reason::Layers { .. }
        | Reason::Instruction { .. }
        | Reason::Inserted
        | Reason::Moved { .. }
        | Reason::Removed { .. }
        | Reason::Input { .. }
        | Reason::Base { .. }
        | Reason::Unfinished { .. }
        | Reason::Forgotten
        | Reason::LayersGone
        | Reason::OtherVersion => false,
    }
}

/// Whether it is the same instruction of the same stage.
fn is_alike(old: &TracedStep, new: &TracedStep) -> bool {
    old.text == new.text && old.stage == new.stage && old.platform == new.platform
}

fn input_of(step: &TracedStep, wanted: &str) -> Option<usize> {
    let mut inputs = step.inputs.iter();
    inputs.find(|(role, _)| role == wanted).map(|(_, at)| *at)
}

/// The parts of a step's own that differ, in the order of the key; those that are gone last.
fn changed_parts<'s>(
    old: &'s TracedStep,
    new: &'s TracedStep,
) -> Vec<(String, Option<&'s Value>, Option<&'s Value>)> {
    let before: BTreeMap<&str, &Value> = old
        .own_parts()
        .map(|Part(name, value)| (name.as_str(), value))
        .collect();
    let mut changed = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for Part(name, value) in new.own_parts() {
        seen.insert(name.as_str());
        let was = before.get(name.as_str()).copied();
        if was != Some(value) {
            changed.push((name.clone(), was, Some(value)));
        }
    }
    for Part(name, value) in old.own_parts() {
        if !seen.contains(name.as_str()) {
            changed.push((name.clone(), Some(value), None));
        }
    }
    changed
}

fn change(name: &str, before: Option<&Value>, now: Option<&Value>) -> Change {
    Change {
        name: name.to_owned(),
        old: before.map(ToString::to_string),
        new: now.map(ToString::to_string),
        line: None,
    }
}

/// The first lines of two texts that differ.
fn instruction(old: &TracedStep, new: &TracedStep) -> Reason {
    let mut before = old.text.lines();
    let mut now = new.text.lines();
    let mut line = new.line;
    loop {
        match (before.next(), now.next()) {
            (Some(a), Some(b)) if a == b => line += 1,
            (None, None) => {
                return Reason::Instruction {
                    old: one_line(&old.text),
                    new: one_line(&new.text),
                    line: new.line,
                };
            }
            (a, b) => {
                return Reason::Instruction {
                    old: one_line(a.unwrap_or_default()),
                    new: one_line(b.unwrap_or_default()),
                    line,
                };
            }
        }
    }
}

/// One line of bounded length.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(TEXT_SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Whether layers are made in another way than before, which is the same for all steps.
fn layers_changed(old: &Trace, new: &Trace) -> Option<Reason> {
    let salt = |trace: &Trace| {
        trace
            .steps
            .first()
            .and_then(|step| step.part("salt").cloned())
    };
    let (before, now) = (salt(old)?, salt(new)?);
    (before != now).then(|| Reason::Layers {
        change: change("layers", Some(&before), Some(&now)),
    })
}

fn sum(seconds: impl Iterator<Item = f64>) -> f64 {
    seconds.sum()
}
