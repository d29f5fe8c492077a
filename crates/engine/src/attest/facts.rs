//! What a provenance says of a build, from its request and its graph. No secret's value is asked
//! for, and no path of this machine is told.

use std::collections::{BTreeMap, BTreeSet};

use dockerfile::remote::without_credentials;
use graph::{
    BaseImage, BuildGraph, ContextName, CopySource, CopyStep, FileSource, ImageName, Network,
    Origin, RunMountKind, RunStep, Step, StepId, StepKind, TargetImage,
};
use oci::Platform;
use serde_json::{Value, json};
use sign::provenance::{BuildFacts, ConfigSource, Material, RunTimes, SecretUse, StepFacts};
use sign::purl;

use super::{ProvenanceRequest, VERSION, Witness};
use crate::assemble::{Image, rfc3339};
use crate::fetched::wanted;
use crate::overlay::Laid;
use crate::remote::{RemoteError, WantedFile, context_source};
use crate::request::{BuildRequest, ContextSource, DockerfileSource};

/// Why the facts of a build cannot be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FactsError {
    /// What was fetched in this build is asked for again, and cannot be had.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// As of the build itself, which has asked the same.
    #[error("the context cannot be named")]
    Context,
}

/// Labels that say what is built, under the names that BuildKit has for such facts.
const VCS: [(&str, &str); 2] = [
    ("org.opencontainers.image.source", "source"),
    ("org.opencontainers.image.revision", "revision"),
];

/// The steps that one image needs.
struct Needed<'g> {
    graph: &'g BuildGraph,
    steps: Vec<StepId>,
}

impl<'g> Needed<'g> {
    fn of(graph: &'g BuildGraph, mut pending: Vec<StepId>) -> Self {
        let mut seen = BTreeSet::new();
        while let Some(step) = pending.pop() {
            if seen.insert(step) {
                pending.extend(graph.step(step).inputs());
            }
        }
        Self {
            graph,
            steps: seen.into_iter().collect(),
        }
    }

    fn steps(&self) -> impl Iterator<Item = &'g Step> + '_ {
        self.steps.iter().map(|step| self.graph.step(*step))
    }

    fn runs(&self) -> impl Iterator<Item = &'g RunStep> + '_ {
        self.steps().filter_map(|step| match &step.kind {
            StepKind::Run(run) => Some(&**run),
            StepKind::Scratch
            | StepKind::Base(_)
            | StepKind::Copy(_)
            | StepKind::Workdir(_)
            | StepKind::Merge(_) => None,
        })
    }

    /// The contexts that files are taken from.
    fn contexts(&self) -> BTreeSet<&'g ContextName> {
        let sources = self.steps().flat_map(Step::file_sources);
        let contexts = sources.filter_map(|(from, _)| match from {
            FileSource::Context(name) => Some(name),
            FileSource::Step(_) => None,
        });
        contexts.collect()
    }

    /// How the document calls a step.
    fn name(&self, step: StepId) -> String {
        let place = self.steps.binary_search(&step).unwrap_or_default();
        format!("step{place}")
    }
}

impl Witness<'_> {
    pub(super) async fn facts(
        &self,
        image: &Image,
        target: &TargetImage,
        laid: Option<Laid<'_>>,
        wanted: &ProvenanceRequest,
    ) -> Result<BuildFacts, FactsError> {
        let request = self.request;
        let mut targets = vec![target.step];
        let laid_target = laid.and_then(|laid| self.graph.targets.get(laid.target?));
        targets.extend(laid_target.map(|target| target.step));
        let needed = Needed::of(self.graph, targets);
        let text = &self.texts[target.image.index()];
        let platform = image.platform();
        let mut materials = Vec::new();
        for step in needed.steps() {
            materials.extend(self.materials(step, &platform).await?);
        }
        if let Some(base) = laid.and_then(|laid| laid.base) {
            materials.push(base_material(base, &platform));
        }
        let main = ContextName::Main(target.image);
        let mut locals = BTreeSet::new();
        let mut remote = None;
        let contexts = needed.contexts();
        // What the Dockerfile is in counts also where no file is taken from it.
        let main_source = Some((&main, &request.context)).into_iter();
        let named = request.named_contexts.iter();
        let named =
            named.map(|(name, source)| (ContextName::Named(target.image, name.clone()), source));
        let named: Vec<_> = named.collect();
        for (name, source) in main_source.chain(named.iter().map(|(name, source)| (name, *source)))
        {
            let is_used = contexts.contains(name);
            let found = self.context(source).await?;
            if *name == main {
                remote.clone_from(&found);
            }
            match found {
                Some(material) if is_used || *name == main => materials.push(material),
                None if is_used => {
                    locals.insert(match name {
                        ContextName::Main(_) => "context".to_owned(),
                        ContextName::Named(_, name) => name.clone(),
                    });
                }
                Some(_) | None => {}
            }
        }
        let path = match &request.dockerfile {
            DockerfileSource::Http(address) => {
                let file = WantedFile {
                    url: &address.url,
                    checksum: None,
                };
                let file = self.workshop.remotes.file(file).await?;
                let material = Material::new(address.shown(), &file.digest);
                materials.push(material.clone());
                remote = Some(material);
                address.shown()
            }
            DockerfileSource::Path(path) => {
                locals.insert("dockerfile".to_owned());
                let name = path.file_name().unwrap_or_default();
                name.to_string_lossy().into_owned()
            }
            DockerfileSource::Text { .. } => {
                locals.insert("dockerfile".to_owned());
                "Dockerfile".to_owned()
            }
            DockerfileSource::Default | DockerfileSource::InContext(_) => {
                if remote.is_none() {
                    locals.insert("dockerfile".to_owned());
                }
                text.name.clone()
            }
        };
        let hermetic = needed.runs().all(|run| run.network == Network::None);
        let (secrets, ssh) = secrets(&needed);
        // Of the base image's labels none says what this one was made from.
        let identity = request.graph.identity.as_ref();
        let label = |name: &str| {
            let asked = request.graph.labels.get(name);
            let known = identity.and_then(|identity| identity.labels.get(name));
            asked.or(known).cloned()
        };
        let vcs = VCS
            .iter()
            .filter_map(|(name, key)| Some(((*key).to_owned(), label(name)?)));
        let text_of = |step: StepId| {
            let image = self.graph.step(step).image;
            self.texts[image.index()].text.as_str()
        };
        let steps = needed.steps.iter();
        let steps = steps.map(|step| step_facts(*step, &needed, text_of(*step)));
        let overlay = laid.map(|laid| overlay_facts(laid, target, &needed));
        let steps = steps.chain(overlay).collect();
        Ok(BuildFacts {
            builder_id: wanted.builder_id.clone(),
            kiln_version: VERSION.to_owned(),
            builder_platform: request.graph.build_platform.to_string(),
            config_source: ConfigSource { path, remote },
            dockerfile: text.text.clone(),
            materials_are_complete: hermetic && locals.is_empty(),
            locals: locals.into_iter().collect(),
            options: options(request, &platform),
            build_arguments: request.graph.build_args.clone(),
            labels: request.graph.labels.clone(),
            secrets,
            ssh,
            materials,
            steps,
            layers: image.manifest.value().layers.clone(),
            vcs: vcs.collect(),
            hermetic,
            reproducible: wanted.reproducible,
            invocation_id: String::new(),
            times: wanted.started_seconds.map(|started| RunTimes {
                started: rfc3339(started),
                finished: rfc3339(started.saturating_add(self.elapsed_seconds)),
            }),
        })
    }

    /// What a step brings from elsewhere. All of it was asked for in this build already.
    async fn materials(
        &self,
        step: &Step,
        platform: &Platform,
    ) -> Result<Vec<Material>, FactsError> {
        let mut materials = Vec::new();
        match &step.kind {
            StepKind::Base(base) => materials.push(base_material(base, platform)),
            StepKind::Copy(copy) => {
                for source in &copy.sources {
                    match source {
                        CopySource::Url(url) => {
                            let file = self.workshop.remotes.file(wanted(url)).await?;
                            let shown = without_credentials(&url.url);
                            materials.push(Material::new(shown, &file.digest));
                        }
                        CopySource::Git(git) => {
                            let commit = self.workshop.remotes.commit(git).await?;
                            let reference = git.reference.as_deref();
                            let shown = repository(&git.repository, reference);
                            materials.push(Material::commit(shown, &commit.id));
                        }
                        CopySource::Files { .. } | CopySource::Inline(_) => {}
                    }
                }
            }
            StepKind::Scratch | StepKind::Run(_) | StepKind::Workdir(_) | StepKind::Merge(_) => {}
        }
        Ok(materials)
    }

    /// A context that came from elsewhere; nothing of one of this machine.
    async fn context(&self, source: &ContextSource) -> Result<Option<Material>, FactsError> {
        let remotes = &self.workshop.remotes;
        Ok(match source {
            ContextSource::Directory(_)
            | ContextSource::Archive(_)
            | ContextSource::Stdin
            | ContextSource::Empty => None,
            ContextSource::Http(address) => {
                let file = WantedFile {
                    url: &address.url,
                    checksum: None,
                };
                let file = remotes.file(file).await?;
                Some(Material::new(address.shown(), &file.digest))
            }
            ContextSource::Git(address) => {
                let keeps = self.request.keeps_git_dir();
                let keeps = keeps.map_err(|_| FactsError::Context)?;
                let source = context_source(address, keeps);
                let commit = remotes.commit(&source).await?;
                let shown = repository(&source.repository, source.reference.as_deref());
                Some(Material::commit(shown, &commit.id))
            }
        })
    }
}

fn base_material(base: &BaseImage, platform: &Platform) -> Material {
    let name = match &base.reference {
        ImageName::Registry(reference) => purl::image(reference, Some(platform)),
        // The directory is this machine's business.
        ImageName::Layout(layout) => purl::layout(layout.tag.as_deref(), platform),
    };
    Material::new(name, &base.manifest.digest)
}

/// The files of another image on top of the one that was built, as a step behind all others.
fn overlay_facts(laid: Laid<'_>, target: &TargetImage, needed: &Needed<'_>) -> StepFacts {
    StepFacts {
        id: format!("step{}", needed.steps.len()),
        title: format!("OVERLAY {}", laid.shown),
        inputs: vec![needed.name(target.step)],
        operation: json!({"overlay": {"from": laid.shown}}),
        ..StepFacts::default()
    }
}

fn repository(url: &str, reference: Option<&str>) -> String {
    let shown = without_credentials(url);
    match reference {
        Some(reference) => format!("{shown}#{reference}"),
        None => shown,
    }
}

/// What was asked for and tells nothing that is anybody's secret.
fn options(request: &BuildRequest, platform: &Platform) -> BTreeMap<String, String> {
    let mut options = BTreeMap::from([("platform".to_owned(), platform.to_string())]);
    let mut put = |name: &str, value: String| options.insert(name.to_owned(), value);
    if let Some(target) = &request.graph.target {
        put("target", target.clone());
    }
    match request.graph.network {
        Network::Default => {}
        Network::Host => drop(put("force-network-mode", "host".to_owned())),
        Network::None => drop(put("force-network-mode", "none".to_owned())),
    }
    if request.epoch_seconds != 0 {
        put("source-date-epoch", request.epoch_seconds.to_string());
    }
    options
}

/// The secrets and the agents that commands ask for. One is optional when nobody insists on it.
fn secrets(needed: &Needed<'_>) -> (Vec<SecretUse>, Vec<SecretUse>) {
    let (mut secrets, mut agents) = (BTreeMap::new(), BTreeMap::new());
    for mount in needed.runs().flat_map(|run| &run.mounts) {
        let (uses, id, required) = match &mount.kind {
            RunMountKind::Secret { id, required, .. } => (&mut secrets, id, *required),
            RunMountKind::Ssh { id, required, .. } => (&mut agents, id, *required),
            RunMountKind::Bind { .. } | RunMountKind::Cache { .. } | RunMountKind::Tmpfs { .. } => {
                continue;
            }
        };
        let optional: &mut bool = uses.entry(id.clone()).or_insert(true);
        *optional &= !required;
    }
    let list = |uses: BTreeMap<String, bool>| {
        let uses = uses.into_iter();
        uses.map(|(id, optional)| SecretUse { id, optional })
            .collect()
    };
    (list(secrets), list(agents))
}

fn step_facts(id: StepId, needed: &Needed<'_>, text: &str) -> StepFacts {
    let step = needed.graph.step(id);
    let operation = match &step.kind {
        StepKind::Scratch => json!({"scratch": {}}),
        StepKind::Base(base) => json!({"base": {
            "image": match &base.reference {
                ImageName::Registry(reference) => reference.familiar(),
                ImageName::Layout(layout) => layout.tag.clone().unwrap_or_default(),
            },
            "digest": base.manifest.digest,
        }}),
        StepKind::Run(run) => json!({"run": run_facts(run)}),
        StepKind::Copy(copy) => json!({"copy": copy_facts(copy, needed)}),
        StepKind::Workdir(workdir) => {
            json!({"workdir": {"path": workdir.path, "user": workdir.user}})
        }
        StepKind::Merge(layer) => json!({"merge": {"layer": needed.name(*layer)}}),
    };
    let is_written = step.origin == Origin::Dockerfile;
    let before = text.get(..step.span.start).filter(|_| is_written);
    StepFacts {
        id: needed.name(id),
        title: step.title.clone(),
        stage: step.stage.clone(),
        inputs: step.inputs().map(|input| needed.name(input)).collect(),
        operation,
        line: before.map(|before| before.matches('\n').count() + 1),
    }
}

/// What a command is given. Proxy settings that no ARG declares are not part of it.
fn run_facts(run: &RunStep) -> Value {
    let env: Vec<String> = run
        .env
        .iter()
        .map(|variable| format!("{}={}", variable.name, variable.value))
        .collect();
    let mounts: Vec<Value> = run
        .mounts
        .iter()
        .map(|mount| match &mount.kind {
            RunMountKind::Bind {
                target,
                path,
                writable,
                ..
            } => {
                json!({"type": "bind", "target": target, "source": path, "rw": writable})
            }
            RunMountKind::Cache {
                target,
                id,
                sharing,
                ..
            } => {
                json!({"type": "cache", "target": target, "id": id, "sharing": sharing.name()})
            }
            RunMountKind::Tmpfs { target, .. } => json!({"type": "tmpfs", "target": target}),
            RunMountKind::Secret { id, required, .. } => {
                json!({"type": "secret", "id": id, "optional": !required})
            }
            RunMountKind::Ssh { id, required, .. } => {
                json!({"type": "ssh", "id": id, "optional": !required})
            }
        })
        .collect();
    json!({
        "args": run.argv,
        "env": env,
        "cwd": run.cwd,
        "user": run.user,
        "network": match run.network {
            Network::Default => "default",
            Network::Host => "host",
            Network::None => "none",
        },
        "security": run.security.name(),
        "mounts": mounts,
    })
}

fn copy_facts(copy: &CopyStep, needed: &Needed<'_>) -> Value {
    let source = |source: &CopySource| match source {
        CopySource::Files { from, pattern, .. } => json!({
            "from": match from {
                FileSource::Context(ContextName::Main(_)) => "context".to_owned(),
                FileSource::Context(ContextName::Named(_, name)) => format!("context:{name}"),
                FileSource::Step(step) => needed.name(*step),
            },
            "path": pattern,
        }),
        CopySource::Inline(file) => json!({"inline": file.name}),
        CopySource::Url(url) => json!({"url": without_credentials(&url.url)}),
        CopySource::Git(git) => {
            json!({"git": repository(&git.repository, git.reference.as_deref())})
        }
    };
    let sources: Vec<Value> = copy.sources.iter().map(source).collect();
    json!({
        "sources": sources,
        "destination": copy.destination,
        "chmod": copy.chmod.as_ref().map(|chmod| chmod.text.as_str()),
        "unpack": copy.unpack.name(),
    })
}
