//! What was said of one image, in the shapes in which it is kept: a manifest in the index beside
//! the image, referrers, and files.

use oci::{Attachment, Descriptor};
use serde_json::Value;
use sign::statement::{AttestationManifest, Statement, StatementSubject, referrer};

use crate::assemble::Image;

/// One claim.
#[derive(Clone, Debug)]
pub(crate) struct Predicate {
    /// Its type.
    pub kind: &'static str,
    /// What it says.
    pub value: Value,
    /// What a file with it is called.
    pub file_name: String,
    /// Whether it is never put into files.
    pub inline_only: bool,
}

/// What is said of one image.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    predicates: Vec<Predicate>,
    statements: Vec<Statement>,
    image: Descriptor,
    /// The time of files with it, in seconds since 1970.
    pub epoch_seconds: i64,
    /// All of it, as an index lists it.
    pub manifest: AttestationManifest,
}

impl Said {
    pub(super) fn new(
        image: &Image,
        subjects: Vec<StatementSubject>,
        predicates: Vec<Predicate>,
        epoch_seconds: i64,
    ) -> Self {
        let statement = |predicate: &Predicate| {
            Statement::new(subjects.clone(), predicate.kind, predicate.value.clone())
        };
        let statements: Vec<Statement> = predicates.iter().map(statement).collect();
        let digest = image.manifest.digest().clone();
        Self {
            manifest: AttestationManifest::new(digest, &statements),
            predicates,
            statements,
            image: image.descriptor(),
            epoch_seconds,
        }
    }

    /// Each statement as a referrer of the image's manifest.
    pub(crate) fn referrers(&self) -> impl Iterator<Item = Attachment> + '_ {
        let statements = self.statements.iter();
        statements.map(|statement| referrer(&self.image, statement))
    }

    /// Files with statements about other files: name and content.
    pub(crate) fn files(&self, subjects: &[StatementSubject]) -> Vec<(String, Vec<u8>)> {
        let predicates = self.predicates.iter();
        predicates
            .filter(|predicate| !predicate.inline_only)
            .map(|predicate| {
                // A statement is about something: where there are no files, about the image.
                let subjects = match subjects {
                    [] => vec![StatementSubject::new("_", &self.image.digest)],
                    subjects => subjects.to_vec(),
                };
                let value = predicate.value.clone();
                let statement = Statement::new(subjects, predicate.kind, value);
                (predicate.file_name.clone(), statement.pretty_bytes())
            })
            .collect()
    }

    /// Whether there are any.
    pub(crate) fn has_files(&self) -> bool {
        let mut predicates = self.predicates.iter();
        predicates.any(|predicate| !predicate.inline_only)
    }
}
