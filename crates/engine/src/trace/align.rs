//! Which step of a build is which step of an earlier one, as a diff finds it: an instruction that
//! was inserted is new, and those behind it are what they were.

use super::{Trace, TracedStep};

/// The largest table that two lists of instructions are compared in, in cells. Longer lists are
/// compared line by line where they begin and where they end, and in order between.
const CELLS_MAX: usize = 4_000_000;

/// How many steps of a stage are looked at to know it again.
const LIKES_MAX: usize = 64;

/// What an instruction is worth that is the same as before. One of the same kind is worth one, and
/// up to four more for the words that they share.
const SAME: u32 = 64;

/// For every step of the new build, its like in the old one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Alignment {
    /// By the places of new steps.
    pub old_of: Vec<Option<usize>>,
    /// By the places of old steps.
    pub new_of: Vec<Option<usize>>,
}

impl Alignment {
    /// Finds it.
    pub(crate) fn of(old: &Trace, new: &Trace) -> Self {
        let mut alignment = Self {
            old_of: vec![None; new.steps.len()],
            new_of: vec![None; old.steps.len()],
        };
        for (old_group, new_group) in pair_groups(groups(old), groups(new), old, new) {
            let old_steps: Vec<&TracedStep> = old_group.iter().map(|n| &old.steps[*n]).collect();
            let new_steps: Vec<&TracedStep> = new_group.iter().map(|n| &new.steps[*n]).collect();
            for (old_at, new_at) in pairs(&old_steps, &new_steps) {
                alignment.old_of[new_group[new_at]] = Some(old_group[old_at]);
                alignment.new_of[old_group[old_at]] = Some(new_group[new_at]);
            }
        }
        alignment
    }

    /// How many steps of the new build have the very instruction of their likes.
    pub(crate) fn same(&self, old: &Trace, new: &Trace) -> usize {
        let same = |(place, at): (usize, &Option<usize>)| {
            at.is_some_and(|at| old.steps[at].text == new.steps[place].text)
        };
        self.old_of
            .iter()
            .enumerate()
            .filter(|one| same(*one))
            .count()
    }
}

/// The steps of one stage for one platform.
struct Group<'t> {
    platform: &'t str,
    stage: &'t str,
    steps: Vec<usize>,
}

fn groups(trace: &Trace) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (place, step) in trace.steps.iter().enumerate() {
        let known = groups
            .iter_mut()
            .find(|group| group.stage == step.stage && group.platform == step.platform);
        match known {
            Some(group) => group.steps.push(place),
            None => groups.push(Group {
                platform: &step.platform,
                stage: &step.stage,
                steps: vec![place],
            }),
        }
    }
    groups
}

/// Stages of the same name are the same; of the others, the one that has most in common.
fn pair_groups(
    old: Vec<Group<'_>>,
    new: Vec<Group<'_>>,
    old_trace: &Trace,
    new_trace: &Trace,
) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut free: Vec<Option<Group<'_>>> = old.into_iter().map(Some).collect();
    let mut paired = Vec::new();
    let mut rest = Vec::new();
    // A number is no name: a stage in front of it changes it.
    let is_named = |stage: &str| !stage.starts_with("stage-");
    for group in new {
        let same = free.iter_mut().find(|one| {
            one.as_ref().is_some_and(|one| {
                one.stage == group.stage && one.platform == group.platform && is_named(one.stage)
            })
        });
        match same.and_then(Option::take) {
            Some(one) => paired.push((one.steps, group.steps)),
            None => rest.push(group),
        }
    }
    let mut likes: Vec<(u32, usize, usize)> = Vec::new();
    for (at, group) in rest.iter().enumerate() {
        for (from, one) in free.iter().enumerate() {
            let Some(one) = one.as_ref().filter(|one| one.platform == group.platform) else {
                continue;
            };
            let old = one.steps.iter().map(|n| &old_trace.steps[*n]);
            let new = group.steps.iter().map(|n| &new_trace.steps[*n]);
            let old: Vec<&TracedStep> = old.take(LIKES_MAX).collect();
            let shared: u32 = new
                .take(LIKES_MAX)
                .map(|new| old.iter().map(|old| likeness(old, new)).max().unwrap_or(0))
                .sum();
            let worth = shared + u32::from(one.stage == group.stage);
            if worth > 0 {
                likes.push((worth, at, from));
            }
        }
    }
    // The most alike first; of equals the earlier.
    likes.sort_by_key(|(worth, at, from)| (std::cmp::Reverse(*worth), *at, *from));
    let mut rest: Vec<Option<Group<'_>>> = rest.into_iter().map(Some).collect();
    for (_, at, from) in likes {
        if rest[at].is_some()
            && let Some(one) = free[from].take()
            && let Some(group) = rest[at].take()
        {
            paired.push((one.steps, group.steps));
        }
    }
    paired
}

/// Pairs of places: what is the same at both ends first, the best of what is between.
fn pairs(old: &[&TracedStep], new: &[&TracedStep]) -> Vec<(usize, usize)> {
    let same = |(old, new): &(&&TracedStep, &&TracedStep)| old.text == new.text;
    let head = old.iter().zip(new).take_while(same).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest
        .iter()
        .rev()
        .zip(new_rest.iter().rev())
        .take_while(same)
        .count();
    let (old_rest, new_rest) = (
        &old_rest[..old_rest.len() - tail],
        &new_rest[..new_rest.len() - tail],
    );
    let mut pairs: Vec<(usize, usize)> = (0..head).map(|n| (n, n)).collect();
    let middle = match old_rest.len().saturating_mul(new_rest.len()) <= CELLS_MAX {
        true => best_pairs(old_rest, new_rest),
        false => (0..old_rest.len().min(new_rest.len()))
            .filter(|n| worth(old_rest[*n], new_rest[*n]) > 0)
            .map(|n| (n, n))
            .collect(),
    };
    pairs.extend(middle.into_iter().map(|(a, b)| (a + head, b + head)));
    pairs.extend((0..tail).map(|n| (old.len() - tail + n, new.len() - tail + n)));
    pairs
}

/// The pairs, in order in both lists, that are worth most together.
fn best_pairs(old: &[&TracedStep], new: &[&TracedStep]) -> Vec<(usize, usize)> {
    let width = new.len() + 1;
    let worths: Vec<u32> = old
        .iter()
        .flat_map(|old| new.iter().map(|new| worth(old, new)))
        .collect();
    // From the end, so that the way back is a way forward: of equals the earliest is taken.
    let mut best = vec![0_u32; (old.len() + 1) * width];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            let pair = worths[a * new.len() + b];
            let taken = match pair {
                0 => 0,
                _ => pair + best[(a + 1) * width + b + 1],
            };
            best[a * width + b] = taken
                .max(best[(a + 1) * width + b])
                .max(best[a * width + b + 1]);
        }
    }
    let (mut a, mut b) = (0, 0);
    let mut pairs = Vec::new();
    while a < old.len() && b < new.len() {
        let here = best[a * width + b];
        let pair = worths[a * new.len() + b];
        if pair > 0 && here == pair + best[(a + 1) * width + b + 1] {
            pairs.push((a, b));
            a += 1;
            b += 1;
        } else if here == best[(a + 1) * width + b] {
            a += 1;
        } else {
            b += 1;
        }
    }
    pairs
}

/// How likely two steps are the same: nothing for steps of different kinds.
fn worth(old: &TracedStep, new: &TracedStep) -> u32 {
    if old.text == new.text {
        return SAME;
    }
    let kind = |step: &TracedStep| (step.keyword().to_ascii_uppercase(), step.is_trigger);
    if kind(old) != kind(new) {
        return 0;
    }
    1 + shared_words(&old.text, &new.text)
}

/// What two steps say for their stages being the same. Many stages begin with the same image.
fn likeness(old: &TracedStep, new: &TracedStep) -> u32 {
    match worth(old, new) {
        SAME if old.keyword().eq_ignore_ascii_case("from") => SAME / 8,
        worth => worth.saturating_sub(1),
    }
}

/// From nothing to four.
fn shared_words(old: &str, new: &str) -> u32 {
    let words = |text: &str| -> Vec<String> {
        let words = text.split_whitespace().skip(1).take(64);
        words.map(str::to_owned).collect()
    };
    let (mut old, new) = (words(old), words(new));
    let all = old.len() + new.len();
    let mut shared = 0;
    for word in &new {
        if let Some(place) = old.iter().position(|other| other == word) {
            old.swap_remove(place);
            shared += 1;
        }
    }
    // At most 64 words each.
    (8 * shared / all.max(1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(lines: &[&str]) -> Trace {
        let step = |line: &&str| {
            let (stage, text) = line.split_once(": ").unwrap();
            TracedStep {
                stage: stage.to_owned(),
                text: text.to_owned(),
                ..TracedStep::default()
            }
        };
        Trace {
            steps: lines.iter().map(step).collect(),
            ..Trace::default()
        }
    }

    /// The place in the old build for every step of the new one.
    fn check(old: &[&str], new: &[&str], expected: &[Option<usize>]) {
        let (old, new) = (trace(old), trace(new));
        let found = Alignment::of(&old, &new);
        assert_eq!(found.old_of, expected);
        for (place, at) in expected.iter().enumerate() {
            if let Some(at) = at {
                assert_eq!(found.new_of[*at], Some(place));
            }
        }
    }

    #[test]
    fn steps_are_found_again() {
        let a = "b: RUN a";
        // The same.
        check(&[a, "b: RUN b"], &[a, "b: RUN b"], &[Some(0), Some(1)]);
        // Inserted, removed, edited.
        check(
            &[a, "b: RUN c"],
            &[a, "b: RUN b", "b: RUN c"],
            &[Some(0), None, Some(1)],
        );
        check(
            &[a, "b: RUN b", "b: RUN c"],
            &[a, "b: RUN c"],
            &[Some(0), Some(2)],
        );
        check(
            &[a, "b: RUN make"],
            &[a, "b: RUN make -j4"],
            &[Some(0), Some(1)],
        );
        // Of two the one that has more in common is the edited one.
        check(
            &["b: RUN make all", "b: RUN x"],
            &["b: RUN apt update", "b: RUN make all -j4", "b: RUN x"],
            &[None, Some(0), Some(1)],
        );
        // Of two that have nothing in common, the one that stands in the same place.
        check(&["b: RUN a"], &["b: RUN b"], &[Some(0)]);
        check(&["b: RUN a"], &["b: COPY b /"], &[None]);
        // Reordered: one of them stays.
        check(
            &["b: RUN a", "b: RUN b", "b: COPY c /"],
            &["b: RUN a", "b: COPY c /", "b: RUN b"],
            &[Some(0), Some(2), None],
        );
        // The same instruction twice.
        check(&[a, a], &[a, a, a], &[Some(0), Some(1), None]);
    }

    #[test]
    fn stages_are_found_again() {
        // By name, in any order.
        check(
            &["one: RUN a", "two: RUN a"],
            &["two: RUN a", "one: RUN a"],
            &[Some(1), Some(0)],
        );
        // Numbers move when a stage is inserted.
        check(
            &["stage-0: RUN a", "stage-0: RUN b"],
            &["stage-0: RUN x", "stage-1: RUN a", "stage-1: RUN b"],
            &[None, Some(0), Some(1)],
        );
        // A stage with another name.
        check(&["build: RUN a"], &["make: RUN a"], &[Some(0)]);
        check(&["build: RUN a"], &["make: RUN b"], &[None]);
        check(&["stage-0: RUN a"], &["stage-0: RUN b"], &[Some(0)]);
    }
}
