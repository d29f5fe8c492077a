//! A check without a build: everything that can be said about a Dockerfile when nobody looks up its
//! images. Rules that depend on what an image says are silent about stages that begin with one.

use dockerfile::ignore::IgnoreFile;
use dockerfile::lint::{self, Settings};
use dockerfile::{Diagnostic, Dockerfile, Parse};

use oci::{Descriptor, Digest, ImageConfig, MediaType};

use crate::stage::stages_to_check;
use crate::{
    BaseImage, BuildGraph, ImageName, NamedImage, Request, StageSet, copies_of_ignored, lower,
};

/// What was found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The file as it was understood.
    pub tree: Dockerfile,
    /// In the order of the text; what is not wanted is not among them.
    pub findings: Vec<Diagnostic>,
    /// What is wanted.
    pub settings: Settings,
    /// The steps, as far as they are known without images. Not to be built. Nothing when the file
    /// has errors.
    pub graph: Option<BuildGraph>,
}

impl Checked {
    /// Whether the file cannot be built.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Diagnostic::is_error)
    }

    /// Whether a rule is broken.
    pub fn breaks_rules(&self) -> bool {
        self.findings.iter().any(|finding| finding.rule.is_some())
    }
}

/// Checks a text: the target of the request, or all stages when it names none (F10). `settings`
/// stand in for those of the file.
pub fn check(
    text: &str,
    request: &Request,
    ignore: Option<&IgnoreFile>,
    settings: Option<&Settings>,
) -> Checked {
    let Parse { tree, diagnostics } = dockerfile::parse(text);
    let mut findings = diagnostics;
    findings.extend(lint::file(&tree, text));
    let settings = match settings {
        Some(settings) => settings.clone(),
        None => {
            let (settings, wrong) = Settings::of_file(&tree);
            findings.extend(wrong);
            settings
        }
    };
    let mut graph = None;
    if !findings.iter().any(Diagnostic::is_error) {
        match steps(&tree, request) {
            Ok((steps, more)) => {
                findings.extend(more);
                if let Some(ignore) = ignore {
                    findings.extend(copies_of_ignored(&steps, request.image, ignore));
                }
                graph = Some(steps);
            }
            Err(more) => findings.extend(more),
        }
    }
    findings.sort_by_key(|finding| (finding.span.start, finding.rule));
    findings.dedup();
    settings.select(&tree, text, &mut findings);
    Checked {
        tree,
        findings,
        settings,
        graph,
    }
}

fn steps(
    tree: &Dockerfile,
    request: &Request,
) -> Result<(BuildGraph, Vec<Diagnostic>), Vec<Diagnostic>> {
    let set = stages_to_check(tree, request)?;
    let lowered = lower(&set.assume(), request)?;
    Ok((lowered.graph, lowered.warnings))
}

impl StageSet<ImageName> {
    /// Puts images that say nothing in place of names, for a check without a registry. What is
    /// lowered from such a set cannot be built.
    fn assume(self) -> StageSet<BaseImage> {
        let images = self.images.into_iter().map(|named| NamedImage {
            image: BaseImage {
                reference: named.image,
                manifest: Descriptor::new(MediaType::OciManifest, Digest::of(b""), 0),
                config: ImageConfig::default(),
                layers: Vec::new(),
            },
            platform: named.platform,
            span: named.span,
        });
        StageSet {
            source: self.source,
            stages: self.stages,
            images: images.collect(),
            contexts: self.contexts,
            built: self.built,
            images_are_assumed: true,
            warnings: self.warnings,
        }
    }
}
