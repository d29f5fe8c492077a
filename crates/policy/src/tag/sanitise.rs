//! Tags that are made from words which were never meant to be tags: branches, versions.

use oci::Tag;

/// The most characters of a tag (distribution specification, "Pulling manifests").
pub const TAG_CHARS_MAX: usize = 128;

/// A tag as near to a text as tags can be: other characters become `_`, and so do a `.` or `-` in
/// front; it is cut where tags end. Nothing for an empty text. Skaffold does the same, so that tags
/// stay what they were. What a user writes as a tag is never changed this way.
pub fn sanitised(text: &str) -> Option<Tag> {
    let mut tag = String::new();
    for (index, character) in text.chars().take(TAG_CHARS_MAX).enumerate() {
        tag.push(match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => character,
            '.' | '-' if index > 0 => character,
            _ => '_',
        });
    }
    tag.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_tag_can_have_becomes_an_underscore() {
        let check = |text: &str, expected: &str| {
            let tag = sanitised(text).map_or(String::new(), |tag| tag.to_string());
            assert_eq!(tag, expected, "{text}");
        };
        check("main", "main");
        check("feature/login", "feature_login");
        check("v1.2.3-rc.1", "v1.2.3-rc.1");
        check("conformance/v1.5.0", "conformance_v1.5.0");
        check("-x", "_x");
        check(".x", "_x");
        check("x.-", "x.-");
        check("größe", "gr__e");
        check("a b\nc", "a_b_c");
        check("1.2.3+build", "1.2.3_build");
        check("", "");
        check(&"a".repeat(200), &"a".repeat(TAG_CHARS_MAX));
        check(&"ü".repeat(200), &"_".repeat(TAG_CHARS_MAX));
    }
}
