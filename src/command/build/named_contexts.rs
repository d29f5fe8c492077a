//! `--build-context NAME=VALUE`: files or images under a name that a Dockerfile uses (F7).

use std::collections::BTreeMap;
use std::path::Path;

use engine::ContextSource;
use graph::{ImageName, LayoutImage, NamedContext};
use oci::Digest;

use super::source;
use crate::error::ProgramError;

/// What the names stand for: for the graph, and the files for the engine.
#[derive(Debug, Default)]
pub(crate) struct NamedContexts {
    /// All of them, by name in lower case.
    pub(crate) names: BTreeMap<String, NamedContext>,
    /// Those that are files.
    pub(crate) files: BTreeMap<String, ContextSource>,
}

impl NamedContexts {
    /// Reads all flags.
    pub(crate) fn read(flags: &[String]) -> Result<Self, ProgramError> {
        let mut contexts = Self::default();
        for flag in flags {
            contexts.add(flag)?;
        }
        Ok(contexts)
    }

    fn add(&mut self, flag: &str) -> Result<(), ProgramError> {
        let what = format!("--build-context {flag}");
        let fail = |why: &str| ProgramError::input(format!("{what}: {why}"));
        let Some((name, value)) = flag.split_once('=') else {
            return Err(fail("expected NAME=VALUE"));
        };
        if name.is_empty() || value.is_empty() {
            return Err(fail("expected NAME=VALUE, and neither of them empty"));
        }
        let name = NamedContext::key(name);
        if name == "scratch" {
            return Err(fail("`scratch` is nothing, and stays that"));
        }
        let named = if let Some(image) = value.strip_prefix("docker-image://") {
            let reference = image.parse::<oci::Reference>();
            NamedContext::Image(ImageName::Registry(
                reference.map_err(|error| fail(&error.to_string()))?,
            ))
        } else if let Some(layout) = value.strip_prefix("oci-layout://") {
            NamedContext::Image(ImageName::Layout(layout_image(layout, &fail)?))
        } else if value.starts_with("target:") || value.starts_with("input:") {
            let why = "`target:` and `input:` are words of bake files, where other builds have \
                       names";
            return Err(fail(why));
        } else {
            let files = files(&what, value)?;
            self.files.insert(name.clone(), files);
            NamedContext::Files
        };
        match self.names.insert(name, named) {
            None => Ok(()),
            Some(_) => Err(fail("the name is given twice")),
        }
    }
}

fn files(what: &str, value: &str) -> Result<ContextSource, ProgramError> {
    let path = Path::new(value);
    if !path.exists() {
        let address = source::address(value).map_err(|error| source::unusable(what, &error))?;
        if let Some(address) = address {
            return Ok(address);
        }
    }
    source::on_this_machine(&format!("{what}: the context"), path)
}

/// An image as a declaration names it: one of a registry, or `oci-layout://PATH`, which is relative to
/// `directory`. The error says what is wrong.
pub(crate) fn image(text: &str, directory: &Path) -> Result<ImageName, String> {
    let text = text.strip_prefix("docker-image://").unwrap_or(text);
    let Some(layout) = text.strip_prefix("oci-layout://") else {
        let reference = text.parse::<oci::Reference>();
        return reference
            .map(ImageName::Registry)
            .map_err(|error| error.to_string());
    };
    let layout = directory.join(layout).display().to_string();
    let fail = |why: &str| ProgramError::input(why);
    let image = layout_image(&layout, &fail).map_err(|error| error.headline)?;
    Ok(ImageName::Layout(image))
}

/// `PATH[:TAG][@DIGEST]`
fn layout_image(
    text: &str,
    fail: &dyn Fn(&str) -> ProgramError,
) -> Result<LayoutImage, ProgramError> {
    let (rest, digest) = match text.rsplit_once('@') {
        None => (text, None),
        Some((rest, digest)) => {
            let digest = digest.parse::<Digest>();
            (
                rest,
                Some(digest.map_err(|error| fail(&error.to_string()))?),
            )
        }
    };
    let (directory, tag) = match rest.rsplit_once(':') {
        Some((directory, tag)) if !tag.contains('/') => (directory, Some(tag)),
        Some(_) | None => (rest, None),
    };
    if directory.is_empty() || tag.is_some_and(str::is_empty) {
        return Err(fail("expected oci-layout://PATH[:TAG][@DIGEST]"));
    }
    if !Path::new(directory).is_dir() {
        return Err(fail(&format!("there is no directory {directory}")));
    }
    Ok(LayoutImage {
        directory: directory.to_owned(),
        tag: tag.map(str::to_owned),
        digest,
    })
}
