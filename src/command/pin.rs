//! `kiln pin`: digests behind the names of images, in files that others read.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use handoff::{FileKind, Finding, Findings, Place};
use oci::{Digest, Reference};
use registry::Client;
use serde_json::json;

use super::print_product;
use crate::args::{Format, FormatOption, RegistryOptions};
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// The most of a file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The version of the JSON form.
const SCHEMA: u32 = 1;

/// Put digests behind the names of images in manifests and Dockerfiles
///
/// `image: nginx:1.27` becomes `image: nginx:1.27@sha256:...`, and FROM and --from likewise; nothing
/// else of a file changes. Names that have a digest are left alone, unless --update is given.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln pin deploy/*.yaml Dockerfile\n  kiln pin --update \
                  Dockerfile\n  kiln pin --check deploy/*.yaml   # for CI: changes nothing"
)]
pub(crate) struct PinArguments {
    /// YAML files and Dockerfiles
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Change nothing; exit code 1 when something would be changed
    #[arg(long)]
    check: bool,

    /// Ask again for names that have a tag and a digest, and put the tag's digest of today there
    #[arg(long)]
    update: bool,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    registry: RegistryOptions,
}

impl Command for PinArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.registry)
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let files = self
            .files
            .iter()
            .map(|path| read(path))
            .collect::<Result<Vec<_>, _>>()?;
        for file in &files {
            for unread in &file.findings.unread {
                presentation.warn(&format!(
                    "{}: `{}` is left as it is: {}",
                    at(&file.path, &unread.place),
                    unread.place.written,
                    unread.reason
                ));
            }
        }
        let digests = ports::converse(settings, presentation, async |client| {
            self.resolve(&files, client).await
        })?;
        let mut changes = Vec::new();
        for file in &files {
            let mut in_file = Vec::new();
            for finding in &file.findings.names {
                if let Some(change) = self.change(file, finding, &digests)? {
                    in_file.push((finding.place.clone(), change.to.clone()));
                    changes.push(change);
                }
            }
            if !self.check && !in_file.is_empty() {
                write(&file.path, &handoff::replace(&file.text, &in_file))?;
            }
        }
        print_product(&match self.format.format {
            Format::Text => changes.iter().map(Change::text).collect::<String>(),
            Format::Json => {
                let changes: Vec<_> = changes.iter().map(Change::json).collect();
                format!("{:#}\n", json!({"schema": SCHEMA, "changes": changes}))
            }
        })?;
        Ok(match self.check && !changes.is_empty() {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        })
    }
}

/// A file, and the names in it.
struct Source {
    path: PathBuf,
    text: String,
    findings: Findings,
}

/// A name that is not what it should be.
struct Change {
    place: String,
    from: String,
    to: String,
}

impl Change {
    fn text(&self) -> String {
        format!("{}: {} -> {}\n", self.place, self.from, self.to)
    }

    fn json(&self) -> serde_json::Value {
        json!({"place": self.place, "from": self.from, "to": self.to})
    }
}

impl PinArguments {
    /// The name that is to be looked up for a finding, if any is.
    fn wanted(&self, finding: &Finding) -> Option<Reference> {
        let reference = &finding.reference;
        match (reference.digest(), reference.tag()) {
            (None, _) => Some(reference.clone()),
            (Some(_), Some(tag)) if self.update => Some(reference.repository().at_tag(tag.clone())),
            (Some(_), _) => None,
        }
    }

    async fn resolve(
        &self,
        files: &[Source],
        client: &Client,
    ) -> Result<BTreeMap<Reference, Digest>, ProgramError> {
        let mut digests = BTreeMap::new();
        for file in files {
            for finding in &file.findings.names {
                let Some(wanted) = self.wanted(finding) else {
                    continue;
                };
                if digests.contains_key(&wanted) {
                    continue;
                }
                let found = client.resolve(&wanted).await.map_err(|error| {
                    let place = at(&file.path, &finding.place);
                    let said = ProgramError::failed(format!(
                        "{place}: {} could not be looked up",
                        wanted.familiar()
                    ))
                    .because(&error);
                    match error.advice() {
                        Some(advice) => said.hint(advice),
                        None => said,
                    }
                })?;
                digests.insert(wanted, found.digest);
            }
        }
        Ok(digests)
    }

    fn change(
        &self,
        file: &Source,
        finding: &Finding,
        digests: &BTreeMap<Reference, Digest>,
    ) -> Result<Option<Change>, ProgramError> {
        let Some(digest) = self.wanted(finding).and_then(|wanted| digests.get(&wanted)) else {
            return Ok(None);
        };
        if finding.reference.digest() == Some(digest) {
            return Ok(None);
        }
        let written = &finding.place.written;
        let name = written.split('@').next().unwrap_or(written);
        // Whoever wrote no tag meant this one; with only a digest nobody could ask for it again.
        let has_tag = name
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(':'));
        let tag = if has_tag { "" } else { ":latest" };
        Ok(Some(Change {
            place: at(&file.path, &finding.place),
            from: written.clone(),
            to: format!("{name}{tag}@{digest}"),
        }))
    }
}

fn at(path: &Path, place: &Place) -> String {
    format!("{}:{}:{}", path.display(), place.line, place.column)
}

fn read(path: &Path) -> Result<Source, ProgramError> {
    let wrong = |what: &str| ProgramError::input(format!("{} {what}", path.display()));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kind = FileKind::of(&name).ok_or_else(|| {
        wrong("is neither YAML nor a Dockerfile by its name")
            .hint("names end in .yaml or .yml, or are Dockerfile or Containerfile, with more before or behind a dot")
    })?;
    let mut text = String::new();
    let file =
        std::fs::File::open(path).map_err(|error| wrong("cannot be read").because(&error))?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| wrong("cannot be read").because(&error))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(&format!("has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(Source {
        path: path.to_owned(),
        findings: handoff::find(kind, &text),
        text,
    })
}

/// Replaces a file, or the one that a link leads to, by rename: half a manifest must never be seen.
fn write(path: &Path, text: &str) -> Result<(), ProgramError> {
    let write = || -> std::io::Result<()> {
        let target = path.canonicalize()?;
        let mode = std::fs::metadata(&target)?.permissions();
        let directory = target.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(mode)?;
        file.persist(&target).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| {
        ProgramError::failed(format!("{} could not be written", path.display())).because(&error)
    })
}
