//! A control group of its own for one run: made below the one that the caller names, in every
//! hierarchy of the machine, entered by the supervisor, removed when nobody is left in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::run::RunError;

/// Where the kernel lists what is mounted.
const MOUNTS: &str = "/proc/self/mountinfo";

/// The one controller of version 1 whose groups take nobody in before they are given processors.
const CONTROLLER_LEFT_OUT: &str = "cpuset";

/// The kernel lets go of the last process of a group a moment after its end.
const REMOVE_ATTEMPTS_MAX: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(2);

/// The groups of one run, one in each hierarchy.
#[derive(Debug)]
pub(crate) struct ControlGroup {
    directories: Vec<PathBuf>,
}

impl ControlGroup {
    /// Makes the groups. What is missing of the parent is made too, and stays.
    pub(crate) fn create(parent: &str) -> Result<Self, RunError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);

        let relative = parent.trim_matches('/');
        let inside = relative
            .split('/')
            .all(|name| !matches!(name, "" | "." | "..") && !name.contains('\0'));
        if !inside {
            return Err(RunError::Invalid {
                reason: format!("`{parent}` is not the path of a control group"),
            });
        }
        let text = fs::read_to_string(MOUNTS).unwrap_or_default();
        let hierarchies = hierarchies(&text);
        if hierarchies.is_empty() {
            return Err(RunError::NoControlGroups);
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("kiln-{}-{number}", std::process::id());
        let mut group = Self {
            directories: Vec::new(),
        };
        for hierarchy in hierarchies {
            let above = hierarchy.join(relative);
            make(&above)?;
            let directory = above.join(&name);
            make(&directory)?;
            group.directories.push(directory);
        }
        Ok(group)
    }

    /// Moves a process into the groups. What it starts from then on is in them.
    pub(crate) fn add(&self, process: u32) -> Result<(), RunError> {
        for directory in &self.directories {
            let file = directory.join("cgroup.procs");
            fs::write(&file, process.to_string()).map_err(failed("enter", directory))?;
        }
        Ok(())
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        for directory in &self.directories {
            for _ in 0..REMOVE_ATTEMPTS_MAX {
                match fs::remove_dir(directory) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(REMOVE_PAUSE);
                    }
                    // Gone, or not to be removed by us: an empty group takes nothing.
                    Ok(()) | Err(_) => break,
                }
            }
        }
    }
}

fn make(directory: &Path) -> Result<(), RunError> {
    fs::create_dir_all(directory).map_err(failed("make", directory))
}

fn failed<'p>(doing: &'static str, path: &'p Path) -> impl Fn(io::Error) -> RunError + 'p {
    move |source| RunError::ControlGroup {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// Where the hierarchies are mounted (proc(5), "/proc/pid/mountinfo"; cgroups(7)).
fn hierarchies(mounts: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let Some(place) = before.split(' ').nth(4) else {
            continue;
        };
        let mut kind = after.split(' ');
        let is_group = match kind.next() {
            Some("cgroup2") => true,
            Some("cgroup") => kind
                .nth(1)
                .is_some_and(|options| !options.split(',').any(|o| o == CONTROLLER_LEFT_OUT)),
            Some(_) | None => false,
        };
        if is_group && !found.iter().any(|known| known == Path::new(place)) {
            found.push(PathBuf::from(place));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::hierarchies;

    #[test]
    fn hierarchies_are_found_among_mounts() {
        let check = |mounts: &str, expected: &[&str]| {
            let found = hierarchies(mounts);
            let found: Vec<_> = found
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            assert_eq!(found, expected);
        };
        check(
            "24 1 0:22 / /proc rw - proc proc rw\n\
             30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
            &["/sys/fs/cgroup"],
        );
        check(
            "31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             32 30 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
             33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            &["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"],
        );
        check("", &[]);
        check("what is this\n", &[]);
    }
}
