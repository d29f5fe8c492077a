//! What the engine is asked for: the declaration of each image and variant, with every default
//! applied.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Parser as _;
use engine::{
    BuildRequest, ContextSource, DockerfileSource, Output, Overlay, OverlayImage, OverlaySource,
    SetImage, SetRequest, Shape,
};
use graph::{ImageName, NamedContext};
use oci::Reference;
use project::{ImageDeclaration, Project, Variant};

use super::choice::{Member, Selection, members};
use crate::command::build::platforms::Platforms;
use crate::command::build::{BuildArguments, named_contexts, source};
use crate::error::ProgramError;
use crate::project::LoadedProject;
use crate::settings::Settings;

/// The images of a project, ready to be built.
#[derive(Clone, Debug)]
pub(crate) struct DeclaredSet {
    /// What was asked for, sorted. What is only built because another image needs it is not here.
    pub(crate) members: Vec<Member>,
    /// For the engine, which calls images as a [`Member`] is displayed.
    pub(crate) request: SetRequest,
}

/// The names that an image gets in the store or elsewhere, and what is made of it.
pub(crate) type Naming<'n> =
    dyn Fn(&Member) -> Result<(Vec<Reference>, Vec<Output>), ProgramError> + 'n;

/// Reads a selection of a project. `common`: what flags say of all images; their build arguments,
/// labels and annotations are added to those that are declared, and win. `platforms`: in the place of
/// declared ones, unless empty.
pub(crate) fn declared_set(
    project: &LoadedProject,
    selection: Selection<'_>,
    common: &BuildRequest,
    platforms: &[String],
    naming: &Naming<'_>,
) -> Result<DeclaredSet, ProgramError> {
    let members = members(project.values(), selection)?;
    let mut builder = Builder {
        loaded: project,
        project: project.values(),
        common,
        platforms,
        naming,
        wanted: members.iter().cloned().collect(),
        added: BTreeSet::new(),
        images: Vec::new(),
        overlays: Vec::new(),
    };
    for member in &members {
        builder.add(member)?;
    }
    let Builder {
        images, overlays, ..
    } = builder;
    Ok(DeclaredSet {
        members,
        request: SetRequest::new(images, overlays)?,
    })
}

/// What is the same for all images where no flag says anything.
pub(crate) fn defaults(settings: &Settings) -> Result<BuildRequest, ProgramError> {
    /// No flags.
    #[derive(clap::Parser)]
    struct NoFlags {
        #[command(flatten)]
        build: BuildArguments,
    }
    let flags = NoFlags::try_parse_from(["build"]);
    let flags = flags.map_err(|error| ProgramError::failed(error.to_string()))?;
    flags.build.common(settings)
}

struct Builder<'b> {
    loaded: &'b LoadedProject,
    project: &'b Project,
    common: &'b BuildRequest,
    platforms: &'b [String],
    naming: &'b Naming<'b>,
    wanted: BTreeSet<Member>,
    /// Images of the graph that are there already.
    added: BTreeSet<Member>,
    /// Each behind those that it needs.
    images: Vec<SetImage>,
    overlays: Vec<OverlayImage>,
}

impl<'b> Builder<'b> {
    /// Adds what was asked for, and what it needs.
    fn add(&mut self, member: &Member) -> Result<(), ProgramError> {
        let Some((source, variant)) = self.overlay(member) else {
            return self.add_built(member);
        };
        let below = self.built(member);
        self.add_built(&below)?;
        let from = match self.project.images.contains_key(source) {
            true => {
                let plain = Member::plain(source);
                self.add_built(&plain)?;
                OverlaySource::Built(self.built_name(&plain))
            }
            false => OverlaySource::Image(self.overlay_image(member, source)?),
        };
        let wrong = |message: &str, help: &str| {
            let path = ["variants", member.variant.as_str()];
            Err(self.loaded.wrong(&path, message, Some(help.to_owned())))
        };
        if variant.overlay_paths.is_empty() {
            return wrong(
                "an overlay without `overlay-paths` lays nothing over an image",
                "say which of its directories go where, such as `overlay-paths: {/bin: /busybox}`",
            );
        }
        let places: Vec<&str> = variant.overlay_paths.values().map(String::as_str).collect();
        let suffix = variant.path_suffix.clone();
        let (tags, outputs) = (self.naming)(member)?;
        self.overlays.push(OverlayImage {
            name: member.to_string(),
            of: self.built_name(&below),
            overlay: Overlay {
                from,
                paths: variant.overlay_paths.clone(),
                path_suffix: Some(suffix.unwrap_or_else(|| places.join(":"))),
            },
            tags,
            outputs,
        });
        Ok(())
    }

    /// The image that a variant lays over another one, if it does.
    fn overlay(&self, member: &Member) -> Option<(&'b str, &'b Variant)> {
        let variant = self.variant(member)?;
        Some((variant.overlay.as_deref()?, variant))
    }

    /// The declaration of a variant; `plain` has none.
    fn variant(&self, member: &Member) -> Option<&'b Variant> {
        match member.is_plain() {
            true => None,
            false => self.project.variants.get(&member.variant),
        }
    }

    /// The image of the graph that a member is, or lies over: the plain one, unless its variant says
    /// how to build.
    fn built(&self, member: &Member) -> Member {
        let is_built = self.variant(member).is_some_and(|variant| {
            variant.target.is_some()
                || !variant.args.is_empty()
                || !variant.base_overrides.is_empty()
        });
        match is_built {
            true => member.clone(),
            false => Member::plain(&member.image),
        }
    }

    /// How the engine calls an image of the graph. What is laid over an image of the same variant has
    /// the member's name.
    fn built_name(&self, member: &Member) -> String {
        match self.overlay(member) {
            Some(_) => format!("{member} without overlay"),
            None => member.to_string(),
        }
    }

    fn overlay_image(&self, member: &Member, text: &str) -> Result<ImageName, ProgramError> {
        let path = ["variants", member.variant.as_str(), "overlay"];
        let wrong = |message: &str, help: Option<&str>| {
            self.loaded.wrong(&path, message, help.map(str::to_owned))
        };
        let name = named_contexts::image(text, &self.loaded.directory)
            .map_err(|reason| wrong(&reason, None))?;
        let is_pinned = match &name {
            ImageName::Registry(reference) => reference.digest().is_some(),
            ImageName::Layout(_) => true,
        };
        match is_pinned {
            true => Ok(name),
            false => Err(wrong(
                &format!(
                    "the overlay `{text}` is not pinned: equal sources would not make equal images"
                ),
                Some("add its digest: `NAME@sha256:…`"),
            )),
        }
    }

    /// Adds an image of the graph behind those that it needs. Not by recursion into circles: the
    /// project has none.
    fn add_built(&mut self, member: &Member) -> Result<(), ProgramError> {
        let member = self.built(member);
        if !self.added.insert(member.clone()) {
            return Ok(());
        }
        let Some(declared) = self.project.images.get(&member.image) else {
            return Err(ProgramError::input(format!(
                "the project declares no image `{}`",
                member.image
            )));
        };
        let mut needs = BTreeMap::new();
        for name in &declared.needs {
            let needed = self.needed(name, &member);
            self.add_built(&needed)?;
            needs.insert(name.clone(), self.built_name(&needed));
        }
        let request = self.request(&member, declared)?;
        self.images.push(SetImage {
            name: self.built_name(&member),
            request,
            needs,
        });
        Ok(())
    }

    /// Which variant of an image a member needs: its own where that is built and the image has it.
    fn needed(&self, name: &str, member: &Member) -> Member {
        let own = Member {
            image: name.to_owned(),
            variant: member.variant.clone(),
        };
        let has_it = self
            .project
            .images
            .get(name)
            .is_some_and(|image| image.variants.contains(&member.variant));
        match has_it {
            true => self.built(&own),
            false => Member::plain(name),
        }
    }

    fn request(
        &self,
        member: &Member,
        declared: &ImageDeclaration,
    ) -> Result<BuildRequest, ProgramError> {
        let variant = self.variant(member);
        let mut request = self.common.clone();
        let context = self.context(member, declared)?;
        request.dockerfile = self.dockerfile(member, declared, &context)?;
        request.context = context;
        let graph = &mut request.graph;
        let target = variant.and_then(|variant| variant.target.clone());
        graph.target = target.or_else(|| declared.target.clone());
        let mut arguments = declared.args.clone();
        arguments.extend(variant.iter().flat_map(|variant| variant.args.clone()));
        arguments.extend(std::mem::take(&mut graph.build_args));
        graph.build_args = arguments;
        let mut labels = self.project.labels.clone();
        labels.extend(declared.labels.clone());
        labels.extend(std::mem::take(&mut graph.labels));
        graph.labels = labels;
        for (base, instead) in variant.iter().flat_map(|variant| &variant.base_overrides) {
            let image = named_contexts::image(instead, &self.loaded.directory);
            let image = image.map_err(|reason| {
                let path = ["variants", member.variant.as_str(), "base-overrides", base];
                self.loaded.wrong(&path, &reason, None)
            })?;
            let context = NamedContext::Image(image);
            graph.contexts.insert(NamedContext::key(base), context);
        }
        let platforms = match self.platforms {
            [] => declared.platforms.as_slice(),
            platforms => platforms,
        };
        let platforms = Platforms::read(platforms, &graph.build_args)?;
        graph.platform = platforms.first();
        graph.platform_is_default = platforms.are_default();
        // What is said of one image needs an index.
        request.shape = match platforms.shape() {
            Shape::Image if !request.attestations.is_empty() => {
                Shape::Index(vec![platforms.first()])
            }
            shape => shape,
        };
        let is_outcome = self.wanted.contains(member) && self.overlay(member).is_none();
        (request.tags, request.outputs) = match is_outcome {
            true => (self.naming)(member)?,
            false => (Vec::new(), Vec::new()),
        };
        Ok(request)
    }

    fn context(
        &self,
        member: &Member,
        declared: &ImageDeclaration,
    ) -> Result<ContextSource, ProgramError> {
        let written = declared.context.as_deref().unwrap_or(".");
        let path = joined(&self.loaded.directory, written);
        let found = match path.exists() {
            false => {
                source::address(written).map_err(|error| source::unusable("the context", &error))?
            }
            true => None,
        };
        match found {
            Some(elsewhere) => Ok(elsewhere),
            None => source::on_this_machine("the context", &path)
                .map_err(|error| self.blame(member, "context", error)),
        }
    }

    fn dockerfile(
        &self,
        member: &Member,
        declared: &ImageDeclaration,
        context: &ContextSource,
    ) -> Result<DockerfileSource, ProgramError> {
        let Some(file) = &declared.file else {
            return Ok(DockerfileSource::Default);
        };
        let path = match context {
            ContextSource::Directory(directory) => joined(directory, file),
            ContextSource::Archive(_)
            | ContextSource::Stdin
            | ContextSource::Http(_)
            | ContextSource::Git(_)
            | ContextSource::Empty => Path::new(file).to_owned(),
        };
        source::dockerfile(Some(path.as_os_str()), context)
            .map_err(|error| self.blame(member, "file", error))
    }

    /// An error about a key of an image, shown with its line.
    fn blame(&self, member: &Member, key: &str, error: ProgramError) -> ProgramError {
        let path = ["images", member.image.as_str(), key];
        let hint = error.hints.first().cloned();
        self.loaded.wrong(&path, &error.headline, hint)
    }
}

/// A path below a directory, as short as people write it.
fn joined(directory: &Path, path: &str) -> PathBuf {
    match (directory == Path::new("."), path) {
        (_, ".") => directory.to_owned(),
        (true, path) => PathBuf::from(path),
        (false, path) => directory.join(path),
    }
}
