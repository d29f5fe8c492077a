//! What a declaration must hold to beyond its form: names that exist, and values that mean
//! something. Everything that is wrong is found at once.

mod channels;
pub(crate) mod destinations;
mod images;
mod signers;
mod tags;

use crate::form::{cut, shown_path};
use crate::nearest::nearest;
use crate::{Declared, Diagnostic, Project, Span};

/// Everything that is wrong.
pub(crate) fn check(declared: &Declared<Project>) -> Vec<Diagnostic> {
    let mut findings = Findings {
        declared,
        found: Vec::new(),
    };
    destinations::check(&mut findings);
    tags::check(&mut findings);
    images::check(&mut findings);
    signers::check(&mut findings);
    channels::check(&mut findings);
    findings.found
}

/// What was found so far.
struct Findings<'d> {
    declared: &'d Declared<Project>,
    found: Vec<Diagnostic>,
}

impl<'d> Findings<'d> {
    fn project(&self) -> &'d Project {
        &self.declared.value
    }

    fn place(&self, path: &[&str]) -> Span {
        self.declared.places.of(path)
    }

    /// `images.a.path: …`, at its place.
    fn report(&mut self, path: &[&str], message: &str, label: &str, help: Option<String>) {
        let keys: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
        let message = format!("`{}`: {message}", cut(&shown_path(&keys)));
        let mut finding = Diagnostic::error(self.place(path), message, label);
        finding.help = help;
        self.found.push(finding);
    }

    /// A name that should be one of those known.
    fn unknown(&mut self, path: &[&str], what: &str, name: &str, known: &[&str]) {
        let help = match (nearest(name, known.iter().copied()), known) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, []) => format!("the file declares no {what}"),
            (None, known) => format!("declared are {}", known.join(", ")),
        };
        let message = format!("there is no {what} `{}`", cut(name));
        self.report(path, &message, "not declared", Some(help));
    }
}
