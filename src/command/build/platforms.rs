//! `--platform`: what is built, and whether it is one image or an index of images.

use std::collections::BTreeMap;

use engine::Shape;
use oci::{Platform, PlatformError};

use crate::error::ProgramError;

/// The most platforms that one build is for. There are fewer architectures.
const PLATFORMS_MAX: usize = 64;

/// The build argument that asks for an index where one platform would make a manifest.
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

/// What `--platform` and the build arguments ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Platforms {
    /// In the order of the flags, each once. Empty where nothing was asked for.
    asked: Vec<Platform>,
    always_index: bool,
}

impl Platforms {
    /// Reads the flags: each may be a list, `local` is this machine.
    pub(super) fn read(
        flags: &[String],
        build_args: &BTreeMap<String, String>,
    ) -> Result<Self, ProgramError> {
        let mut asked = Vec::new();
        for text in flags.iter().flat_map(|flag| flag.split(',')) {
            let platform = parse("--platform", text.trim())?;
            // The same by another name is the same image.
            if !asked.contains(&platform) {
                asked.push(platform);
            }
        }
        if asked.len() > PLATFORMS_MAX {
            return Err(ProgramError::input(format!(
                "--platform: {} platforms in one build are more than {PLATFORMS_MAX}",
                asked.len()
            )));
        }
        let always_index = match build_args.get(MULTI_PLATFORM).map(String::as_str) {
            None | Some("" | "0" | "f" | "F" | "false" | "False" | "FALSE") => false,
            Some("1" | "t" | "T" | "true" | "True" | "TRUE") => true,
            Some(other) => {
                return Err(ProgramError::input(format!(
                    "--build-arg {MULTI_PLATFORM}={other}: expected true or false"
                )));
            }
        };
        Ok(Self {
            asked,
            always_index,
        })
    }

    /// The first platform, or this machine's.
    pub(super) fn first(&self) -> Platform {
        self.asked.first().cloned().unwrap_or_else(Platform::host)
    }

    /// Whether nobody asked for a platform.
    pub(super) fn are_default(&self) -> bool {
        self.asked.is_empty()
    }

    /// One image stays a manifest, unless an index was asked for.
    pub(super) fn shape(&self) -> Shape {
        match self.asked.as_slice() {
            [] if self.always_index => Shape::Index(vec![Platform::host()]),
            [] | [_] if !self.always_index => Shape::Image,
            platforms => Shape::Index(platforms.to_vec()),
        }
    }
}

/// A platform that kiln builds images for, as `flag` was given it.
pub(super) fn parse(flag: &str, text: &str) -> Result<Platform, ProgramError> {
    if text.eq_ignore_ascii_case("local") {
        return Ok(Platform::host());
    }
    let platform: Platform = text.parse().map_err(|error: PlatformError| {
        let told = ProgramError::input(format!("{flag}: {error}"));
        match nearest(&error) {
            Some(near) => told.hint(format!("did you mean `{near}`?")),
            None => told,
        }
    })?;
    if platform.os != "linux" {
        return Err(ProgramError::input(format!(
            "{flag} {text}: kiln builds images for linux only"
        )));
    }
    Ok(platform)
}

/// The known word that an unknown one may have been meant to be.
fn nearest(error: &PlatformError) -> Option<&'static str> {
    match error {
        PlatformError::Form(_) => None,
        PlatformError::Unknown { name, known, .. } => {
            dockerfile::suggest::nearest(name, known.iter().copied())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[&str], multi: Option<&str>) -> Result<Shape, String> {
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let arguments = multi.map(|value| (MULTI_PLATFORM.to_owned(), value.to_owned()));
        let arguments: BTreeMap<String, String> = arguments.into_iter().collect();
        Platforms::read(&flags, &arguments)
            .map(|platforms| platforms.shape())
            .map_err(|error| error.headline)
    }

    fn check(flags: &[&str], multi: Option<&str>, expected: &[&str]) {
        let shape = read(flags, multi).expect("platforms");
        let names: Vec<String> = shape.platforms().iter().map(Platform::to_string).collect();
        assert_eq!(names, expected, "{flags:?}");
    }

    #[test]
    fn lists_and_repetitions_are_one_list_without_doubles() {
        check(&[], None, &[]);
        check(&["linux/x86_64"], None, &[]);
        let both = ["linux/amd64", "linux/arm64"];
        check(&["linux/amd64,linux/arm64"], None, &both);
        check(&["linux/amd64", "arm64"], None, &both);
        check(&["amd64, linux/aarch64/v8", "linux/x86-64"], None, &both);
        check(&["linux/arm64,linux/arm64/v8"], None, &[]);
        let arms = ["linux/arm/v6", "linux/arm/v7"];
        check(&["linux/arm/v6,linux/arm"], None, &arms);
    }

    #[test]
    fn one_platform_is_an_index_only_where_that_is_asked_for() {
        check(&["linux/arm64"], Some("1"), &["linux/arm64"]);
        check(&["linux/arm64"], Some("false"), &[]);
        check(&["linux/arm64"], Some(""), &[]);
        let host = Platform::host().to_string();
        check(&[], Some("true"), &[&host]);
        check(&["local"], Some("true"), &[&host]);
        let wrong = read(&[], Some("maybe")).expect_err("a wrong word");
        assert!(wrong.contains("expected true or false"), "{wrong}");
    }

    #[test]
    fn what_is_no_platform_of_ours_is_refused() {
        for (flag, expected) in [
            ("linux/a/b/c", "is not a platform"),
            ("linux/amd64,", "is not a platform"),
            ("", "is not a platform"),
            ("windows/amd64", "for linux only"),
            ("linux/amd46", "unknown architecture"),
        ] {
            let wrong = read(&[flag], None).expect_err("a wrong platform");
            assert!(wrong.contains(expected), "{wrong}");
        }
    }
}
