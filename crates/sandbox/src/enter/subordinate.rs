//! The ranges of ids that `/etc/subuid` and `/etc/subgid` give to a user (subuid(5)). The files
//! are read directly: the program is static, and modules of nsswitch are not loaded.

use std::fs::File;
use std::io::{self, Read};

use rustix::process::geteuid;

use crate::user_namespace::IdKind;

use super::EnterError;

/// Longest file that is read. A line is about 24 bytes, so this is many thousand users.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The kernel takes at most 340 extents in a map (user_namespaces(7)), one is the user's own.
const RANGES_MAX: usize = 339;

/// `first` and the `count - 1` ids after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) count: u32,
}

/// The user as the files may name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    number: u32,
    name: Option<String>,
}

/// Who runs this process; a user without a line in `/etc/passwd` has only a number.
pub(super) fn current_user() -> io::Result<User> {
    let number = geteuid().as_raw();
    let name = match read("/etc/passwd") {
        Ok(text) => name_of(number, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(User { number, name })
}

/// The user's ranges; none is an error that says which line to add.
pub(super) fn ranges(kind: IdKind, user: &User) -> Result<Vec<Range>, EnterError> {
    let (file, option) = match kind {
        IdKind::User => ("/etc/subuid", "subuids"),
        IdKind::Group => ("/etc/subgid", "subgids"),
    };
    let ranges = match read(file) {
        Ok(text) => parse(&text, user),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => {
            return Err(EnterError::Step {
                doing: "read /etc/subuid and /etc/subgid",
                source,
            });
        }
    };
    if ranges.is_empty() {
        let user = user.name.clone().unwrap_or_else(|| user.number.to_string());
        return Err(EnterError::NoSubordinateIds { file, user, option });
    }
    Ok(ranges)
}

fn name_of(number: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?);
        (uid.parse() == Ok(number)).then(|| name.to_owned())
    })
}

fn parse(text: &str, user: &User) -> Vec<Range> {
    let number = user.number.to_string();
    let ranges = text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        if Some(name) != user.name.as_deref() && name != number {
            return None;
        }
        let (first, count) = (first.parse::<u32>().ok()?, count.parse::<u32>().ok()?);
        (count > 0 && first.checked_add(count).is_some()).then_some(Range { first, count })
    });
    ranges.take(RANGES_MAX).collect()
}

fn read(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let user = User {
            number: 1000,
            name: Some("ann".to_owned()),
        };
        let check = |text: &str, expected: &[(u32, u32)]| {
            let found: Vec<(u32, u32)> = parse(text, &user)
                .iter()
                .map(|range| (range.first, range.count))
                .collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("ann:100000:65536\n", &[(100_000, 65_536)]);
        check(
            "bob:1:2\n1000:7:8\nann:100000:65536\n",
            &[(7, 8), (100_000, 65_536)],
        );
        check("anna:1:2\n10001:3:4\n", &[]);
        check("ann:100000:0\nann:x:1\nann:4294967295:2\nann:5\n\n", &[]);
    }

    #[test]
    fn a_name_comes_from_the_third_field() {
        let passwd = "root:x:0:0::/:/bin/sh\nann:x:1000:5::/:/bin/sh\n";
        assert_eq!(name_of(1000, passwd).as_deref(), Some("ann"));
        assert_eq!(name_of(5, passwd), None);
    }
}
