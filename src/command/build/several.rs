//! `kiln build` without a path: the images that the project declares, as one build.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use engine::{BuildRequest, Output, SetReport};
use oci::Reference;
use serde_json::{Value, json};

use super::call::{Call, check_several};
use super::declared::{
    self, BuiltSet, DeclaredSet, Member, Named, Names, Selection, declared_set, members,
};
use super::results::{prepare_file, write_whole};
use super::{BuildArguments, DryRunFormat};
use crate::args::ProjectOptions;
use crate::command::print_product;
use crate::error::ProgramError;
use crate::ports;
use crate::project::{self, LoadedProject, ProjectFlags};
use crate::render::{Presentation, dry_run, metadata};
use crate::settings::Settings;
use crate::sources::{self, Sources};

/// The version of the form of `--print`.
const SCHEMA: u32 = 1;

/// Which of the images that `kiln.yaml` declares.
#[derive(Args, Debug)]
#[command(next_help_heading = "Declared images")]
pub(super) struct SeveralFlags {
    /// Build this image of kiln.yaml, can be repeated [default: all]
    #[arg(long = "image", value_name = "NAME")]
    images: Vec<String>,

    /// Build the images of this group of kiln.yaml, can be repeated
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,

    /// Build only this variant of images of kiln.yaml, can be repeated [default: all that an image
    /// has]
    #[arg(long = "variant", value_name = "NAME")]
    variants: Vec<String>,

    /// Print what would be built of kiln.yaml, with all defaults, as JSON, and build nothing
    #[arg(long)]
    print: bool,

    #[command(flatten)]
    project: ProjectOptions,
}

impl SeveralFlags {
    /// A flag that only makes sense for declared images.
    fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--image", !self.images.is_empty()),
            ("--group", !self.groups.is_empty()),
            ("--variant", !self.variants.is_empty()),
            ("--print", self.print),
            ("--config", self.project.config.is_some()),
            ("--registry", self.project.registry.is_some()),
            ("--prefix", self.project.prefix.is_some()),
        ];
        let given = flags.into_iter().find(|(_, is_given)| *is_given);
        given.map(|(flag, _)| flag)
    }
}

/// The project whose images are to be built: where no path is given, and the project declares some.
pub(super) fn project(
    arguments: &BuildArguments,
    settings: &Settings,
) -> Result<Option<LoadedProject>, ProgramError> {
    let flags = ProjectFlags::from(&arguments.several.project);
    let given = arguments.several.given();
    if arguments.context.is_some() || arguments.file.is_some() {
        return match given {
            None => Ok(None),
            Some(flag) => Err(ProgramError::input(format!(
                "{flag} is about the images of kiln.yaml, and a path builds what is there"
            ))
            .hint("leave the path and --file out")),
        };
    }
    if given.is_some() {
        return project::load(settings, flags).map(Some);
    }
    let found = project::find(settings, flags)?;
    Ok(found.filter(|project| !project.values().images.is_empty()))
}

/// Builds them.
pub(super) fn run(
    arguments: &BuildArguments,
    project: &LoadedProject,
    settings: &Settings,
    presentation: Presentation,
) -> Result<ExitCode, ProgramError> {
    refuse(arguments)?;
    let call = Call::read(&arguments.calls, arguments.check)?;
    let flags = &arguments.several;
    let selection = Selection {
        images: &flags.images,
        groups: &flags.groups,
        variants: &flags.variants,
    };
    let mut common = arguments.common(settings)?;
    common.graph.runs = call.is_none();
    let named = names(
        arguments,
        project,
        selection,
        &mut common,
        settings,
        presentation,
    )?;
    let outputs = match (common.outputs.as_slice(), named.is_empty()) {
        // A name is there to be found again.
        ([], false) => vec![Output::Image],
        (outputs, _) => outputs.to_vec(),
    };
    let naming = |member: &Member| {
        let tags = named.get(member).cloned().unwrap_or_default();
        Ok((tags, outputs.clone()))
    };
    let set = declared_set(project, selection, &common, &arguments.platform, &naming)?;
    if flags.print {
        print_product(&printed(&set))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(call) = call {
        return check_several(call, &set.request, common.threads, settings, presentation);
    }
    if let Some(format) = arguments.dry_run {
        let plan = ports::serve(settings, presentation, common.threads, async |ports| {
            engine::dry_run_set(&set.request, ports).await
        })?;
        print_product(&match format {
            DryRunFormat::Text => dry_run::text(&plan),
            DryRunFormat::Json => dry_run::json(&plan),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(code) = super::enter(&common, settings, presentation)? {
        return Ok(code);
    }
    if let Some(path) = &arguments.metadata_file {
        prepare_file("--metadata-file", path)?;
    }
    let built = ports::serve(settings, presentation, common.threads, async |ports| {
        declared::build(&set, ports).await
    })?;
    if arguments.explain {
        presentation.explain(&built.report.whole());
    }
    presentation.conclude_several(&built.report);
    let published = built.report.published.as_ref();
    arguments.publishing.write_report(published)?;
    write_metadata(arguments, &set, &built.report)?;
    print_product(&product(&built))?;
    Ok(ExitCode::SUCCESS)
}

/// The names of the images, by the rules of the project; what images are told of their sources, and
/// how they are published, becomes part of `common`. Without a registry, and without a commit where
/// nothing is pushed, images have no names.
fn names(
    arguments: &BuildArguments,
    project: &LoadedProject,
    selection: Selection<'_>,
    common: &mut BuildRequest,
    settings: &Settings,
    presentation: Presentation,
) -> Result<BTreeMap<Member, Vec<Reference>>, ProgramError> {
    let pushes = common.outputs.contains(&Output::Registry);
    let rules = &project.values().tags;
    let wishes = arguments.tagging.wishes(rules, pushes)?;
    let describe = rules.describe_match.as_deref();
    let sources = Sources::find(settings, &project.directory, describe);
    match (&sources, arguments.tagging.tells()) {
        (Ok(sources), tells) => {
            let extra = wishes.extra.first();
            let with_labels = tells.unwrap_or(true);
            sources.tell(&mut common.graph, wishes.dirty, with_labels, extra);
        }
        (Err(_), Some(true)) => return sources.map(|_| BTreeMap::new()),
        (Err(_), Some(false) | None) => {}
    }
    let plan = match sources::tags(&wishes, &sources) {
        Ok(plan) => plan,
        Err(error) if pushes => return Err(error),
        Err(_) => return Ok(BTreeMap::new()),
    };
    for note in &plan.notes {
        presentation.warn(note);
    }
    let mut all = BTreeMap::new();
    match Names::new(project, plan)? {
        Some(names) => {
            for member in members(project.values(), selection)? {
                let Named {
                    tags,
                    immutable_tags,
                } = names.of(&member)?;
                common.immutable_tags.extend(immutable_tags);
                all.insert(member, tags);
            }
        }
        None if pushes => {
            return Err(
                ProgramError::input("the project does not say where images are pushed to")
                    .hint("give it a `registry` in kiln.yaml, or use --registry"),
            );
        }
        None => {}
    }
    let tags: Vec<Reference> = all.values().flatten().cloned().collect();
    let given = arguments.publishing.immutable_tags(&tags)?;
    common.immutable_tags.extend(given);
    if pushes {
        let publishing = &arguments.publishing;
        common.publishing = publishing.publishing(&common.immutable_tags)?;
        publishing.add_project_signers(&mut common.publishing, project, settings)?;
    }
    Ok(all)
}

/// Refuses what is about one image.
fn refuse(arguments: &BuildArguments) -> Result<(), ProgramError> {
    let flags = [
        (
            "--tag",
            !arguments.tags.is_empty(),
            "kiln.yaml says how its images are called",
        ),
        (
            "--target",
            arguments.target.is_some(),
            "kiln.yaml has `target` for each image",
        ),
        (
            "--iidfile",
            arguments.iidfile.is_some(),
            "--metadata-file has the digests of all",
        ),
        (
            "--output",
            !arguments.outputs.is_empty(),
            "--push and --load are for all of them",
        ),
    ];
    match flags.into_iter().find(|(_, is_given, _)| *is_given) {
        None => Ok(()),
        Some((flag, _, instead)) => Err(ProgramError::input(format!(
            "{flag} is about one image, and this builds those of kiln.yaml: {instead}"
        ))
        .hint("to build one Dockerfile as it is, name its context: `kiln build .`")),
    }
}

/// `NAME DIGEST` for each image.
fn product(built: &BuiltSet) -> String {
    let lines = built.members.iter();
    let lines = lines.map(|built| format!("{} {}\n", built.member, built.root.digest));
    lines.collect()
}

/// One document for each image, under its name, as bake writes them.
fn write_metadata(
    arguments: &BuildArguments,
    set: &DeclaredSet,
    report: &SetReport,
) -> Result<(), ProgramError> {
    let Some(path) = &arguments.metadata_file else {
        return Ok(());
    };
    let names: Vec<String> = set.members.iter().map(Member::to_string).collect();
    let images = report.images.iter();
    let images = images.filter(|image| names.contains(&image.name));
    let documents = images.map(|image| {
        let tags: Vec<_> = match set.request.tags(&image.name) {
            Some(tags) => tags.to_vec(),
            None => Vec::new(),
        };
        let report = report.of_image(image);
        (image.name.clone(), metadata::keys(&report, &tags))
    });
    let documents: BTreeMap<String, Value> = documents.collect();
    let text = format!("{:#}\n", json!(documents));
    write_whole(path, &text).map_err(|error| {
        ProgramError::failed(format!(
            "all images are complete, but {} could not be written",
            path.display()
        ))
        .because(&error)
    })
}

/// What would be built.
fn printed(set: &DeclaredSet) -> String {
    let images = set.request.images().iter().map(|image| {
        let request = &image.request;
        json!({
            "name": image.name,
            "context": shown_context(request),
            "dockerfile": shown_dockerfile(request),
            "target": request.graph.target,
            "args": request.graph.build_args,
            "labels": request.graph.labels,
            "platforms": platforms(request),
            "needs": image.needs,
            "tags": request.tags,
            "push": request.outputs.contains(&Output::Registry),
        })
    });
    let overlays = set.request.overlay_images().iter().map(|overlay| {
        let from = match &overlay.overlay.from {
            engine::OverlaySource::Image(name) => name.to_string(),
            engine::OverlaySource::Built(name) => name.clone(),
        };
        json!({
            "name": overlay.name,
            "of": overlay.of,
            "overlay": from,
            "overlay-paths": overlay.overlay.paths,
            "path-suffix": overlay.overlay.path_suffix,
            "tags": overlay.tags,
            "push": overlay.outputs.contains(&Output::Registry),
        })
    });
    let document = json!({
        "schema": SCHEMA,
        "members": set.members.iter().map(Member::to_string).collect::<Vec<_>>(),
        "images": images.collect::<Vec<Value>>(),
        "overlays": overlays.collect::<Vec<Value>>(),
    });
    format!("{document:#}\n")
}

fn platforms(request: &BuildRequest) -> Vec<String> {
    match request.shape.platforms() {
        [] => vec![request.graph.platform.to_string()],
        platforms => platforms.iter().map(ToString::to_string).collect(),
    }
}

fn shown_context(request: &BuildRequest) -> String {
    match &request.context {
        engine::ContextSource::Directory(path) | engine::ContextSource::Archive(path) => {
            path.display().to_string()
        }
        engine::ContextSource::Stdin => "-".to_owned(),
        engine::ContextSource::Http(address) => address.shown(),
        engine::ContextSource::Git(address) => address.shown(),
        engine::ContextSource::Empty => String::new(),
    }
}

fn shown_dockerfile(request: &BuildRequest) -> Option<String> {
    match &request.dockerfile {
        engine::DockerfileSource::Default => None,
        engine::DockerfileSource::Path(path) => Some(path.display().to_string()),
        engine::DockerfileSource::InContext(path) => Some(path.clone()),
        engine::DockerfileSource::Http(address) => Some(address.shown()),
        engine::DockerfileSource::Text { name, .. } => Some(name.clone()),
    }
}
