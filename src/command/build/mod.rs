//! `kiln build`: a Dockerfile and a context become an image.

mod annotation;
mod attest;
mod base;
mod cache;
mod cache_mounts;
mod call;
pub(crate) mod declared;
mod named_contexts;
pub(crate) mod output;
mod platforms;
pub(crate) mod results;
mod run_flags;
mod secret;
mod several;
mod source;
mod ssh;
mod tagging;
mod unsupported;
pub(crate) mod values;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use engine::{BuildRequest, ContextSource, Output, Publishing, SandboxChoice, Shape};
use oci::{Compression, Platform};

use self::attest::AttestFlags;
use self::base::BaseFlags;
use self::cache::CacheFlags;
use self::cache_mounts::CacheMountFlags;
use self::call::Call;
use self::named_contexts::NamedContexts;
use self::output::{OutputFlags, Outputs};
use self::platforms::Platforms;
use self::results::Results;
use self::run_flags::RunFlags;
use self::several::SeveralFlags;
use self::tagging::{Beside, TagFlags, Tagged};
use self::unsupported::UnsupportedFlags;
use crate::args::{ProgressMode, ProgressOptions, RegistryOptions, StoreOption};
use crate::command::Command;
use crate::command::publish_options::PublishOptions;
use crate::error::ProgramError;
use crate::ports;
use crate::render::{Presentation, dry_run};
use crate::settings::Settings;

/// The most threads that can be asked for.
const THREADS_MAX: usize = 256;

/// Build an image from a Dockerfile
///
/// Flags have the names and the meaning that they have in docker buildx build. The digest of the
/// image is printed to stdout, everything else to stderr. Without --output, --push or --load the
/// image stays in the store, from where `kiln push` can send it.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln build -t registry.example/team/app:1 --push .\n  kiln build --push \
                  --repo registry.example/team/app\n  kiln build --platform \
                  linux/amd64,linux/arm64 -o type=oci,dest=app.tar .\n  kiln build --image epp \
                  --variant debug"
)]
pub(crate) struct BuildArguments {
    /// What COPY and ADD take files from: a directory, a tar archive, the address of an archive or
    /// of a git repository; `-` is an archive or a Dockerfile on stdin [default: what kiln.yaml
    /// declares, where there is one, otherwise this directory]
    #[arg(value_name = "CONTEXT")]
    context: Option<OsString>,

    /// The Dockerfile; `-` is stdin [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "PATH")]
    file: Option<OsString>,

    /// Name of the image, can be repeated
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    tags: Vec<String>,

    /// Files or an image under a name for FROM and --from, can be repeated: a directory, a tar
    /// archive, the address of an archive or of a git repository, docker-image://NAME,
    /// oci-layout://PATH, with `:TAG` or `@DIGEST` behind it
    #[arg(long = "build-context", value_name = "NAME=VALUE")]
    build_contexts: Vec<String>,

    /// Value of an ARG; NAME alone takes it from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,

    /// Stage to build [default: the last one]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// What the image is to run on, such as linux/amd64; several, separated by commas or by
    /// repetition, make an index [default: this machine]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<String>,

    /// Label of the image; wins over the Dockerfile's
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,

    /// Annotation of the manifest, or of the places named: manifest, index, manifest-descriptor,
    /// index-descriptor; `manifest[PLATFORM]` is one of several
    #[arg(long = "annotation", value_name = "[PLACE,...:]KEY=VALUE")]
    annotations: Vec<String>,

    /// Use nothing from the cache
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", hide_default_value = true, hide_possible_values = true,
          value_name = "BOOL", action = clap::ArgAction::Set)]
    no_cache: bool,

    /// Use nothing from the cache for these stages, named as in the Dockerfile, can be repeated
    #[arg(long, value_name = "STAGE,...", value_delimiter = ',')]
    no_cache_filter: Vec<String>,

    /// Cache to look into when the store has nothing, can be repeated: NAME of an image or cache,
    /// or type=registry|local|s3|gcs|azblob|gha with the fields of docker buildx
    #[arg(long, value_name = "SPEC")]
    cache_from: Vec<String>,

    /// Cache to fill, can be repeated: as for --cache-from, and type=inline, with mode=min (the
    /// steps of the image) or mode=max (all steps)
    #[arg(long, value_name = "SPEC")]
    cache_to: Vec<String>,

    /// File with a secret that seals what is put into caches elsewhere; with it nothing is taken
    /// from them that is not sealed with it
    #[arg(long, value_name = "FILE")]
    cache_key_file: Option<PathBuf>,

    /// Ask the registry for base images, even when they are known
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", hide_default_value = true, hide_possible_values = true,
          value_name = "BOOL", action = clap::ArgAction::Set)]
    pull: bool,

    /// Push the image under its names; short for --output type=registry
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", hide_default_value = true, hide_possible_values = true,
          value_name = "BOOL", action = clap::ArgAction::Set)]
    push: bool,

    /// Load the image into podman or docker; short for --output type=docker
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", hide_default_value = true, hide_possible_values = true,
          value_name = "BOOL", action = clap::ArgAction::Set)]
    load: bool,

    /// What to make of the image, can be repeated: type=registry|image|oci|docker|tar|local,
    /// dest=PATH (`-` is stdout); a path alone is type=local
    #[arg(
        short,
        long = "output",
        value_name = "SPEC",
        allow_hyphen_values = true
    )]
    outputs: Vec<String>,

    /// What to do with the Dockerfile: build, check, outline or targets; with format=json the
    /// answer is JSON
    #[arg(long = "call", value_name = "METHOD[,format=json]")]
    calls: Vec<String>,

    /// Check the Dockerfile and build nothing; short for --call=check
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", hide_default_value = true, hide_possible_values = true,
          value_name = "BOOL", action = clap::ArgAction::Set)]
    check: bool,

    /// Say what the build would do, and do nothing: which steps are in the cache, what would be
    /// fetched and sent, which names would move. The answer goes to stdout, as text or as JSON
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "text",
          value_enum, value_name = "KIND")]
    dry_run: Option<DryRunFormat>,

    /// File for digests and numbers, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,

    /// File for the image ID, the digest of the configuration
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,

    /// What RUN can reach
    #[arg(long, value_enum, value_name = "MODE", default_value = "default")]
    network: NetworkMode,

    /// Line for /etc/hosts of RUN
    #[arg(long = "add-host", value_name = "NAME:IP")]
    extra_hosts: Vec<String>,

    /// Where RUN runs
    #[arg(long, value_enum, value_name = "KIND", default_value = "auto")]
    sandbox: SandboxKind,

    /// Directory with emulators (qemu-ARCH-static) for RUN of other platforms, searched before PATH
    #[arg(long, value_name = "DIRECTORY")]
    emulator_dir: Option<PathBuf>,

    /// How new layers are compressed [default: gzip]
    #[arg(long, value_enum, value_name = "KIND")]
    compression: Option<CompressionKind>,

    /// How hard to compress: gzip 0 to 9, zstd 1 to 22 [default: 4 for gzip, 3 for zstd]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    compression_level: Option<i32>,

    /// Threads for compression and hashing, and steps at once [default: the processors that kiln
    /// may use]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Say at the end why steps were not found in the cache, as `kiln explain` does
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", hide_default_value = true, hide_possible_values = true,
          value_name = "BOOL", action = clap::ArgAction::Set)]
    explain: bool,

    #[command(flatten)]
    attest: AttestFlags,

    #[command(flatten)]
    several: SeveralFlags,

    #[command(flatten)]
    base: BaseFlags,

    #[command(flatten)]
    cache_mounts: CacheMountFlags,

    #[command(flatten)]
    run: RunFlags,

    #[command(flatten)]
    tagging: TagFlags,

    #[command(flatten)]
    publishing: PublishOptions,

    #[command(flatten)]
    progress: ProgressOptions,

    #[command(flatten)]
    store: StoreOption,

    #[command(flatten)]
    registry: RegistryOptions,

    #[command(flatten)]
    unsupported: UnsupportedFlags,
}

/// What RUN can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NetworkMode {
    /// What suits the sandbox
    Default,
    /// Everything that the host can reach
    Host,
    /// Nothing
    None,
}

/// Where RUN runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SandboxKind {
    /// The best that works
    Auto,
    /// Namespaces made by root
    Root,
    /// A user namespace with subordinate ids
    Userns,
}

/// How a plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DryRunFormat {
    /// For people
    Text,
    /// For programs, see docs/explain.md
    Json,
}

/// How layers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CompressionKind {
    /// Understood everywhere
    Gzip,
    /// Faster and smaller
    Zstd,
    /// Not at all
    Uncompressed,
}

impl Command for BuildArguments {
    fn store(&self) -> Option<&StoreOption> {
        Some(&self.store)
    }

    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.registry)
    }

    fn progress(&self) -> ProgressMode {
        self.progress.mode()
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        run(self, settings, presentation)
    }
}

/// Builds.
fn run(
    arguments: &BuildArguments,
    settings: &Settings,
    presentation: Presentation,
) -> Result<ExitCode, ProgramError> {
    if let Some(project) = several::project(arguments, settings)? {
        return several::run(arguments, &project, settings, presentation);
    }
    let call = Call::read(&arguments.calls, arguments.check)?;
    let (mut request, outputs, tagged) = arguments.request(settings)?;
    if let Some(call) = call {
        request.graph.runs = false;
        return call::run(call, source::read_stdin(request)?, settings, presentation);
    }
    if let Some(format) = arguments.dry_run {
        let request = source::read_stdin(request)?;
        let plan = ports::serve(settings, presentation, request.threads, async |ports| {
            engine::dry_run(&request, ports).await
        })?;
        super::print_product(&match format {
            DryRunFormat::Text => dry_run::text(&plan),
            DryRunFormat::Json => dry_run::json(&plan),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(code) = enter(&request, settings, presentation)? {
        return Ok(code);
    }
    for note in &tagged.notes {
        presentation.warn(note);
    }
    let request = source::read_stdin(request)?;
    let results = Results::prepare(
        arguments.metadata_file.clone(),
        arguments.iidfile.clone(),
        outputs.use_stdout(),
    )?;
    let tags = request.tags.clone();
    let report = ports::serve(settings, presentation, request.threads, async |ports| {
        engine::build(&request, ports).await
    })?;
    if arguments.explain {
        presentation.explain(&report);
    }
    presentation.conclude(&report);
    arguments
        .publishing
        .write_report(report.published.as_ref())?;
    let digest = &report.manifest.digest;
    let product = match arguments.progress() {
        ProgressMode::Quiet => tagged.product(digest),
        ProgressMode::Auto | ProgressMode::Tty | ProgressMode::Plain | ProgressMode::Json => None,
    };
    let product = product.unwrap_or_else(|| digest.to_string());
    results.write(&report, &tags, &product)?;
    Ok(ExitCode::SUCCESS)
}

/// Whose image is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// Of the context that is named, or of this directory.
    Named,
    /// All that a project declares.
    Declared,
}

/// Sees to it that commands can run as far as they can here. A code is that of another process, which
/// has done all of it.
pub(crate) fn enter(
    request: &BuildRequest,
    settings: &Settings,
    presentation: Presentation,
) -> Result<Option<ExitCode>, ProgramError> {
    if request.sandbox == SandboxChoice::Root {
        return Ok(None);
    }
    match super::enter_user_namespace(&settings.invocation) {
        Ok(code) => Ok(code),
        // Without RUN there is nothing that needs it. A RUN says the same, with its place.
        Err(error) if request.sandbox == SandboxChoice::Auto => {
            presentation.warn(&format!("RUN will not work here: {error}"));
            Ok(None)
        }
        Err(error) => {
            let headline = "the sandbox that --sandbox userns asks for cannot be had";
            Err(ProgramError::failed(headline).because(&error))
        }
    }
}

/// Seconds since 1970, for documents that are to say when something was built.
fn now_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

impl BuildArguments {
    /// What the engine is asked for, and the outputs in it. Reads the file system, but not stdin.
    fn request(
        &self,
        settings: &Settings,
    ) -> Result<(BuildRequest, Outputs, Tagged), ProgramError> {
        self.asked(settings, Whose::Named)
    }

    /// What is asked of every image that a project declares: all but where it comes from and what it
    /// is called.
    fn common(&self, settings: &Settings) -> Result<BuildRequest, ProgramError> {
        let (request, ..) = self.asked(settings, Whose::Declared)?;
        Ok(request)
    }

    fn asked(
        &self,
        settings: &Settings,
        whose: Whose,
    ) -> Result<(BuildRequest, Outputs, Tagged), ProgramError> {
        self.unsupported.refuse()?;
        if self.progress.contradicts_itself() {
            return Err(ProgramError::input(
                "--quiet and --progress contradict each other",
            ));
        }
        let outputs = Outputs::read(OutputFlags {
            outputs: &self.outputs,
            push: self.push,
            load: self.load,
            stdout_is_terminal: settings.stdout_is_terminal,
        })?;
        let context = match whose {
            Whose::Named => source::context(self.context.as_deref().unwrap_or(OsStr::new(".")))?,
            Whose::Declared => ContextSource::Empty,
        };
        let beside = Beside {
            tags: &self.tags,
            outputs_have_names: outputs.names.is_some(),
            pushes: outputs.push(),
            directory: match &context {
                ContextSource::Directory(directory) => Some(directory),
                ContextSource::Archive(_)
                | ContextSource::Stdin
                | ContextSource::Http(_)
                | ContextSource::Git(_)
                | ContextSource::Empty => None,
            },
        };
        let tagged = match whose {
            Whose::Named => self.tagging.read(&beside, settings)?,
            Whose::Declared => Tagged::default(),
        };
        let tags = match &tagged.names {
            Some(names) => names.clone(),
            None => self.names(&outputs)?,
        };
        if outputs.push() && tags.is_empty() && whose == Whose::Named {
            return Err(
                ProgramError::input("there is no name to push the image under")
                    .hint("give it one with --tag"),
            );
        }
        let mut graph = graph::Request::new(Platform::host(), Platform::host());
        graph.target = self.target.clone();
        graph.no_cache_stages = self.no_cache_filter.iter().cloned().collect();
        for argument in &self.build_args {
            let variable = |name: &str| settings.variable(name);
            graph
                .build_args
                .extend(values::build_argument(argument, &variable)?);
        }
        let platforms = Platforms::read(&self.platform, &graph.build_args)?;
        graph.platform = platforms.first();
        graph.platform_is_default = platforms.are_default();
        for label in &self.labels {
            graph.labels.extend([values::label(label)?]);
        }
        for host in &self.extra_hosts {
            graph.extra_hosts.push(values::extra_host(host)?);
        }
        graph.network = match self.network {
            NetworkMode::Default => graph::Network::Default,
            NetworkMode::Host => graph::Network::Host,
            NetworkMode::None => graph::Network::None,
        };
        // As in buildx: the variable is the build argument, unless that is given.
        let epoch = graph.build_args.get("SOURCE_DATE_EPOCH").cloned();
        let epoch = epoch.filter(|epoch| !epoch.is_empty());
        let epoch_seconds = match epoch.or_else(|| settings.source_date_epoch()) {
            Some(text) => values::epoch_seconds(&text)?,
            None => 0,
        };
        let mut annotations = outputs.annotations.clone();
        for annotation in &self.annotations {
            annotations.extend(annotation::flag(annotation)?);
        }
        let attestations = self.attest.read(now_seconds())?;
        attest::check(&attestations, &outputs.outputs)?;
        // What is said of one image needs an index.
        let shape = match platforms.shape() {
            Shape::Image if !attestations.is_empty() => Shape::Index(vec![graph.platform.clone()]),
            shape => shape,
        };
        annotation::check(&annotations, &shape, &graph.platform)?;
        let named = NamedContexts::read(&self.build_contexts)?;
        graph.contexts = named.names;
        let compression = self.compression(&outputs)?;
        let inline = graph.build_args.get("BUILDKIT_INLINE_CACHE");
        let cache = CacheFlags {
            from: &self.cache_from,
            key: self.cache_key_file.as_deref(),
            to: &self.cache_to,
            inline: inline.map(String::as_str),
            compression,
            level: self.compression_level(compression, &outputs)?,
        };
        let cache = cache.read(&|name| settings.variable(name))?;
        let mut immutable_tags = match whose {
            Whose::Named => self.publishing.immutable_tags(&tags)?,
            Whose::Declared => Default::default(),
        };
        immutable_tags.extend(tagged.immutable.iter().cloned());
        let publishing = match (outputs.outputs.contains(&Output::Registry), whose) {
            (true, Whose::Named) => {
                let mut publishing = self.publishing.publishing(&immutable_tags)?;
                self.publishing.add_signers(&mut publishing, settings)?;
                publishing
            }
            // Which names are immutable is only known once they are made.
            (true, Whose::Declared) => Publishing::default(),
            (false, _) => {
                self.publishing.check_unpublished()?;
                Publishing::default()
            }
        };
        let mut request = BuildRequest {
            publishing,
            dockerfile: source::dockerfile(self.file.as_deref(), &context)?,
            context,
            named_contexts: named.files,
            graph,
            shape: platforms.shape(),
            outputs: match outputs.outputs.as_slice() {
                // A name is there to be found again.
                [] if !tags.is_empty() => vec![Output::Image],
                outputs => outputs.to_vec(),
            },
            tags,
            immutable_tags,
            annotations,
            attestations,
            pull: self.pull,
            no_cache: self.no_cache,
            epoch_seconds,
            cache,
            compression,
            compression_level: self.compression_level(compression, &outputs)?,
            sandbox: match self.sandbox {
                SandboxKind::Auto => SandboxChoice::Auto,
                SandboxKind::Root => SandboxChoice::Root,
                SandboxKind::Userns => SandboxChoice::UserNamespace,
            },
            emulator_directory: self.emulator_directory()?,
            laziness: Default::default(),
            disk_budget_bytes: None,
            base_mounts: Vec::new(),
            secrets: Default::default(),
            ssh: Default::default(),
            cache_mounts: self.cache_mounts.read(&|name| settings.variable(name))?,
            threads: self.threads(settings)?,
        };
        let caches = [request.cache.from.len(), request.cache.to.len()];
        let mounts = [
            request.cache_mounts.from.len(),
            request.cache_mounts.to.len(),
        ];
        if request.cache.key.is_some() && caches == [0, 0] && mounts == [0, 0] {
            return Err(ProgramError::input(
                "--cache-key-file seals caches elsewhere, and none is named",
            )
            .hint(
                "name one with --cache-from, --cache-to, --cache-mounts-from or --cache-mounts-to",
            ));
        }
        self.base.apply(&mut request)?;
        self.run.apply(&mut request, settings)?;
        tagged.tell(&mut request.graph);
        Ok((request, outputs, tagged))
    }

    /// The names of the image, from `--tag` or from the outputs, none twice.
    fn names(&self, outputs: &Outputs) -> Result<Vec<oci::Reference>, ProgramError> {
        let mut tags = Vec::new();
        for text in &self.tags {
            let tag = values::tag("--tag", text)?;
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        match &outputs.names {
            None => Ok(tags),
            Some(names) if tags.is_empty() || *names == tags => Ok(names.clone()),
            Some(_) => Err(ProgramError::input(
                "--tag and the name= of an output say different things: give one of them",
            )),
        }
    }

    fn compression(&self, outputs: &Outputs) -> Result<Compression, ProgramError> {
        let flag = self.compression.map(|kind| match kind {
            CompressionKind::Gzip => Compression::Gzip,
            CompressionKind::Zstd => Compression::Zstd,
            CompressionKind::Uncompressed => Compression::None,
        });
        match (flag, outputs.compression) {
            (Some(flag), Some(field)) if flag != field => Err(ProgramError::input(
                "--compression and the compression= of an output say different things",
            )),
            (Some(kind), _) | (None, Some(kind)) => Ok(kind),
            (None, None) => Ok(Compression::Gzip),
        }
    }

    /// The level, which must be one of those that the compression has.
    fn compression_level(
        &self,
        compression: Compression,
        outputs: &Outputs,
    ) -> Result<Option<i32>, ProgramError> {
        let level = match (self.compression_level, outputs.compression_level) {
            (Some(flag), Some(field)) if flag != field => {
                return Err(ProgramError::input(
                    "--compression-level and the compression-level= of an output say different things",
                ));
            }
            (Some(level), _) | (None, Some(level)) => level,
            (None, None) => return Ok(None),
        };
        let levels = store::layer::levels(compression);
        if levels.contains(&level) {
            return Ok(Some(level));
        }
        let (first, last) = (levels.start(), levels.end());
        Err(ProgramError::input(match compression {
            Compression::None => {
                format!("--compression-level {level}: what is not compressed has no level")
            }
            Compression::Gzip => {
                format!("--compression-level {level}: gzip has the levels {first} to {last}")
            }
            Compression::Zstd => {
                format!("--compression-level {level}: zstd has the levels {first} to {last}")
            }
        }))
    }

    fn emulator_directory(&self) -> Result<Option<PathBuf>, ProgramError> {
        match &self.emulator_dir {
            Some(directory) if !directory.is_dir() => Err(ProgramError::input(format!(
                "--emulator-dir {}: this is not a directory",
                directory.display()
            ))),
            directory => Ok(directory.clone()),
        }
    }

    fn threads(&self, settings: &Settings) -> Result<usize, ProgramError> {
        match self.threads {
            None => Ok(settings.processors.clamp(1, THREADS_MAX)),
            Some(threads) if (1..=THREADS_MAX).contains(&threads) => Ok(threads),
            Some(threads) => Err(ProgramError::input(format!(
                "--threads {threads}: expected a number from 1 to {THREADS_MAX}"
            ))),
        }
    }
}
