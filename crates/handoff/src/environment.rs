//! Variables for shells.

use std::fmt::Write as _;

use crate::PublishedImage;

/// One assignment a line, quoted for a POSIX shell: `EPP_IMAGE`, `EPP_REPOSITORY`, `EPP_TAG` (where
/// there is a tag) and `EPP_DIGEST` of an image that is called `epp`.
pub fn environment(images: &[PublishedImage]) -> String {
    let mut out = String::new();
    for image in images {
        let name = variable(&image.name);
        let mut put = |what: &str, value: &str| {
            let _ = writeln!(out, "{name}_{what}={}", quoted(value));
        };
        put("IMAGE", &image.reference());
        put("REPOSITORY", &image.repository.to_string());
        if let Some(tag) = &image.tag {
            put("TAG", tag.as_str());
        }
        put("DIGEST", image.digest.as_str());
    }
    out
}

/// The name of a variable: letters, digits and underscores, and no digit in front.
fn variable(name: &str) -> String {
    let mut out: String = name
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
            _ => '_',
        })
        .collect();
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::{quoted, variable};

    #[test]
    fn names_are_names_of_variables() {
        let check = |name: &str, expected: &str| assert_eq!(variable(name), expected);
        check("epp", "EPP");
        check("envoy-xds.api", "ENVOY_XDS_API");
        check("epp (debug)", "EPP__DEBUG_");
        check("7zip", "_7ZIP");
        check("", "_");
    }

    #[test]
    fn no_value_ends_its_quotes() {
        assert_eq!(quoted("a'; rm -rf b"), "'a'\\''; rm -rf b'");
    }
}
