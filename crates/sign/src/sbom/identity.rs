//! Identities of lists: equal lists have equal ones, others have others, and nobody rolls dice.

use oci::Digest;
use serde_json::Value;

/// The digest of a document that has no identity yet.
pub(super) fn of(document: &Value) -> Digest {
    Digest::of(document.to_string().as_bytes())
}

/// A digest as a UUID of version 8 (RFC 9562 section 5.8), whose bits are the maker's to choose.
pub(super) fn uuid(digest: &Digest) -> String {
    let mut digits: Vec<char> = digest.hex().chars().take(32).collect();
    digits[12] = '8';
    // The variant is in the two highest bits of this digit.
    let value = digits[16].to_digit(16).unwrap_or_default() & 3;
    digits[16] = char::from_digit(8 + value, 16).unwrap_or('8');
    let text = |range: std::ops::Range<usize>| digits[range].iter().collect::<String>();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(text);
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_its_version_and_its_variant() {
        for seed in 0_u8..64 {
            let uuid = uuid(&Digest::of(&[seed]));
            let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12]);
            assert_eq!(uuid.as_bytes()[14], b'8');
            assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
        }
    }
}
