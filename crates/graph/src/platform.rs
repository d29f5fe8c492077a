//! Platforms as a Dockerfile writes them.

use dockerfile::{Diagnostic, Span};
use oci::PlatformError;

/// A platform that there is not, and the one that may have been meant.
pub(crate) fn not_a_platform(span: Span, error: &PlatformError) -> Diagnostic {
    let finding = Diagnostic::error(span, error.to_string(), "not a platform");
    let near = match error {
        PlatformError::Form(_) => None,
        PlatformError::Unknown { name, known, .. } => {
            dockerfile::suggest::nearest(name, known.iter().copied())
        }
    };
    match near {
        Some(near) => finding.with_help(format!("did you mean `{near}`?")),
        None => finding,
    }
}
