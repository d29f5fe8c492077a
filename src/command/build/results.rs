//! What a build leaves behind for programs: the digest on stdout, `--metadata-file`, `--iidfile`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use engine::BuildReport;
use oci::Reference;

use crate::command::print_product;
use crate::error::ProgramError;
use crate::render::metadata;

/// Where results go.
#[derive(Debug)]
pub(super) struct Results {
    metadata_file: Option<PathBuf>,
    iidfile: Option<PathBuf>,
    /// Stdout carries an archive: the digest goes nowhere but into the summary.
    stdout_is_taken: bool,
}

impl Results {
    /// Makes sure, before anything is built, that results can be written, and that nobody takes
    /// those of an earlier build for this one's.
    pub(super) fn prepare(
        metadata_file: Option<PathBuf>,
        iidfile: Option<PathBuf>,
        stdout_is_taken: bool,
    ) -> Result<Self, ProgramError> {
        let named = [
            ("--metadata-file", metadata_file.as_deref()),
            ("--iidfile", iidfile.as_deref()),
        ];
        for (flag, path) in named {
            if let Some(path) = path {
                prepare_file(flag, path)?;
            }
        }
        Ok(Self {
            metadata_file,
            iidfile,
            stdout_is_taken,
        })
    }

    /// Writes everything. `product` is for stdout: the digest, with a name where one was made.
    pub(super) fn write(
        &self,
        report: &BuildReport,
        tags: &[Reference],
        product: &str,
    ) -> Result<(), ProgramError> {
        let digest = &report.manifest.digest;
        let failed = |path: &Path, error: &io::Error| {
            ProgramError::failed(format!(
                "the image is complete ({digest}), but {} could not be written",
                path.display()
            ))
            .because(error)
        };
        if let Some(path) = &self.iidfile {
            write_whole(path, report.image_id().as_str()).map_err(|error| failed(path, &error))?;
        }
        if let Some(path) = &self.metadata_file {
            let document = metadata::document(report, tags);
            write_whole(path, &document).map_err(|error| failed(path, &error))?;
        }
        if !self.stdout_is_taken {
            print_product(&format!("{product}\n"))?;
        }
        Ok(())
    }
}

/// Makes sure that the file of a flag can be written, and removes the one of an earlier run.
pub(crate) fn prepare_file(flag: &str, path: &Path) -> Result<(), ProgramError> {
    let wrong = |what: &str| ProgramError::input(format!("{flag} {}: {what}", path.display()));
    if path.is_dir() {
        return Err(wrong("this is a directory"));
    }
    if !directory_of(path).is_dir() {
        return Err(wrong("the directory of this file does not exist"));
    }
    if is_regular(path) {
        fs::remove_file(path)
            .map_err(|error| wrong("an earlier file cannot be removed").because(&error))?;
    }
    Ok(())
}

/// Writes a file in one piece: readers see all of it or none. What is not a regular file, such as
/// a pipe, is written to as it is.
pub(crate) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    if path.exists() && !is_regular(path) {
        return fs::write(path, text);
    }
    let (temporary, mut file) = create_beside(path)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Names that are tried for an unfinished file.
const NAMES_MAX: u32 = 1_000;

/// A new file in the directory of `path`. In a directory like `/tmp` others may have put links
/// where they expect ours, so nothing that exists is opened.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let process = std::process::id();
    for number in 0..NAMES_MAX {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{process}-{number}"));
        let temporary = directory_of(path).join(name);
        match File::create_new(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return Ok((temporary, created?)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn is_regular(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_earlier_builds_are_removed_and_new_ones_appear_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("metadata.json");
        fs::write(&path, "old").expect("an old file");
        Results::prepare(Some(path.clone()), None, false).expect("a good path");
        assert!(!path.exists());
        write_whole(&path, "new").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "new");
        let names = fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(names, 1, "no temporary file is left");
    }

    #[test]
    fn links_that_wait_for_a_result_are_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let victim = directory.path().join("victim");
        fs::write(&victim, "mine").expect("a file");
        for suffix in ["", "-0"] {
            let name = format!(".id.{}{suffix}", std::process::id());
            std::os::unix::fs::symlink(&victim, directory.path().join(name)).expect("a link");
        }
        let path = directory.path().join("id");
        write_whole(&path, "new").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "new");
        assert_eq!(fs::read_to_string(&victim).expect("a file"), "mine");
    }

    #[test]
    fn paths_that_cannot_work_are_refused_before_the_build() {
        let directory = tempfile::tempdir().expect("a directory");
        let check = |path: PathBuf, expected: &str| {
            let error = Results::prepare(None, Some(path), false).expect_err(expected);
            assert!(error.headline.ends_with(expected), "{}", error.headline);
        };
        check(directory.path().to_owned(), "this is a directory");
        check(
            directory.path().join("no/file"),
            "the directory of this file does not exist",
        );
    }
}
