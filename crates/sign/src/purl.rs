//! Package URLs: names of packages that are the same everywhere (purl specification). It knows
//! the form, and of each kind of package only what the form of its name is.

use std::fmt::Write as _;

use oci::{Platform, Reference};

/// Builds the text of a package URL. Qualifiers are sorted, as the specification has it.
#[derive(Clone, Debug)]
pub struct Purl<'p> {
    kind: &'static str,
    namespace: Vec<&'p str>,
    name: &'p str,
    version: &'p str,
    qualifiers: Vec<(&'static str, String)>,
}

impl<'p> Purl<'p> {
    /// `pkg:kind/name@version`; an empty version is none.
    pub fn new(kind: &'static str, name: &'p str, version: &'p str) -> Self {
        Self {
            kind,
            namespace: Vec::new(),
            name,
            version,
            qualifiers: Vec::new(),
        }
    }

    /// What stands before the name; slashes divide it.
    #[must_use]
    pub fn namespace(mut self, namespace: &'p str) -> Self {
        self.namespace = namespace
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        self
    }

    /// Something more about it, unless it is empty.
    #[must_use]
    pub fn qualifier(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.qualifiers.push((name, value));
        }
        self
    }

    /// The text.
    pub fn text(mut self) -> String {
        let mut text = format!("pkg:{}", self.kind);
        for part in &self.namespace {
            text.push('/');
            encode(&mut text, part);
        }
        text.push('/');
        encode(&mut text, self.name);
        if !self.version.is_empty() {
            text.push('@');
            encode(&mut text, self.version);
        }
        self.qualifiers.sort();
        for (place, (name, value)) in self.qualifiers.iter().enumerate() {
            text.push(if place == 0 { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            encode(&mut text, value);
        }
        text
    }
}

/// Percent-encodes all but the characters that stand for themselves, and the colon, which the
/// specification leaves as it is.
fn encode(text: &mut String, part: &str) {
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                text.push(char::from(byte));
            }
            other => {
                let _ = write!(text, "%{other:02X}");
            }
        }
    }
}

/// The name of an image for a platform, as BuildKit gives it in statements.
pub fn image(reference: &Reference, platform: Option<&Platform>) -> String {
    let familiar = reference.familiar();
    let without_digest = familiar.split('@').next().unwrap_or_default();
    let tag = reference.tag().map(ToString::to_string).unwrap_or_default();
    let name = without_digest
        .strip_suffix(&format!(":{tag}"))
        .unwrap_or(without_digest);
    let (namespace, name) = name.rsplit_once('/').unwrap_or(("", name));
    let version = match (tag.as_str(), reference.digest()) {
        ("", None) => "latest",
        (tag, _) => tag,
    };
    Purl::new("docker", name, version)
        .namespace(namespace)
        .qualifier(
            "digest",
            reference
                .digest()
                .map(ToString::to_string)
                .unwrap_or_default(),
        )
        .qualifier(
            "platform",
            platform.map(ToString::to_string).unwrap_or_default(),
        )
        .text()
}

/// The name of an image in a directory, of which its tag is all that is known elsewhere.
pub fn layout(tag: Option<&str>, platform: &Platform) -> String {
    Purl::new("oci", "layout", tag.unwrap_or_default())
        .qualifier("platform", platform.to_string())
        .text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_the_names_that_buildkit_gives_them() {
        let check = |reference: &str, platform: Option<&str>, expected: &str| {
            let reference = reference.parse().expect("a reference");
            let platform = platform.map(|text| text.parse().expect("a platform"));
            assert_eq!(image(&reference, platform.as_ref()), expected);
        };
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        check("alpine", None, "pkg:docker/alpine@latest");
        check(
            "alpine:3.20",
            Some("linux/amd64"),
            "pkg:docker/alpine@3.20?platform=linux%2Famd64",
        );
        check(
            "127.0.0.1:5000/team/app:v1",
            Some("linux/arm/v7"),
            "pkg:docker/127.0.0.1:5000/team/app@v1?platform=linux%2Farm%2Fv7",
        );
        check(
            &format!("ghcr.io/a/b@{digest}"),
            None,
            &format!("pkg:docker/ghcr.io/a/b?digest={digest}"),
        );
        check(
            &format!("debian:12@{digest}"),
            Some("linux/amd64"),
            &format!("pkg:docker/debian@12?digest={digest}&platform=linux%2Famd64"),
        );
    }

    #[test]
    fn what_does_not_stand_for_itself_is_encoded() {
        let text = Purl::new("npm", "x y", "1+2")
            .namespace("@s/t")
            .qualifier("b", "2")
            .qualifier("a", "ö");
        assert_eq!(text.text(), "pkg:npm/%40s/t/x%20y@1%2B2?a=%C3%B6&b=2");
    }
}
