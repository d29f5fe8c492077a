//! What an image runs on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Operating system, architecture and variant, in Go's names (image
/// specification, "Platform Variants"). Made by parsing, which normalises:
/// `x86_64` becomes `amd64`, `linux/arm64/v8` becomes `linux/arm64`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, or another name of `GOOS`.
    pub os: String,
    /// `amd64`, or another name of `GOARCH`.
    pub architecture: String,
    /// `v7`, for architectures that have variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The version of the system; Windows only.
    #[serde(
        default,
        rename = "os.version",
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Features that the system must have; Windows only.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Not one to three components.
    #[error(
        "`{0}` is not a platform: expected os/architecture or os/architecture/variant, such as linux/amd64"
    )]
    Form(String),
    /// A name that kiln has never heard of.
    #[error("unknown {what} `{name}` in platform `{text}`: known are {}", known.join(", "))]
    Unknown {
        /// `operating system` or `architecture`.
        what: &'static str,
        /// The name.
        name: String,
        /// The whole text.
        text: String,
        /// What would be accepted.
        known: &'static [&'static str],
    },
}

const SYSTEMS: [&str; 6] = ["linux", "windows", "darwin", "freebsd", "netbsd", "openbsd"];
const ARCHITECTURES: [&str; 11] = [
    "amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "loong64", "mips64le", "mips64",
    "wasm",
];

impl Platform {
    /// The platform of the machine that this program was compiled for.
    pub fn host() -> Self {
        Self::normalised(std::env::consts::OS, std::env::consts::ARCH, None)
    }

    /// A platform from its parts, under the names that the specification uses.
    pub fn normalised(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant
            .filter(|v| !v.is_empty())
            .map(str::to_ascii_lowercase);
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", other) => ("amd64", other),
            ("i386" | "i686" | "x86" | "386", _) => ("386", None),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
            ("aarch64" | "arm64", other) => ("arm64", other),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            ("powerpc64le", other) => ("ppc64le", other),
            (same, other) => (same, other),
        };
        Self {
            os,
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            os_version: None,
            os_features: Vec::new(),
        }
    }

    /// How well an image for `offered` runs where this platform is asked for:
    /// 0 is exact, larger is worse, `None` is not at all.
    ///
    /// An older variant of the same architecture runs on a newer one (`arm/v6`
    /// on `arm/v7`), never the other way round.
    pub fn accepts(&self, offered: &Self) -> Option<u8> {
        let offered = Self::normalised(
            &offered.os,
            &offered.architecture,
            offered.variant.as_deref(),
        );
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        let level = |platform: &Self| -> Option<u8> {
            let default = match platform.architecture.as_str() {
                "arm64" => 8,
                _ => 1,
            };
            match &platform.variant {
                None => Some(default),
                Some(text) => text
                    .strip_prefix('v')
                    .and_then(|n| n.split('.').next()?.parse().ok()),
            }
        };
        match (level(self), level(&offered)) {
            (Some(wanted), Some(has)) if has <= wanted => Some(wanted - has),
            (Some(_), Some(_)) => None,
            _ => (self.variant == offered.variant).then_some(0),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let form = || PlatformError::Form(text.chars().take(100).collect());
        let parts: Vec<&str> = text.split('/').collect();
        let well_formed = |part: &&str| {
            !part.is_empty()
                && part.len() <= 32
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if !parts.iter().all(well_formed) {
            return Err(form());
        }
        let platform = match parts[..] {
            // One word is an architecture on this system, or a system with this architecture.
            [one] => {
                let as_system = Self::normalised(one, std::env::consts::ARCH, None);
                if SYSTEMS.contains(&as_system.os.as_str()) {
                    as_system
                } else {
                    Self::normalised("linux", one, None)
                }
            }
            [os, architecture] => Self::normalised(os, architecture, None),
            [os, architecture, variant] => Self::normalised(os, architecture, Some(variant)),
            _ => return Err(form()),
        };
        let unknown = |what, name: &str, known: &'static [&'static str]| PlatformError::Unknown {
            what,
            name: name.to_owned(),
            text: text.to_owned(),
            known,
        };
        if !SYSTEMS.contains(&platform.os.as_str()) {
            return Err(unknown("operating system", &platform.os, &SYSTEMS));
        }
        if !ARCHITECTURES.contains(&platform.architecture.as_str()) {
            return Err(unknown(
                "architecture",
                &platform.architecture,
                &ARCHITECTURES,
            ));
        }
        if let Some(variant) = &platform.variant
            && !variant
                .strip_prefix('v')
                .is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
        {
            return Err(form());
        }
        Ok(platform)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_their_canonical_forms() {
        let cases = [
            ("linux/amd64", Ok("linux/amd64")),
            ("Linux/AMD64", Ok("linux/amd64")),
            ("linux/x86_64", Ok("linux/amd64")),
            ("linux/arm64/v8", Ok("linux/arm64")),
            ("linux/arm", Ok("linux/arm/v7")),
            ("linux/armhf", Ok("linux/arm/v7")),
            ("arm64", Ok("linux/arm64")),
            ("linux/amd64/v3", Ok("linux/amd64/v3")),
            ("linux/arm/v", Err(())),
            ("linux\\amd64", Err(())),
            ("linux/amd46", Err(())),
            ("beos/amd64", Err(())),
            ("", Err(())),
            ("a/b/c/d", Err(())),
        ];
        for (text, expected) in cases {
            let parsed = text
                .parse::<Platform>()
                .map(|p| p.to_string())
                .map_err(|_| ());
            assert_eq!(parsed, expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn older_variants_run_on_newer_machines_only() {
        let check = |wanted: &str, offered: &str| {
            wanted
                .parse::<Platform>()
                .unwrap()
                .accepts(&offered.parse().unwrap())
        };
        assert_eq!(check("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(check("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(check("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(check("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(check("linux/amd64", "linux/arm64"), None);
    }
}
