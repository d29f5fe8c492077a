//! What the user puts in the place of names of the Dockerfile (`--build-context`). The order is
//! BuildKit's (F7): a context of that very name, a stage, a context that means the same image, and
//! only then the registry.

use dockerfile::Span;
use oci::{Platform, Reference};

use crate::NamedContext;
use crate::stage::{BuiltBase, Named, Source};

impl Source {
    /// What stands for the whole of a stage, none of whose instructions are done then.
    pub(crate) fn replacement(&self, number: usize) -> Option<Named> {
        let name = self.stage_name(number)?;
        self.named_context(name, &self.platform, self.stages[number].span)
    }

    /// What the user gave this very name to (F7).
    pub(crate) fn named_context(
        &self,
        name: &str,
        platform: &Platform,
        span: Span,
    ) -> Option<Named> {
        Some(match self.contexts.get(name)? {
            NamedContext::Files => Named::Files(name.to_owned()),
            NamedContext::Image(image) => Named::Image(image.clone(), platform.clone(), span),
            NamedContext::Built(image) => {
                Named::Built(Box::new(BuiltBase::new(image, platform, span)))
            }
        })
    }

    /// An image, or what the user put in its place: a name that means the same image, however it
    /// is written (F7).
    pub(crate) fn image(&self, reference: Reference, platform: &Platform, span: Span) -> Named {
        let is_meant = |name: &&String| {
            name.parse::<Reference>()
                .is_ok_and(|name| name == reference)
        };
        let name = self.contexts.keys().find(is_meant);
        name.and_then(|name| self.named_context(name, platform, span))
            .unwrap_or_else(|| Named::Image(reference.into(), platform.clone(), span))
    }
}
