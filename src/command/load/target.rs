//! What `--to` says.

use std::path::PathBuf;
use std::str::FromStr;

/// What an image is loaded into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoadTarget {
    Docker,
    Podman,
    Containerd { namespace: String },
    Kind { cluster: String },
    Archive(PathBuf),
}

const KNOWN: &str = "docker, podman, containerd[=NAMESPACE], kind[=CLUSTER], archive=FILE";
/// Names of namespaces and clusters become arguments of other programs.
const NAME_CHARS_MAX: usize = 76;

impl LoadTarget {
    /// Whether nobody could find it without one.
    pub(super) fn needs_a_name(&self) -> bool {
        match self {
            Self::Containerd { .. } | Self::Kind { .. } => true,
            Self::Docker | Self::Podman | Self::Archive(_) => false,
        }
    }
}

impl FromStr for LoadTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, value) = match text.split_once('=') {
            Some((word, value)) => (word, Some(value)),
            None => (text, None),
        };
        let name = |default: &str| match value {
            None => Ok(default.to_owned()),
            Some(name) if is_name(name) => Ok(name.to_owned()),
            Some(name) => Err(format!("`{name}` is not a name")),
        };
        match (word, value) {
            ("docker", None) => Ok(Self::Docker),
            ("podman", None) => Ok(Self::Podman),
            ("containerd", _) => Ok(Self::Containerd {
                namespace: name("default")?,
            }),
            ("kind", _) => Ok(Self::Kind {
                cluster: name("kind")?,
            }),
            ("archive", Some(path)) if !path.is_empty() => Ok(Self::Archive(path.into())),
            ("archive", _) => Err("the file is missing: archive=FILE".to_owned()),
            ("minikube", _) => Err(
                "minikube loads archives: `--to archive=FILE`, and `minikube image load FILE`"
                    .to_owned(),
            ),
            ("k3s" | "k3d", _) => Err(format!(
                "{word} loads archives: `--to archive=FILE`, and `{} FILE`",
                match word {
                    "k3s" => "k3s ctr images import",
                    _ => "k3d image import",
                }
            )),
            ("docker" | "podman", Some(_)) => Err(format!("{word} takes no value")),
            (other, _) => Err(format!("`{other}` is not known; there are {KNOWN}")),
        }
    }
}

fn is_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty()
        && text.len() <= NAME_CHARS_MAX
        && !text.starts_with('-')
        && text.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let check = |text: &str| text.parse::<LoadTarget>();
        assert_eq!(check("docker"), Ok(LoadTarget::Docker));
        let kind = |cluster: &str| LoadTarget::Kind {
            cluster: cluster.to_owned(),
        };
        assert_eq!(check("kind"), Ok(kind("kind")));
        assert_eq!(check("kind=dev-1"), Ok(kind("dev-1")));
        assert_eq!(check("archive=a=b"), Ok(LoadTarget::Archive("a=b".into())));
        for wrong in [
            "archive", "kind=", "kind=-x", "docker=1", "k3s", "minikube", "rkt",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
