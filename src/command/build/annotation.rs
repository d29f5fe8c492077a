//! Annotations as buildx has them: `--annotation PLACES:KEY=VALUE` and the fields
//! `annotation-PLACE.KEY=VALUE` of outputs.
//!
//! A place is `manifest`, `index`, `manifest-descriptor` or `index-descriptor`; those of manifests
//! may name a platform in brackets. Without a place it is the manifest.

use engine::{Annotated, Annotations, Shape};
use oci::Platform;

use super::platforms;
use crate::error::ProgramError;

const PLACES: [&str; 4] = [
    "manifest",
    "index",
    "manifest-descriptor",
    "index-descriptor",
];

/// Reads one `--annotation`.
pub(super) fn flag(text: &str) -> Result<Annotations, ProgramError> {
    let wrong = || ProgramError::input(format!("--annotation {text}: expected key=value"));
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let (places, key) = match key.split_once(':') {
        // A key may have a colon of its own: what is in front of it then is no place.
        Some((places, rest)) if places.split(',').all(is_place) => (places, rest),
        _ => ("manifest", key),
    };
    if key.is_empty() {
        return Err(wrong());
    }
    let mut annotations = Annotations::default();
    for place in places.split(',') {
        annotations.add(read_place(place, text)?, key.to_owned(), value.to_owned());
    }
    Ok(annotations)
}

/// Reads the key of a field of `--output`: nothing when it is not about an annotation.
pub(super) fn field(key: &str) -> Option<Result<(Annotated, String), ProgramError>> {
    let rest = key.strip_prefix("annotation")?;
    let (place, name) = match rest.strip_prefix('.') {
        Some(name) => ("manifest", name),
        None => {
            let rest = rest.strip_prefix('-')?;
            // The point of a platform's name does not end the place.
            let from = rest.find(']').unwrap_or(0);
            let point = from + rest.get(from..)?.find('.')?;
            (&rest[..point], &rest[point + 1..])
        }
    };
    if !is_place(place) || name.is_empty() {
        return None;
    }
    Some(read_place(place, key).map(|on| (on, name.to_owned())))
}

fn is_place(text: &str) -> bool {
    let name = text.split_once('[').map_or(text, |(name, _)| name);
    PLACES.contains(&name)
}

fn read_place(place: &str, whole: &str) -> Result<Annotated, ProgramError> {
    let wrong = |why: &str| ProgramError::input(format!("annotation {whole}: {why}"));
    let (name, platform) = match place.split_once('[') {
        None => (place, None),
        Some((name, rest)) => {
            let text = rest
                .strip_suffix(']')
                .ok_or_else(|| wrong("a bracket is not closed"))?;
            let platform = platforms::parse("annotation", text)?;
            (name, Some(platform))
        }
    };
    match (name, platform) {
        ("manifest", platform) => Ok(Annotated::Manifest(platform)),
        ("manifest-descriptor", platform) => Ok(Annotated::ManifestDescriptor(platform)),
        ("index", None) => Ok(Annotated::Index),
        ("index-descriptor", None) => Ok(Annotated::IndexDescriptor),
        (_, Some(_)) => Err(wrong(
            "an index is for all platforms: leave the platform away",
        )),
        (_, None) => Err(wrong("expected manifest, index, or the descriptor of one")),
    }
}

/// Refuses annotations of what is not made.
pub(super) fn check(
    annotations: &Annotations,
    shape: &Shape,
    platform: &Platform,
) -> Result<(), ProgramError> {
    for (on, key, _) in annotations.iter() {
        match (on, shape) {
            (Annotated::Index | Annotated::IndexDescriptor, Shape::Image) => {
                let headline =
                    format!("annotation {key} is for an index, and this build makes one manifest");
                return Err(ProgramError::input(headline)
                    .hint("for an index of one image, use --build-arg BUILDKIT_MULTI_PLATFORM=1"));
            }
            (
                Annotated::Manifest(Some(wanted)) | Annotated::ManifestDescriptor(Some(wanted)),
                shape,
            ) => {
                let built = match shape {
                    Shape::Image => std::slice::from_ref(platform),
                    Shape::Index(platforms) => platforms,
                };
                if !built.contains(wanted) {
                    let names: Vec<String> = built.iter().map(Platform::to_string).collect();
                    return Err(ProgramError::input(format!(
                        "annotation {key} is for {wanted}, and this build is for {}",
                        names.join(", ")
                    )));
                }
            }
            (Annotated::Manifest(None) | Annotated::ManifestDescriptor(None), _)
            | (Annotated::Index | Annotated::IndexDescriptor, Shape::Index(_)) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match flag(text) {
            Ok(annotations) => format!("{:?}", annotations.iter().collect::<Vec<_>>()),
            Err(error) => error.headline,
        }
    }

    #[test]
    fn places_are_read_as_buildx_reads_them() {
        assert_eq!(read("a=b"), r#"[(Manifest(None), "a", "b")]"#);
        assert_eq!(read("manifest:a=b=c"), r#"[(Manifest(None), "a", "b=c")]"#);
        assert_eq!(read("urn:a=b"), r#"[(Manifest(None), "urn:a", "b")]"#);
        assert_eq!(
            read("index,manifest-descriptor:a=b"),
            r#"[(Index, "a", "b"), (ManifestDescriptor(None), "a", "b")]"#
        );
        assert!(read("manifest[linux/arm64/v8]:a=b").contains(r#"architecture: "arm64""#));
        for (wrong, expected) in [
            ("a", "expected key=value"),
            ("=b", "expected key=value"),
            ("index:=b", "expected key=value"),
            ("index[linux/arm64]:a=b", "leave the platform away"),
            ("manifest[linux/arm65]:a=b", "unknown architecture"),
            ("manifest[linux/arm64:a=b", "a bracket is not closed"),
        ] {
            assert!(read(wrong).contains(expected), "{}", read(wrong));
        }
    }

    #[test]
    fn fields_of_outputs_name_places_too() {
        let place = |key: &str| field(key).map(|read| format!("{:?}", read.expect("a place")));
        let manifest = Some(r#"(Manifest(None), "a.b")"#.to_owned());
        assert_eq!(place("annotation.a.b"), manifest);
        assert_eq!(place("annotation-manifest.a.b"), manifest);
        assert_eq!(
            place("annotation-index-descriptor.k"),
            Some(r#"(IndexDescriptor, "k")"#.to_owned())
        );
        assert!(place("annotation-manifest[linux/arm64].k").is_some());
        for other in ["annotation", "annotation-floppy.k", "annotation.", "name"] {
            assert_eq!(place(other), None, "{other}");
        }
    }

    #[test]
    fn annotations_of_what_is_not_made_are_refused() {
        let arm: Platform = "linux/arm64".parse().expect("a platform");
        let amd: Platform = "linux/amd64".parse().expect("a platform");
        let wrong = |text: &str, shape: &Shape| {
            let annotations = flag(text).expect("an annotation");
            check(&annotations, shape, &amd)
                .err()
                .map(|error| error.headline)
        };
        let index = Shape::Index(vec![amd.clone(), arm]);
        let one = Shape::Image;
        assert_eq!(wrong("index:a=b", &index), None);
        assert_eq!(wrong("manifest[linux/arm64]:a=b", &index), None);
        assert_eq!(wrong("manifest[linux/amd64]:a=b", &one), None);
        assert_eq!(
            wrong("index:a=b", &one).as_deref(),
            Some("annotation a is for an index, and this build makes one manifest")
        );
        assert_eq!(
            wrong("manifest[linux/386]:a=b", &index).as_deref(),
            Some("annotation a is for linux/386, and this build is for linux/amd64, linux/arm64")
        );
    }
}
