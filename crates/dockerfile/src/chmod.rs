//! The value of `--chmod` (C5): an octal mode or changes to the mode that a file has.

/// Bits that may not be given by a change that names nobody, as under the usual umask.
const UMASK: u32 = 0o022;

/// All bits that a mode can set.
const MODE_MAX: u32 = 0o7777;

/// A mode to set or changes to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChange(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Exact(u32),
    Steps(Vec<Step>),
}

/// One operator and what it does, for the classes that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    /// Read, write and execute bits of the classes: 0o700, 0o070, 0o007.
    classes: u32,
    /// Nobody was named: everybody, as far as the umask lets.
    unnamed: bool,
    operator: Operator,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// Permissions: the lowest three bits, and the letters that are more than a bit.
    Letters {
        bits: u32,
        execute_if_any: bool,
        set_id: bool,
        sticky: bool,
    },
    /// The permissions of another class: how far to shift that class to the lowest three bits.
    CopyOf(u32),
}

/// Why a value is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// Nothing at all.
    #[error(
        "the mode is empty: expected an octal number such as 0644 or changes such as u=rwX,go=rX"
    )]
    Empty,
    /// Octal digits beyond 7777.
    #[error("the mode {value} is greater than 7777")]
    TooLarge {
        /// As written.
        value: String,
    },
    /// A character that cannot stand where it stands.
    #[error("`{value}` is not a mode: unexpected `{found}` at character {position}")]
    Unexpected {
        /// As written.
        value: String,
        /// The character.
        found: char,
        /// Its place, from 1.
        position: usize,
    },
    /// A change without `+`, `-` or `=`.
    #[error("`{value}` is not a mode: expected +, - or = at the end of `{clause}`")]
    NoOperator {
        /// As written.
        value: String,
        /// The part without an operator.
        clause: String,
    },
}

impl ModeChange {
    /// Reads an octal mode up to 7777, or symbolic changes separated by commas.
    pub fn parse(value: &str) -> Result<Self, ModeError> {
        if value.is_empty() {
            return Err(ModeError::Empty);
        }
        if value.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
            return match u32::from_str_radix(value, 8) {
                Ok(mode) if mode <= MODE_MAX => Ok(Self(Kind::Exact(mode))),
                Ok(_) | Err(_) => Err(ModeError::TooLarge {
                    value: value.to_owned(),
                }),
            };
        }
        let mut steps = Vec::new();
        let mut position = 0;
        for clause in value.split(',') {
            parse_clause(value, clause, position, &mut steps)?;
            position += clause.chars().count() + 1;
        }
        Ok(Self(Kind::Steps(steps)))
    }

    /// The mode (permission, set-id and sticky bits only) of something that had the mode `old`.
    pub fn apply(&self, old: u32, is_directory: bool) -> u32 {
        match &self.0 {
            Kind::Exact(mode) => *mode,
            Kind::Steps(steps) => steps
                .iter()
                .fold(old & MODE_MAX, |mode, step| step.apply(mode, is_directory)),
        }
    }
}

fn parse_clause(
    value: &str,
    clause: &str,
    offset: usize,
    steps: &mut Vec<Step>,
) -> Result<(), ModeError> {
    let unexpected = |found: char, at: usize| ModeError::Unexpected {
        value: value.to_owned(),
        found,
        position: offset + at + 1,
    };
    let mut characters = clause.chars().enumerate().peekable();
    let mut classes = 0;
    while let Some(&(_, c)) = characters.peek() {
        classes |= match c {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => break,
        };
        characters.next();
    }
    let unnamed = classes == 0;
    if unnamed {
        classes = 0o777;
    }
    let steps_before = steps.len();
    while let Some((at, c)) = characters.next() {
        let operator = match c {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            '=' => Operator::Set,
            _ => return Err(unexpected(c, at)),
        };
        let copied = match characters.peek() {
            Some((_, 'u')) => Some(6),
            Some((_, 'g')) => Some(3),
            Some((_, 'o')) => Some(0),
            Some(_) | None => None,
        };
        let what = if let Some(shift) = copied {
            characters.next();
            What::CopyOf(shift)
        } else {
            let (mut bits, mut execute_if_any, mut set_id, mut sticky) = (0, false, false, false);
            while let Some(&(at, c)) = characters.peek() {
                match c {
                    'r' => bits |= 4,
                    'w' => bits |= 2,
                    'x' => bits |= 1,
                    'X' => execute_if_any = true,
                    's' => set_id = true,
                    't' => sticky = true,
                    '+' | '-' | '=' => break,
                    _ => return Err(unexpected(c, at)),
                }
                characters.next();
            }
            What::Letters {
                bits,
                execute_if_any,
                set_id,
                sticky,
            }
        };
        steps.push(Step {
            classes,
            unnamed,
            operator,
            what,
        });
    }
    if steps.len() == steps_before {
        return Err(ModeError::NoOperator {
            value: value.to_owned(),
            clause: clause.to_owned(),
        });
    }
    Ok(())
}

impl Step {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let set_id_bits = (self.classes & 0o100) << 5 | (self.classes & 0o010) << 7;
        let sticky_bit = if self.classes == 0o777 || self.classes == 0o007 {
            0o1000
        } else {
            0
        };
        let (triple, special) = match &self.what {
            What::CopyOf(shift) => (mode >> shift & 7, 0),
            What::Letters {
                bits,
                execute_if_any,
                set_id,
                sticky,
            } => {
                let execute = *execute_if_any && (is_directory || mode & 0o111 != 0);
                let special =
                    if *set_id { set_id_bits } else { 0 } | if *sticky { sticky_bit } else { 0 };
                (bits | u32::from(execute), special)
            }
        };
        let mut bits = (triple << 6 | triple << 3 | triple) & self.classes;
        if self.unnamed {
            bits &= !UMASK;
        }
        match self.operator {
            Operator::Add => mode | bits | special,
            Operator::Remove => mode & !(bits | special),
            Operator::Set => mode & !(self.classes | set_id_bits | sticky_bit) | bits | special,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ModeChange;

    #[test]
    fn modes() {
        let check = |value: &str, old: u32, is_directory: bool, expected: u32| {
            let found = ModeChange::parse(value)
                .expect("a mode")
                .apply(old, is_directory);
            assert_eq!(
                found, expected,
                "{value} of {old:o}: {found:o} instead of {expected:o}"
            );
        };
        check("644", 0o777, false, 0o644);
        check("0", 0o777, false, 0);
        check("07777", 0, true, 0o7777);
        check("u=rwX,go=rX", 0o600, false, 0o644);
        check("u=rwX,go=rX", 0o700, false, 0o755);
        check("u=rwX,go=rX", 0o600, true, 0o755);
        check("+x", 0o644, false, 0o755);
        check("+w", 0o444, false, 0o644);
        check("a+w", 0o444, false, 0o666);
        check("g=u", 0o740, false, 0o770);
        check("go-rwx", 0o777, false, 0o700);
        check("u+s,g+s,+t", 0o755, false, 0o7755);
        check("u=rw", 0o4755, false, 0o655);
        check("ug+rw-x", 0o751, false, 0o661);
        check("a=", 0o755, false, 0);
        check("o=g", 0o640, false, 0o644);
    }

    #[test]
    fn wrong_modes_say_where() {
        let check = |value: &str, expected: &str| {
            assert_eq!(
                ModeChange::parse(value).expect_err("no mode").to_string(),
                expected
            );
        };
        check(
            "",
            "the mode is empty: expected an octal number such as 0644 or changes such as u=rwX,go=rX",
        );
        check("10000", "the mode 10000 is greater than 7777");
        check(
            "99999",
            "`99999` is not a mode: unexpected `9` at character 1",
        );
        check(
            "u+rwq",
            "`u+rwq` is not a mode: unexpected `q` at character 5",
        );
        check(
            "u+r,g!r",
            "`u+r,g!r` is not a mode: unexpected `!` at character 6",
        );
        check(
            "u",
            "`u` is not a mode: expected +, - or = at the end of `u`",
        );
        check(
            "u+r,",
            "`u+r,` is not a mode: expected +, - or = at the end of ``",
        );
    }
}
