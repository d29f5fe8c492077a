//! The other builder: Debian's buildah, with a storage of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::case::Case;
use crate::site::Site;

/// Warnings of buildah about the machine, which are the same for all cases.
const QUIET: &[&str] = &["--log-level", "error"];

pub(super) struct Peer {
    directory: PathBuf,
    version: String,
    registry: String,
}

impl Peer {
    /// Fails with the reason where buildah cannot build.
    pub(super) fn new(site: &Site) -> Result<Self, String> {
        let version = Command::new("buildah").arg("--version").output();
        let version = version.map_err(|_| "buildah is not installed".to_owned())?;
        if !rustix::process::geteuid().is_root() {
            return Err("buildah builds here as root only".to_owned());
        }
        let directory = site.path("buildah");
        fs::create_dir(&directory).expect("a new directory");
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{0}/graph\"\nrunroot = \"{0}/run\"\n",
            directory.display()
        );
        fs::write(directory.join("storage.conf"), storage).expect("a file");
        let registry = site.registry.host();
        let configuration = format!("[[registry]]\nlocation = \"{registry}\"\ninsecure = true\n");
        fs::write(directory.join("registries.conf"), configuration).expect("a file");
        let accept = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
        fs::write(directory.join("policy.json"), accept).expect("a file");
        Ok(Self {
            directory,
            version: String::from_utf8_lossy(&version.stdout).trim().to_owned(),
            registry,
        })
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Builds and pushes to `repository:1`.
    pub(super) fn build(&self, repository: &str, context: &Path, case: &Case) -> Output {
        let tag = format!("{}/{repository}:1", self.registry);
        // Every layer by itself, as kiln does it; nothing is looked up, since asking every image
        // that is there costs more than the cases do.
        let built = self
            .command("bud", &["--layers", "--no-cache", "--isolation", "chroot"])
            .args(["--format", case.format, "--quiet", "-t", tag.as_str()])
            .args([
                "--signature-policy".as_ref(),
                self.directory.join("policy.json").as_os_str(),
            ])
            .args(case.arguments(context))
            .arg(context)
            .output()
            .expect("buildah starts");
        if !built.status.success() {
            return built;
        }
        self.command("push", &["--quiet"])
            .args([
                "--signature-policy".as_ref(),
                self.directory.join("policy.json").as_os_str(),
            ])
            .arg(tag)
            .output()
            .expect("buildah starts")
    }

    fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        command
            .args(QUIET)
            .arg(verb)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &self.directory)
            // Here it keeps its cache mounts.
            .env("TMPDIR", &self.directory)
            .env(
                "CONTAINERS_STORAGE_CONF",
                self.directory.join("storage.conf"),
            )
            .env(
                "CONTAINERS_REGISTRIES_CONF",
                self.directory.join("registries.conf"),
            )
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Peer {
    /// Storage of the overlay driver is mounted while it is used.
    fn drop(&mut self) {
        let graph = self.directory.join("graph/overlay");
        let _ = rustix::mount::unmount(&graph, rustix::mount::UnmountFlags::DETACH);
    }
}
