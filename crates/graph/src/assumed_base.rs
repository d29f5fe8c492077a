//! A base that nobody can know: for looking at a Dockerfile without its build arguments.

use dockerfile::{Diagnostic, expand};
use oci::{Platform, Reference};

use crate::stage::{Named, Source};

impl Source {
    /// Some image, where only the right build arguments make FROM name one. The findings from
    /// `known` on, which say that it names none, are taken back.
    pub(crate) fn assumed_base(
        &self,
        number: usize,
        known: usize,
        findings: &mut Vec<Diagnostic>,
    ) -> Option<(Named, Platform)> {
        let from = &self.stages[number].from;
        let mut has_variables = false;
        for word in from.platform.iter().chain([&from.image]) {
            let expansion = expand(&word.value, self.escape, &self.globals).ok()?;
            has_variables |= !expansion.used.is_empty() || !expansion.unset.is_empty();
        }
        if !self.assumes_images || !has_variables {
            return None;
        }
        let reference = "unknown".parse::<Reference>().ok()?;
        findings.truncate(known);
        let image = Named::Image(reference.into(), self.platform.clone(), from.image.span);
        Some((image, self.platform.clone()))
    }
}
