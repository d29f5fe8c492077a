//! `kiln emit helm`: values for a chart, and the certainty that it reads them.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use handoff::{Chart, ChartError, HelmValues, PublishedImage, Shape};
use project::HelmShape;

use super::selection::SelectionOptions;
use crate::args::ProjectOptions;
use crate::error::ProgramError;
use crate::project as loading;
use crate::settings::Settings;

/// The most of a chart that is read: bytes of one file, and files.
const FILE_BYTES_MAX: u64 = 4 << 20;
const FILES_MAX: usize = 1000;

/// The shape that counts where none is said.
const DEFAULT_SHAPE: &str = "repository-tag";

/// Values for a Helm chart
///
/// Where an image belongs is said with --map, or by `helm` of the image in kiln.yaml. With --chart,
/// values that the chart would ignore are an error: with helm on PATH the chart is rendered, and
/// every image must be in what comes out.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln emit helm --chart charts/pool > values.yaml && helm upgrade pool \
                  charts/pool -f values.yaml\n  kiln emit helm --map \
                  epp=inferenceExtension.image:registry-repository-tag --set"
)]
pub(super) struct HelmArguments {
    /// Where an image belongs, can be repeated: keys with dots between them, and the shape:
    /// hub-name-tag, registry-repository-tag, repository-tag (the default), repository-digest, or
    /// KEY=TEMPLATE,... with {registry}, {path}, {repository}, {hub}, {name}, {tag} and {digest}
    #[arg(long = "map", value_name = "IMAGE=PATH[:SHAPE]")]
    maps: Vec<String>,

    /// Check that this chart reads the values
    #[arg(long, value_name = "DIR")]
    chart: Option<PathBuf>,

    /// Print arguments for the command line of helm, one a line
    #[arg(long)]
    set: bool,

    #[command(flatten)]
    selection: SelectionOptions,

    #[command(flatten)]
    project: ProjectOptions,
}

impl HelmArguments {
    /// What is to be printed.
    pub(super) fn text(&self, settings: &Settings) -> Result<String, ProgramError> {
        let images = self.selection.read(settings)?.images();
        let (values, written) = self.values(settings, &images)?;
        if let Some(directory) = &self.chart {
            check(directory, &values, &written, settings)?;
        }
        Ok(match self.set {
            true => values.to_arguments().join("\n") + "\n",
            false => values.to_yaml(),
        })
    }

    /// The values, and the images that are in them.
    fn values(
        &self,
        settings: &Settings,
        images: &[PublishedImage],
    ) -> Result<(HelmValues, Vec<PublishedImage>), ProgramError> {
        let mut values = HelmValues::default();
        let mut written = Vec::new();
        let mut put = |image: &PublishedImage, path: &str, shape: &str| {
            let wrong = |error: &dyn std::fmt::Display| {
                ProgramError::input(format!("the values for {}: {error}", image.name))
            };
            let shape: Shape = shape.parse().map_err(|error| wrong(&error))?;
            values
                .put(path, &shape, image)
                .map_err(|error| wrong(&error))?;
            written.push(image.clone());
            Ok::<(), ProgramError>(())
        };
        if self.maps.is_empty() {
            let project = loading::find(settings, (&self.project).into())?;
            for image in images {
                let declared = project
                    .as_ref()
                    .and_then(|project| project.values().images.get(&image.name)?.helm.as_ref());
                if let Some(helm) = declared {
                    put(image, &helm.path, shape(helm.shape))?;
                }
            }
            if written.is_empty() {
                return Err(ProgramError::input(
                    "nothing says where the images belong in the values of the chart",
                )
                .hint("say it with --map IMAGE=PATH, or with `helm` of the images in kiln.yaml"));
            }
            return Ok((values, written));
        }
        for map in &self.maps {
            let Some((name, place)) = map.split_once('=') else {
                return Err(ProgramError::input(format!(
                    "--map {map}: expected IMAGE=PATH, or IMAGE=PATH:SHAPE"
                )));
            };
            let (path, shape) = place.split_once(':').unwrap_or((place, DEFAULT_SHAPE));
            let names = || images.iter().map(|image| image.name.as_str());
            let Some(image) = images.iter().find(|image| image.name == name) else {
                let there: Vec<&str> = names().collect();
                return Err(ProgramError::input(format!(
                    "--map {map}: no image `{name}` was published"
                ))
                .hint(match dockerfile::suggest::nearest(name, names()) {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => format!("there are {}", there.join(", ")),
                }));
            };
            put(image, path, shape)?;
        }
        Ok((values, written))
    }
}

/// The word for a shape.
pub(in crate::command) fn shape(shape: HelmShape) -> &'static str {
    match shape {
        HelmShape::HubNameTag => "hub-name-tag",
        HelmShape::RegistryRepositoryTag => "registry-repository-tag",
        HelmShape::RepositoryTag => "repository-tag",
        HelmShape::RepositoryDigest => "repository-digest",
    }
}

/// Refuses values that the chart ignores.
fn check(
    directory: &Path,
    values: &HelmValues,
    images: &[PublishedImage],
    settings: &Settings,
) -> Result<(), ProgramError> {
    check_texts(directory, values)?;
    render(directory, values, images, settings)
}

/// The same, judged by the texts of the chart alone.
pub(in crate::command) fn check_texts(
    directory: &Path,
    values: &HelmValues,
) -> Result<(), ProgramError> {
    let shown = directory.display();
    let chart_file = read(&directory.join("Chart.yaml"))?
        .ok_or_else(|| ProgramError::input(format!("{shown} is no chart: it has no Chart.yaml")))?;
    let own = read(&directory.join("values.yaml"))?.unwrap_or_default();
    let mut templates = Vec::new();
    collect(&directory.join("templates"), &mut templates)?;
    let chart = Chart::read(&chart_file, &own, templates).map_err(|error| {
        ProgramError::input(format!("the chart {shown} cannot be read")).because(&error)
    })?;
    if let Err(error) = chart.check(values) {
        let mut told = ProgramError::input(format!("{error} ({shown})"));
        if let ChartError::Ignored(ignored) = &error {
            for value in ignored.iter().filter(|value| !value.near.is_empty()) {
                let near = value.near.join("`, `");
                told = told.hint(format!(
                    "instead of `{}` the chart reads `{near}`",
                    value.path
                ));
            }
        }
        return Err(told);
    }
    Ok(())
}

/// Has helm render the chart, where there is helm, and looks for the images in what comes out.
fn render(
    directory: &Path,
    values: &HelmValues,
    images: &[PublishedImage],
    settings: &Settings,
) -> Result<(), ProgramError> {
    let Some(helm) = program("helm", settings) else {
        return Ok(());
    };
    let failed = |what: &str| ProgramError::failed(format!("helm {what}"));
    let arguments = ["template", "kiln"];
    let mut child = Command::new(helm)
        .args(arguments)
        .arg(directory)
        .args(["--values", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed("could not be started").because(&error))?;
    let yaml = values.to_yaml();
    let mut stdin = child.stdin.take();
    let writer = std::thread::spawn(move || {
        use std::io::Write as _;
        // A helm that does not read says why it ended.
        let _ = stdin
            .take()
            .map(|mut stdin| stdin.write_all(yaml.as_bytes()));
    });
    let output = child
        .wait_with_output()
        .map_err(|error| failed("could not be waited for").because(&error))?;
    let _ = writer.join();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().last().unwrap_or_default().to_owned();
        return Err(failed(&format!("could not render the chart: {last}")));
    }
    let rendered = String::from_utf8_lossy(&output.stdout);
    for image in images {
        let names = |text: &str| rendered.contains(text);
        let tag = image.tag.as_ref().map(|tag| tag.as_str());
        if !names(image.digest.as_str()) && !tag.is_some_and(names) {
            return Err(ProgramError::input(format!(
                "the chart {} ignores these values: rendered with them, it names neither tag nor \
                 digest of {}",
                directory.display(),
                image.name
            ))
            .hint("look at which values its templates read: `helm template`"));
        }
    }
    Ok(())
}

/// A program on PATH.
fn program(name: &str, settings: &Settings) -> Option<PathBuf> {
    std::env::split_paths(&settings.program_path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// A file of the chart; nothing where there is none.
fn read(path: &Path) -> Result<Option<String>, ProgramError> {
    let wrong = |what: &str| ProgramError::input(format!("{} {what}", path.display()));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong("cannot be read").because(&error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong("cannot be read").because(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(&format!("has more than {FILE_BYTES_MAX} bytes")));
    }
    // What is no text names no value either.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// All files below a directory, which may be missing.
fn collect(directory: &Path, texts: &mut Vec<String>) -> Result<(), ProgramError> {
    let wrong = |what: &str| ProgramError::input(format!("{} {what}", directory.display()));
    let unreadable = |error: std::io::Error| wrong("cannot be read").because(&error);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        if texts.len() >= FILES_MAX {
            return Err(wrong(&format!("has more than {FILES_MAX} files")));
        }
        let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
        if kind.is_dir() {
            collect(&path, texts)?;
        } else if kind.is_file() {
            texts.extend(read(&path)?);
        }
    }
    Ok(())
}
