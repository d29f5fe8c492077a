//! Images of the same build, on which others are built.

use dockerfile::{Diagnostic, Span};
use oci::Platform;

use crate::{BuiltImage, TargetImage};

/// An image of the same build, where a Dockerfile names it.
#[derive(Debug, Clone)]
pub(crate) struct BuiltBase {
    pub(super) name: String,
    platform: Platform,
    pub(super) span: Span,
    /// Nothing when it is not built for that platform.
    pub(super) target: Option<TargetImage>,
    /// For which it is built.
    offered: Vec<Platform>,
}

impl BuiltBase {
    pub(crate) fn new(image: &BuiltImage, platform: &Platform, span: Span) -> Self {
        let targets = image.targets.iter();
        Self {
            name: image.name.clone(),
            platform: platform.clone(),
            span,
            target: image.target(platform).cloned(),
            offered: targets.map(|(platform, _)| platform.clone()).collect(),
        }
    }

    pub(super) fn finding(&self) -> Option<Diagnostic> {
        let Self { name, platform, .. } = self;
        if self.target.is_some() {
            return None;
        }
        let offered: Vec<String> = self.offered.iter().map(Platform::to_string).collect();
        let message = format!("the image `{name}` of this build is not built for {platform}");
        let help = match offered.as_slice() {
            [] => format!("`{name}` has to be built before this image"),
            _ => format!("it is built for {}", offered.join(", ")),
        };
        Some(Diagnostic::error(self.span, message, "not for this platform").with_help(help))
    }
}
