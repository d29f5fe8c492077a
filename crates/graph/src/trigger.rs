//! Triggers (ONBUILD) of base images: text that becomes instructions of a stage (I9).

use dockerfile::{Diagnostic, Span, parse_onbuild};

use crate::stage::{Planned, Source};
use crate::{ImageName, Origin};

impl Source {
    /// Reads one trigger of the image that is named at `span`. `image`: which one, and what people
    /// call it.
    pub(crate) fn trigger(
        &self,
        text: &str,
        image: (Option<&ImageName>, &str),
        span: Span,
        planned: &mut Vec<Planned>,
        findings: &mut Vec<Diagnostic>,
    ) {
        let (reference, shown) = image;
        let parse = parse_onbuild(text, self.escape);
        for diagnostic in parse
            .diagnostics
            .iter()
            .filter(|finding| finding.is_error())
        {
            let message = format!(
                "the trigger `{}` of {shown} cannot be read: {}",
                text.lines().next().unwrap_or(""),
                diagnostic.message
            );
            findings.push(Diagnostic::error(
                span,
                message,
                "the image with the trigger",
            ));
        }
        planned.extend(
            parse
                .tree
                .instructions
                .into_iter()
                .map(|instruction| Planned {
                    instruction,
                    origin: Origin::Onbuild {
                        reference: reference.cloned(),
                        text: text.to_owned(),
                    },
                    elsewhere: Some(span),
                    files_of: Vec::new(),
                }),
        );
    }
}
