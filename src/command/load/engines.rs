//! The container engines, by their programs. An image goes in through stdin, and is asked for
//! afterwards: what an engine calls it must be a digest of what it was given.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{HandoverError, Ports, answer_of, docker_answers, find_program, hand_over};
use oci::{Digest, Reference};
use publish::Blobs;
use publish::sink::{ArchiveError, ImageFiles};
use store::layer::TarStreamError;

use super::target::LoadTarget;
use crate::error::ProgramError;

/// The most nodes of a cluster that are loaded.
const NODES_MAX: usize = 1000;

/// What is loaded.
pub(super) struct Cargo {
    pub(super) files: ImageFiles,
    pub(super) blobs: Arc<dyn Blobs>,
    /// Of the manifest.
    pub(super) digest: Digest,
    pub(super) config: Option<Digest>,
    pub(super) names: Vec<Reference>,
}

/// An engine that is there.
pub(super) struct Engine {
    /// How messages call it.
    name: String,
    /// Where an image is handed in: one place, or each node of a cluster.
    doors: Vec<Door>,
}

/// One program that takes an image.
struct Door {
    program: PathBuf,
    /// In front of everything else, for programs inside of containers.
    prefix: Vec<OsString>,
    kind: DoorKind,
}

#[derive(Clone)]
enum DoorKind {
    /// `docker load`, which calls images by the digest of their configuration or manifest.
    Docker,
    /// `ctr`, in a namespace.
    Ctr { namespace: String },
}

/// Finds the programs; nothing for what is no engine.
pub(super) async fn find(
    target: &LoadTarget,
    program_path: &OsStr,
) -> Result<Option<Engine>, ProgramError> {
    let require = |name: &str| {
        find_program(program_path, name).ok_or_else(|| {
            ProgramError::failed(format!("the program {name} is not installed"))
                .hint("install it, or write a file with `--to archive=FILE`")
        })
    };
    let one = |name: &str, program: PathBuf, kind: DoorKind| {
        Some(Engine {
            name: name.to_owned(),
            doors: vec![Door {
                program,
                prefix: Vec::new(),
                kind,
            }],
        })
    };
    Ok(match target {
        LoadTarget::Archive(_) => None,
        LoadTarget::Docker => {
            let docker = require("docker")?;
            if !docker_answers(&docker).await {
                return Err(ProgramError::failed(
                    "docker is installed, but its daemon does not answer",
                )
                .hint("start it, or write a file with `--to archive=FILE`"));
            }
            one("docker", docker, DoorKind::Docker)
        }
        LoadTarget::Podman => one("podman", require("podman")?, DoorKind::Docker),
        LoadTarget::Containerd { namespace } => {
            let namespace = namespace.clone();
            one("containerd", require("ctr")?, DoorKind::Ctr { namespace })
        }
        LoadTarget::Kind { cluster } => {
            let kind = require("kind")?;
            Some(cluster_of(&kind, cluster, program_path).await?)
        }
    })
}

/// The nodes of a cluster of kind: containers of docker, podman or nerdctl.
async fn cluster_of(
    kind: &Path,
    cluster: &str,
    program_path: &OsStr,
) -> Result<Engine, ProgramError> {
    let answer = answer_of(kind, &["get", "nodes", "--name", cluster]).await;
    let answer = answer.ok_or_else(|| {
        ProgramError::failed(format!(
            "kind does not say which nodes the cluster {cluster} has"
        ))
        .hint("`kind get clusters` lists the clusters")
    })?;
    let nodes: Vec<&str> = answer
        .lines()
        .map(str::trim)
        .filter(|node| is_node(node))
        .take(NODES_MAX)
        .collect();
    let Some(first) = nodes.first() else {
        return Err(
            ProgramError::failed(format!("there is no cluster {cluster} of kind"))
                .hint("`kind create cluster` makes one, `kind get clusters` lists them"),
        );
    };
    let mut runtime = None;
    for name in ["docker", "podman", "nerdctl"] {
        let Some(program) = find_program(program_path, name) else {
            continue;
        };
        let question = ["inspect", "--format", "{{.Id}}", first];
        if answer_of(&program, &question).await.is_some() {
            runtime = Some(program);
            break;
        }
    }
    let Some(runtime) = runtime else {
        return Err(ProgramError::failed(format!(
            "neither docker nor podman nor nerdctl knows the node {first} of the cluster {cluster}"
        )));
    };
    let doors = nodes.iter().map(|node| Door {
        program: runtime.clone(),
        prefix: ["exec", "--privileged", "-i", node, "ctr"]
            .map(OsString::from)
            .into(),
        kind: DoorKind::Ctr {
            namespace: "k8s.io".to_owned(),
        },
    });
    Ok(Engine {
        name: format!("the cluster {cluster} of kind"),
        doors: doors.collect(),
    })
}

/// The name of a container, and not words for people.
fn is_node(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(letter)
}

/// Hands an image in, everywhere, and looks whether it is what came out.
pub(super) async fn load(engine: &Engine, cargo: Cargo, ports: &Ports) -> Result<(), ProgramError> {
    let cargo = Arc::new(cargo);
    for door in &engine.doors {
        hand_in(engine, door, &cargo, ports).await?;
        for name in &cargo.names {
            assert_there(engine, door, &cargo, name).await?;
        }
    }
    Ok(())
}

async fn hand_in(
    engine: &Engine,
    door: &Door,
    cargo: &Arc<Cargo>,
    ports: &Ports,
) -> Result<(), ProgramError> {
    let mut arguments = door.prefix.clone();
    match &door.kind {
        DoorKind::Docker => arguments.push("load".into()),
        DoorKind::Ctr { namespace } => {
            arguments.push(format!("--namespace={namespace}").into());
            // Whatever the platform is, it was chosen before.
            arguments.extend(["images", "import", "--all-platforms", "-"].map(OsString::from));
        }
    }
    let given = Arc::clone(cargo);
    let write = move |pipe: &mut dyn std::io::Write| given.files.write_tar(&*given.blobs, pipe);
    let is_broken_pipe = |error: &ArchiveError| {
        matches!(error, ArchiveError::Tar(TarStreamError::Write(error))
            if error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    hand_over(
        &door.program,
        &arguments,
        write,
        is_broken_pipe,
        &ports.interrupt,
    )
    .await
    .map_err(|error: HandoverError<ArchiveError>| {
        ProgramError::failed(format!("could not load the image into {}", engine.name))
            .because(&error)
    })
}

/// An engine that has something else under the name has not got our bytes.
async fn assert_there(
    engine: &Engine,
    door: &Door,
    cargo: &Cargo,
    name: &Reference,
) -> Result<(), ProgramError> {
    let name_text = name.to_string();
    let prefix: Vec<&str> = door
        .prefix
        .iter()
        .filter_map(|word| word.to_str())
        .collect();
    let answer = match &door.kind {
        DoorKind::Docker => {
            let question = ["image", "inspect", "--format", "{{.Id}}", &name_text];
            answer_of(&door.program, &question).await
        }
        DoorKind::Ctr { namespace } => {
            let namespace = format!("--namespace={namespace}");
            let filter = format!("name=={name_text}");
            let question = [&prefix[..], &[&namespace, "images", "ls", &filter]].concat();
            answer_of(&door.program, &question).await
        }
    };
    let Some(answer) = answer else {
        return Err(ProgramError::failed(format!(
            "{} took the image, and does not know {name}",
            engine.name
        )));
    };
    let expected = std::iter::once(&cargo.digest).chain(&cargo.config);
    let is_ours = expected
        .into_iter()
        .any(|digest| answer.contains(digest.hex()));
    match is_ours {
        true => Ok(()),
        false => Err(ProgramError::failed(format!(
            "{} has something else under {name} than {}: {}",
            engine.name,
            cargo.digest,
            answer.lines().last().unwrap_or("nothing").trim()
        ))),
    }
}
