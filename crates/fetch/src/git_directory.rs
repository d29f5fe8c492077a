//! What git leaves beside the files of a commit: taken away, or kept without what would tell one
//! checkout from another.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What says when, where and by whom a checkout was made, and means nothing to who uses it.
const TRACES: [&str; 9] = [
    "FETCH_HEAD",
    "ORIG_HEAD",
    "logs",
    "hooks",
    "branches",
    "description",
    "COMMIT_EDITMSG",
    "info",
    // Where we have put what was fetched.
    "refs/kiln",
];

/// Removes everything called `.git`, at any depth: no commit can hold such a name, so it is git's
/// own.
pub(crate) fn remove(directory: &Path) -> io::Result<()> {
    for path in find(directory)? {
        if fs::symlink_metadata(&path)?.is_dir() {
            fs::remove_dir_all(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes the traces in the `.git` of a checkout and of its submodules. The settings are without
/// credentials from the beginning.
pub(crate) fn clean(directory: &Path) -> io::Result<()> {
    let mut pending = vec![directory.join(".git")];
    while let Some(git) = pending.pop() {
        for trace in TRACES {
            let path = git.join(trace);
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&path)?,
                Ok(_) => fs::remove_file(&path)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        // The repositories of submodules, and theirs.
        let mut modules = vec![git.join("modules")];
        while let Some(folder) = modules.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                if !entry.file_type()?.is_dir() {
                    continue;
                }
                match entry.path().join("HEAD").exists() {
                    true => pending.push(entry.path()),
                    false => modules.push(entry.path()),
                }
            }
        }
    }
    Ok(())
}

/// All paths called `.git` below a directory; links are not followed.
fn find(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name() == ".git" {
                found.push(entry.path());
            } else if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// An address without the name and the password in it: what a repository remembers of where it is
/// from. The user of ssh is part of the place.
pub(crate) fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user, host)) => match (scheme, user.split_once(':')) {
            ("ssh", None) => url.to_owned(),
            ("ssh", Some((user, _))) => format!("ssh://{user}@{host}{path}"),
            _ => format!("{scheme}://{host}{path}"),
        },
        None => url.to_owned(),
    }
}

/// An address that may be shown to everybody: without user, password, query and fragment. Nothing
/// for a place on a machine, and for what is no address of the usual kind.
pub(crate) fn public_url(url: &str) -> Option<String> {
    if url
        .chars()
        .any(|letter| letter.is_control() || letter == ' ')
    {
        return None;
    }
    let Some((scheme, _)) = url.split_once("://") else {
        // `user@host:path`; a path has no host, and `ext::` is a program.
        let (host, path) = url.split_once(':')?;
        let (user, name) = host.rsplit_once('@').unwrap_or(("", host));
        let is_host =
            !name.is_empty() && !host.contains('/') && !user.contains(':') && !path.contains('@');
        return (is_host && !path.starts_with(':') && !path.is_empty()).then(|| url.to_owned());
    };
    if !matches!(scheme, "http" | "https" | "ssh" | "git") {
        return None;
    }
    let end = url.find(['?', '#']).unwrap_or(url.len());
    Some(without_user(&url[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_may_see_has_no_secret() {
        let check = |url: &str, expected: Option<&str>| {
            assert_eq!(public_url(url).as_deref(), expected, "{url}");
        };
        check("https://u:p@h/a.git", Some("https://h/a.git"));
        check("https://h/a?token=x#y", Some("https://h/a"));
        check("https://u:p@h?token=x", Some("https://h"));
        check("git@h:a/b.git", Some("git@h:a/b.git"));
        check("h:a", Some("h:a"));
        check("ssh://git@h/a", Some("ssh://git@h/a"));
        check("/srv/a", None);
        check("../a", None);
        check("file:///srv/a", None);
        check("ext::sh -c x", None);
        check("ext::x", None);
        check("u:p@h:a", None);
        check("", None);
    }

    #[test]
    fn a_checkout_does_not_remember_passwords() {
        let check = |url: &str, expected: &str| assert_eq!(without_user(url), expected);
        check("https://u:p@h/a", "https://h/a");
        check("https://token@h/a", "https://h/a");
        check("ssh://git@h/a", "ssh://git@h/a");
        check("ssh://git:p@h/a", "ssh://git@h/a");
        check("git@h:a", "git@h:a");
        check("https://h/a@b", "https://h/a@b");
    }
}
