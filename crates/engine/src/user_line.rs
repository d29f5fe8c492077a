//! Which USER of a Dockerfile a step runs as, found in the text: where a name stands that an image
//! does not know.

use dockerfile::{Dockerfile, Instruction, InstructionKind, Span};

/// The word of the USER that counts for the instruction at `step`; nothing when the base image says
/// who it is.
pub(crate) fn user_line(text: &str, step: Span) -> Option<Span> {
    let tree = dockerfile::parse(text).tree;
    let mut before = step.start;
    // Each round goes to an earlier stage.
    for _ in 0..tree.instructions.len() {
        let (user, from) = last_user(&tree, before)?;
        if user.is_some() {
            return user;
        }
        let InstructionKind::From(base) = &from.kind else {
            return None;
        };
        before = end_of_stage(&tree, from, &base.image.value)?;
    }
    None
}

/// The USER before a place in its stage, and the FROM of that stage.
fn last_user(tree: &Dockerfile, before: usize) -> Option<(Option<Span>, &Instruction)> {
    let mut user = None;
    for instruction in tree.instructions.iter().rev() {
        if instruction.span.start >= before {
            continue;
        }
        match &instruction.kind {
            InstructionKind::User(word) => user = user.or(Some(word.span)),
            InstructionKind::From(_) => return Some((user, instruction)),
            _ => {}
        }
    }
    None
}

/// Where the stage of a name ends that a FROM stands on.
fn end_of_stage(tree: &Dockerfile, from: &Instruction, name: &str) -> Option<usize> {
    let mut end = None;
    let mut next_stage = from.span.start;
    for instruction in tree.instructions.iter().rev() {
        let InstructionKind::From(earlier) = &instruction.kind else {
            continue;
        };
        if instruction.span.start >= from.span.start {
            continue;
        }
        let is_named = earlier
            .name
            .as_ref()
            .is_some_and(|known| known.value == name);
        if end.is_none() && is_named {
            end = Some(next_stage);
        }
        next_stage = instruction.span.start;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::user_line;
    use dockerfile::{LineColumn, Span};

    #[test]
    fn the_nearest_user_above_counts() {
        let check = |text: &str, line: Option<usize>| {
            let start = text.rfind("RUN").expect("a RUN");
            let found = user_line(text, Span::new(start, text.len()));
            let found = found.map(|span| LineColumn::of(text, span).line);
            assert_eq!(found, line, "{text}");
        };
        check("FROM a\nUSER u\nRUN x\n", Some(2));
        check("FROM a\nUSER u\nUSER v\nRUN x\nUSER w\n", Some(3));
        check("FROM a\nRUN x\n", None);
        check(
            "FROM a AS b\nUSER u\nFROM c\nUSER v\nFROM b\nRUN x\n",
            Some(2),
        );
        check("FROM a AS b\nFROM a AS b\nUSER u\nFROM b\nRUN x\n", Some(3));
        check("FROM a AS b\nUSER u\nFROM c\nRUN x\n", None);
        check("FROM a AS b\nUSER u\nFROM b AS c\nFROM c\nRUN x\n", Some(2));
    }
}
