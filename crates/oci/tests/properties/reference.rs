//! A text that is a reference is printed as a reference that is the same, and printing is stable.

use oci::{Reference, Repository};

/// Panics where the property does not hold of `input`.
pub(crate) fn holds(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let reference = match text.parse::<Reference>() {
        Ok(reference) => reference,
        Err(error) => {
            // It is shown to people: what it quotes is bounded.
            let (quoted, reason) = (error.text.chars().count(), error.reason.len());
            assert!(quoted <= 200, "{quoted} characters are quoted");
            assert!(reason <= 1000 + 4 * text.len(), "{reason} bytes of reason");
            return;
        }
    };
    let printed = reference.to_string();
    let again: Reference = printed.parse().expect("what is printed is a reference");
    assert_eq!(again, reference, "{text:?} was printed as {printed:?}");
    assert_eq!(again.to_string(), printed);
    assert!(
        reference.tag().is_some() || reference.digest().is_some(),
        "{printed:?} names no image"
    );
    let json = serde_json::to_string(&reference).expect("JSON");
    let read: Reference = serde_json::from_str(&json).expect("our own JSON");
    assert_eq!(read, reference);
    let repository: &Repository = reference.repository();
    assert!(printed.starts_with(&repository.to_string()));
    assert!(!repository.registry().is_empty() && !repository.path().is_empty());
    assert!(
        repository
            .path()
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..")),
        "{printed:?} would leave its directory"
    );
}
