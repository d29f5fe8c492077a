//! How images are published: which tags never move, and what is written about it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use engine::{Publishing, Seals};
use oci::Reference;
use publish::Seal;

use super::build::declared::signed_by;
use super::build::results::{prepare_file, write_whole};
use crate::error::ProgramError;
use crate::ports;
use crate::project::{self, LoadedProject, ProjectFlags};
use crate::settings::Settings;
use crate::signing::{Confined, Signers, seals};

/// Options of verbs that publish.
#[derive(Args, Debug)]
pub(crate) struct PublishOptions {
    /// Tags that are never moved to another image: comma-separated names of tags, or all of them
    #[arg(
        long,
        value_name = "TAG,...",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_delimiter = ','
    )]
    immutable: Option<Vec<String>>,

    /// Move immutable tags this once
    #[arg(long)]
    retag: bool,

    /// Have a signer of kiln.yaml sign the image before any tag points at it: its name, or none
    /// where there is one only (docs/signing.md)
    #[arg(
        long = "sign",
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    signers: Vec<String>,

    /// Write what was published to a file, as JSON (docs/publishing.md)
    #[arg(long = "report", value_name = "FILE")]
    report_file: Option<PathBuf>,
}

impl PublishOptions {
    /// Those of these names that are said to be immutable.
    pub(crate) fn immutable_tags(
        &self,
        tags: &[Reference],
    ) -> Result<BTreeSet<Reference>, ProgramError> {
        match self.immutable.as_deref() {
            None => Ok(BTreeSet::new()),
            Some([name]) if name.is_empty() => Ok(tags.iter().cloned().collect()),
            Some(names) => named(names, tags),
        }
    }

    /// What is asked for where some tags are immutable. Makes sure that the report can be written,
    /// and removes the one of an earlier run.
    pub(crate) fn publishing(
        &self,
        immutable_tags: &BTreeSet<Reference>,
    ) -> Result<Publishing, ProgramError> {
        if self.retag && immutable_tags.is_empty() {
            return Err(ProgramError::input(
                "--retag moves immutable tags, and no tag is immutable",
            )
            .hint("other tags are moved anyway; `--immutable` says which are not"));
        }
        if let Some(path) = &self.report_file {
            prepare_file("--report", path)?;
        }
        Ok(Publishing {
            retag: self.retag,
            ..Publishing::default()
        })
    }

    /// Adds those who sign. Keys are read and services described here, before anything is built:
    /// who cannot sign is known at once.
    pub(crate) fn add_signers(
        &self,
        publishing: &mut Publishing,
        settings: &Settings,
    ) -> Result<(), ProgramError> {
        if self.signers.is_empty() {
            return Ok(());
        }
        let project = project::find(settings, ProjectFlags::default())?;
        let names: Vec<String> = self
            .signers
            .iter()
            .filter(|name| !name.is_empty())
            .cloned()
            .collect();
        let client = ports::service_client(settings)?;
        let signers = Signers {
            settings,
            client: &client,
        };
        let signers = signers.of_project(project.as_ref(), &names)?;
        publishing.seals = Seals(seals(signers));
        Ok(())
    }

    /// Adds those who sign images of a project, and those that its destinations ask for.
    pub(crate) fn add_project_signers(
        &self,
        publishing: &mut Publishing,
        project: &LoadedProject,
        settings: &Settings,
    ) -> Result<(), ProgramError> {
        let named = self.signers.iter().filter(|name| !name.is_empty());
        let named: Vec<String> = named.cloned().collect();
        let destinations = project.values().destinations.values();
        let mut demanded: Vec<String> = Vec::new();
        for name in destinations.flat_map(|destination| &destination.sign) {
            if !named.contains(name) && !demanded.contains(name) {
                demanded.push(name.clone());
            }
        }
        if self.signers.is_empty() && demanded.is_empty() {
            return Ok(());
        }
        let client = ports::service_client(settings)?;
        let signers = Signers {
            settings,
            client: &client,
        };
        let mut all = Vec::new();
        if !self.signers.is_empty() {
            all.extend(seals(signers.of_project(Some(project), &named)?));
        }
        for name in demanded {
            let repositories = signed_by(project.values(), &name);
            for signer in signers.of_project(Some(project), &[name])? {
                let repositories = repositories.clone();
                all.push(Arc::new(Confined {
                    signer,
                    repositories,
                }) as Arc<dyn Seal>);
            }
        }
        publishing.seals = Seals(all);
        Ok(())
    }

    /// Refuses options that mean nothing where nothing is published.
    pub(crate) fn check_unpublished(&self) -> Result<(), ProgramError> {
        let given = [
            ("--immutable", self.immutable.is_some()),
            ("--retag", self.retag),
            ("--sign", !self.signers.is_empty()),
            ("--report", self.report_file.is_some()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((flag, _)) => Err(ProgramError::input(format!(
                "{flag} is about what goes to registries, and nothing does"
            ))
            .hint("add `--push`")),
        }
    }

    /// Writes the report, if that is asked for.
    pub(crate) fn write_report(
        &self,
        report: Option<&publish::Report>,
    ) -> Result<(), ProgramError> {
        let (Some(path), Some(report)) = (&self.report_file, report) else {
            return Ok(());
        };
        let json = String::from_utf8_lossy(&report.to_json()).into_owned();
        write_whole(path, &json).map_err(|error| {
            ProgramError::failed(format!(
                "everything is published, but {} could not be written",
                path.display()
            ))
            .because(&error)
        })
    }
}

fn named(names: &[String], tags: &[Reference]) -> Result<BTreeSet<Reference>, ProgramError> {
    let mut immutable = BTreeSet::new();
    for name in names {
        let is_it = |tag: &&Reference| tag.tag().is_some_and(|tag| tag.as_str() == name);
        let before = immutable.len();
        immutable.extend(tags.iter().filter(is_it).cloned());
        if immutable.len() == before {
            let known: Vec<&str> = tags
                .iter()
                .filter_map(|tag| Some(tag.tag()?.as_str()))
                .collect();
            return Err(
                ProgramError::input(format!("--immutable {name}: no name has this tag"))
                    .hint(format!("the tags are {}", known.join(", "))),
            );
        }
    }
    Ok(immutable)
}
