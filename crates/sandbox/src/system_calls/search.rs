//! A set of numbers as a binary search in the kernel's filter language: of a
//! few hundred calls an answer takes eight comparisons, and the kernel has an
//! eighth of the instructions to check and translate each time a filter is
//! installed.

use seccompiler::{BpfProgram, sock_filter};

/// Ends the filter with "allowed" if the number in the accumulator is in the
/// set, and goes on behind itself if it is not. Nothing for a set that has more
/// pieces than a jump can cross, which has thousands of numbers.
pub(super) fn allow_if_in(numbers: impl IntoIterator<Item = u32>) -> Option<BpfProgram> {
    let mut numbers: Vec<u32> = numbers.into_iter().collect();
    numbers.sort_unstable();
    numbers.dedup();
    // Where being in the set begins and ends.
    let mut edges: Vec<u32> = Vec::new();
    for number in numbers {
        match edges.last() {
            Some(end) if *end == number => *edges.last_mut()? = number + 1,
            Some(_) | None => edges.extend([number, number + 1]),
        }
    }
    let mut program = search(&edges, false)?;
    let length = program.len();
    for (at, instruction) in program.iter_mut().enumerate() {
        if instruction.code == NOT_IN {
            instruction.k = u32::try_from(length - at - 1).ok()?;
        }
    }
    Some(program)
}

/// Jumps by a distance that is filled in at the end.
const NOT_IN: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;

/// Decides between the edges, below the first of which numbers are in the set
/// or not.
fn search(edges: &[u32], is_in: bool) -> Option<BpfProgram> {
    let Some(middle) = edges.len().checked_sub(1).map(|last| last / 2) else {
        let leaf = match is_in {
            true => instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
            false => instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0),
        };
        return Some(vec![leaf]);
    };
    // Each edge that is crossed turns it over.
    let below = search(&edges[..middle], is_in)?;
    let above = search(&edges[middle + 1..], is_in ^ middle.is_multiple_of(2))?;
    let is_above = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    let over = u8::try_from(below.len()).ok()?;
    let mut program = vec![instruction(is_above, over, edges[middle])];
    program.extend(below);
    program.extend(above);
    Some(program)
}

fn instruction(code: u32, over: u8, value: u32) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).expect("operation codes are small"),
        jt: over,
        jf: 0,
        k: value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would make of it: whether it ends with "allowed".
    fn allows(program: &[sock_filter], number: u32) -> bool {
        let mut at = 0;
        while let Some(instruction) = program.get(at) {
            at += 1;
            match u32::from(instruction.code) {
                code if code == libc::BPF_RET | libc::BPF_K => {
                    assert_eq!(instruction.k, libc::SECCOMP_RET_ALLOW);
                    return true;
                }
                code if code == libc::BPF_JMP | libc::BPF_JA => at += instruction.k as usize,
                code => {
                    assert_eq!(code, libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K);
                    at += usize::from(if number >= instruction.k {
                        instruction.jt
                    } else {
                        instruction.jf
                    });
                }
            }
        }
        assert_eq!(at, program.len(), "a jump over the end");
        false
    }

    #[test]
    fn exactly_the_numbers_of_the_set_are_allowed() {
        let check = |numbers: &[u32]| {
            let program = allow_if_in(numbers.iter().copied()).expect("a program");
            for number in (0..700).chain([u32::MAX - 1, u32::MAX]) {
                let expected = numbers.contains(&number);
                assert_eq!(
                    allows(&program, number),
                    expected,
                    "{number} of {numbers:?}"
                );
            }
        };
        check(&[]);
        check(&[0]);
        check(&[5, 3, 4, 9, 9]);
        check(&(0..600).collect::<Vec<_>>());
        check(&(0..600).step_by(7).collect::<Vec<_>>());
        let ours = super::super::ALLOWED
            .iter()
            .chain(super::super::ALLOWED_HERE);
        let ours: Vec<u32> = ours.map(|number| u32::try_from(*number).unwrap()).collect();
        check(&ours);
    }

    #[test]
    fn a_set_that_no_jump_can_cross_is_refused() {
        assert_eq!(
            allow_if_in((0..2000).step_by(2)).map(|program| program.len()),
            None
        );
    }
}
