//! A document that is read is one thing, keeps its bytes, and is the same when it is written anew.

use oci::{Digest, Document, ImageConfig, Platform, Raw};

/// Panics where the property does not hold of `input`.
pub(crate) fn holds(input: &[u8]) {
    if let Ok(document) = Document::read(input, None) {
        assert_eq!(document.bytes(), input, "the bytes are kept");
        assert_eq!(document.descriptor().digest, Digest::of(input));
        assert_eq!(document.descriptor().size, input.len() as u64);
        let header = document.media_type();
        let named = Document::read(input, Some(&header)).expect("its own type as the header");
        assert_eq!(named.bytes(), input);
        let (written, is_index) = match &document {
            Document::Manifest(manifest) => {
                (Raw::write(manifest.value().clone()).bytes().to_vec(), false)
            }
            Document::Index(index) => {
                let host = Platform::host();
                if let Some(chosen) = index.value().select(&host) {
                    assert!(index.value().manifests.contains(chosen));
                }
                (Raw::write(index.value().clone()).bytes().to_vec(), true)
            }
        };
        let again = Document::read(written.as_slice(), Some(&header)).expect("what is written");
        assert_eq!(matches!(again, Document::Index(_)), is_index);
        let same = match (&document, &again) {
            (Document::Manifest(a), Document::Manifest(b)) => a.value() == b.value(),
            (Document::Index(a), Document::Index(b)) => a.value() == b.value(),
            (Document::Manifest(_), Document::Index(_))
            | (Document::Index(_), Document::Manifest(_)) => false,
        };
        assert!(same, "written anew it says something else");
    }
    if let Ok(config) = Raw::<ImageConfig>::read(input) {
        let written = Raw::write(config.value().clone());
        let again = Raw::<ImageConfig>::read(written.bytes()).expect("what is written");
        assert_eq!(again.value(), config.value());
        assert_eq!(again.digest(), written.digest(), "writing is stable");
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(platform) = text.parse::<Platform>()
    {
        let again: Platform = platform.to_string().parse().expect("what is printed");
        assert_eq!(again, platform);
        assert_eq!(platform.accepts(&platform), Some(0), "{platform}");
    }
}
