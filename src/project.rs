//! The project that a verb works on: `kiln.yaml`, found from where the user is, and everything that
//! flags, the environment and the user's own files put above it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use project::{Compatibility, Declared, Layer, Layered, Origin, Project, Setting, layered};

use crate::args::ProjectOptions;
use crate::error::ProgramError;
use crate::settings::Settings;

/// The declaration.
pub(crate) const FILE: &str = "kiln.yaml";

/// What is one user's own, beside it.
const LOCAL_FILE: &str = "kiln.local.yaml";

/// What lattice keeps, beside it.
const LATTICE_FILE: &str = ".lattice/docker.json";

/// The most directories that are looked into, upwards.
const DIRECTORIES_MAX: usize = 256;

/// What a verb's own flags say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProjectFlags<'f> {
    /// `--config`.
    pub(crate) config: Option<&'f Path>,
    /// `--registry`.
    pub(crate) registry: Option<&'f str>,
    /// `--prefix`.
    pub(crate) prefix: Option<&'f str>,
    /// `--channel`.
    pub(crate) channel: Option<&'f str>,
}

impl<'f> From<&'f ProjectOptions> for ProjectFlags<'f> {
    fn from(options: &'f ProjectOptions) -> Self {
        Self {
            config: options.config.as_deref(),
            registry: options.registry.as_deref(),
            prefix: options.prefix.as_deref(),
            channel: None,
        }
    }
}

/// A project, ready to work with.
#[derive(Clone, Debug)]
pub(crate) struct LoadedProject {
    /// Where the file is: what it says of paths is relative to it.
    pub(crate) directory: PathBuf,
    /// The declaration as it is written, with places for messages.
    pub(crate) declared: Declared<Project>,
    /// What counts, and where it comes from.
    pub(crate) layered: Layered,
}

impl LoadedProject {
    /// The values that count.
    pub(crate) fn values(&self) -> &Project {
        &self.layered.project
    }

    /// An error about a value of the file, shown with its line.
    pub(crate) fn wrong(&self, path: &[&str], message: &str, help: Option<String>) -> ProgramError {
        let mut finding = project::Diagnostic::error(self.declared.places.of(path), message, "");
        finding.help = help;
        project::ReadError {
            name: self.declared.name.clone(),
            text: self.declared.text.clone(),
            diagnostics: vec![finding],
        }
        .into()
    }
}

/// The project, which must be there.
pub(crate) fn load(
    settings: &Settings,
    flags: ProjectFlags<'_>,
) -> Result<LoadedProject, ProgramError> {
    match find(settings, flags)? {
        Some(project) => Ok(project),
        None => Err(ProgramError::input(format!(
            "there is no {FILE} in this directory, nor above it as far as its repository goes"
        ))
        .hint("name one with --config, or write one: docs/kiln-yaml.md")),
    }
}

/// The project, where there is one: `--config`, or the nearest `kiln.yaml` from here up to the root
/// of the git repository.
pub(crate) fn find(
    settings: &Settings,
    flags: ProjectFlags<'_>,
) -> Result<Option<LoadedProject>, ProgramError> {
    let Some((path, name)) = locate(flags.config)? else {
        return Ok(None);
    };
    let text = read_text(&path, &name)?;
    let text = text.ok_or_else(|| ProgramError::input(format!("{name} does not exist")))?;
    let declared = project::read(&name, &text)?;
    let directory = match path.parent() {
        Some(directory) if directory != Path::new("") => directory.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut layers = vec![of_flags(flags), of_environment(settings)];
    layers.push(match declared.value.compat {
        None => Layer::default(),
        Some(Compatibility::Lattice) => of_lattice(settings),
        Some(Compatibility::Epp) => of_epp(settings)?,
    });
    let beside = |file: &str| (directory.join(file), beside(&name, file));
    let (path, name) = beside(LOCAL_FILE);
    if let Some(text) = read_text(&path, &name)? {
        layers.push(project::read_local(&name, &text)?);
    }
    let (path, name) = beside(LATTICE_FILE);
    if let Some(text) = read_text(&path, &name)? {
        layers.push(project::read_lattice(&name, &text)?);
    }
    let layered = layered(&declared, &layers).map_err(|error| {
        let said = ProgramError::input(error.to_string());
        match error.help {
            Some(help) => said.hint(help),
            None => said,
        }
    })?;
    if let Some(account) = &layered.project.google {
        settings.declare_google(account);
    }
    Ok(Some(LoadedProject {
        directory,
        declared,
        layered,
    }))
}

fn of_flags(flags: ProjectFlags<'_>) -> Layer {
    let mut layer = Layer::default();
    let values = [
        (Setting::Registry, flags.registry),
        (Setting::Prefix, flags.prefix),
        (Setting::Channel, flags.channel),
    ];
    for (setting, value) in values {
        if let Some(value) = value {
            layer.set(setting, value, Origin::Flag(format!("--{}", setting.key())));
        }
    }
    layer
}

fn of_environment(settings: &Settings) -> Layer {
    variables(
        settings,
        [
            (Setting::Registry, "KILN_REGISTRY"),
            (Setting::Prefix, "KILN_PREFIX"),
            (Setting::Channel, "KILN_CHANNEL"),
        ],
    )
}

fn of_lattice(settings: &Settings) -> Layer {
    variables(
        settings,
        [
            (Setting::Registry, "REGISTRY"),
            (Setting::Prefix, "REPOSITORY_PREFIX"),
            (Setting::Channel, "CHANNEL"),
        ],
    )
}

fn variables(settings: &Settings, names: [(Setting, &str); 3]) -> Layer {
    let mut layer = Layer::default();
    for (setting, name) in names {
        // As everywhere, an empty variable is one that is not set.
        if let Some(value) = settings.variable(name).filter(|value| !value.is_empty()) {
            layer.set(setting, &value, Origin::Environment(name.to_owned()));
        }
    }
    layer
}

/// What the makefiles of the endpoint picker are told: a repository of Artifact Registry in parts.
fn of_epp(settings: &Settings) -> Result<Layer, ProgramError> {
    const NAMES: [&str; 3] = ["REGION", "PROJECT_ID", "AR_REPO_NAME"];
    let values = NAMES.map(|name| settings.variable(name).filter(|value| !value.is_empty()));
    let mut layer = Layer::default();
    match &values {
        [None, None, None] => {}
        [Some(region), Some(project), Some(repository)] => {
            let registry = format!("{region}-docker.pkg.dev/{project}/{repository}");
            layer.set(
                Setting::Registry,
                &registry,
                Origin::Environment(NAMES.join(", ")),
            );
        }
        // `PROJECT_ID` is set for many other reasons; the repository is not.
        [_, _, None] => {}
        [region, project, Some(_)] => {
            let missing = match (region, project) {
                (None, _) => NAMES[0],
                (Some(_), _) => NAMES[1],
            };
            return Err(ProgramError::input(format!(
                "AR_REPO_NAME is set and {missing} is not: they are the registry together"
            )));
        }
    }
    Ok(layer)
}

/// The file, and how messages call it.
fn locate(config: Option<&Path>) -> Result<Option<(PathBuf, String)>, ProgramError> {
    if let Some(path) = config {
        return Ok(Some((path.to_owned(), path.display().to_string())));
    }
    let here = std::env::current_dir()
        .map_err(|error| ProgramError::input("this directory cannot be read").because(&error))?;
    let mut name = FILE.to_owned();
    for (depth, directory) in here.ancestors().take(DIRECTORIES_MAX).enumerate() {
        let path = directory.join(FILE);
        match std::fs::symlink_metadata(&path) {
            Ok(found) => {
                if depth > 0 {
                    trust(&name, found.uid())?;
                }
                let relative = std::iter::repeat_n("..", depth).collect::<PathBuf>();
                return Ok(Some((relative.join(FILE), name)));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(ProgramError::input(format!("{name} cannot be read")).because(&error));
            }
        }
        let other = directory.join("kiln.yml");
        if other.is_file() {
            return Err(ProgramError::input(format!(
                "{} is not read: the file is called {FILE}",
                name.replace(FILE, "kiln.yml")
            ))
            .hint("rename it, or name it with --config"));
        }
        if directory.join(".git").exists() {
            break;
        }
        name = format!("../{name}");
    }
    Ok(None)
}

/// What lies above is another's only where that other may do everything anyway: in a directory like
/// `/tmp` anybody can put a file over everybody's work.
fn trust(name: &str, owner: u32) -> Result<(), ProgramError> {
    if owner == 0 || owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(
        ProgramError::input(format!("{name} belongs to another user (number {owner})"))
            .hint(format!("if it is meant, say so: --config {name}")),
    )
}

/// How messages call a file beside another.
fn beside(name: &str, file: &str) -> String {
    match name.rsplit_once('/') {
        Some((directory, _)) => format!("{directory}/{file}"),
        None => file.to_owned(),
    }
}

/// A file as text; nothing where there is none.
fn read_text(path: &Path, name: &str) -> Result<Option<String>, ProgramError> {
    let wrong = |what: &str| ProgramError::input(format!("{name} {what}"));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong("cannot be read").because(&error)),
    };
    let is_directory = file.metadata().is_ok_and(|metadata| metadata.is_dir());
    if is_directory {
        return Err(wrong("is a directory"));
    }
    let mut bytes = Vec::new();
    file.take(project::TEXT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong("cannot be read").because(&error))?;
    if bytes.len() > project::TEXT_BYTES_MAX {
        return Err(wrong(&format!(
            "has more than {} bytes",
            project::TEXT_BYTES_MAX
        )));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| wrong("is not a text in UTF-8").because(&error))?;
    Ok(Some(text))
}
