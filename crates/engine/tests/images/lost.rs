//! What a shared cache said to have, and has not when it is needed: a build is slower then, and
//! comes to the same image.

use std::fs;

use engine::{ImageName, Output, PushRequest, StepOutcome};
use shelf::Address;
use testkit::{Action, Match, validate_image};

use crate::Bench;
use crate::shared::directory;

/// Bytes that do not compress.
fn noise(bench: &Bench, name: &str) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let bytes: Vec<u8> = bytes.take(1 << 20).flatten().collect();
    fs::write(bench.context.path().join(name), bytes).unwrap();
}

/// A step of which only a part of its layer is wanted, and the layer has gone: it is carried out,
/// as it is where all of the layer is wanted.
#[test]
fn a_layer_that_is_read_in_parts_can_be_lost_too() {
    let check = |what: &str, cache: &dyn Fn(&Bench) -> Address, harm: &dyn Fn(&Bench)| {
        let bench = Bench::new();
        noise(&bench, "noise");
        bench.file("wanted: small");
        let cache = cache(&bench);
        let copied = |to: &str| {
            format!("FROM scratch AS one\nCOPY . /d/\nFROM BASE\nCOPY --from=one /d/wanted /{to}\n")
        };
        bench.on_new_machine(&bench.request_with(&copied("a"), &[], &[cache.clone()]));
        harm(&bench);
        let second = bench.request_with(&copied("b"), &[cache.clone()], &[]);
        let built = bench.on_new_machine(&second);
        assert_eq!(built.outcomes(), [StepOutcome::Ran; 2], "{what}");
        bench.registry.clear_faults();
        let clean = bench.on_new_machine(&bench.request(&copied("b")));
        assert_eq!(built.report.manifest, clean.report.manifest, "{what}");
    };
    let large = |bench: &Bench| {
        let (_, _, bytes) = bench.registry.manifest("cache", "main").unwrap();
        let manifest: oci::Manifest = serde_json::from_slice(&bytes).unwrap();
        let layers = manifest.layers.into_iter();
        let large: Vec<_> = layers.filter(|layer| layer.size > 1 << 20).collect();
        assert!(!large.is_empty());
        large
    };
    check("removed", &Bench::cache, &|bench| {
        for layer in large(bench) {
            bench.registry.remove_blob("cache", &layer.digest);
        }
    });
    check("refused", &Bench::cache, &|bench| {
        for layer in large(bench) {
            let blob = Match::any().repository("cache");
            let blob = blob.reference(layer.digest.as_str());
            bench.registry.fault(blob, Action::status(403));
        }
    });
    let place = tempfile::tempdir().unwrap();
    check("no file", &|_| directory(place.path()), &|_| {
        for blob in fs::read_dir(place.path().join("blobs/sha256")).unwrap() {
            let blob = blob.unwrap();
            if blob.metadata().unwrap().len() > 1 << 20 {
                fs::remove_file(blob.path()).unwrap();
            }
        }
    });
}

/// What stays in the store can be pushed when the directory that its layers were found in has gone.
#[test]
fn an_image_in_the_store_needs_no_directory_to_be_pushed() {
    let bench = Bench::with_files();
    let place = tempfile::tempdir().unwrap();
    let cache = directory(&place.path().join("cache"));
    let dockerfile = "FROM BASE\nCOPY a /a\nCOPY c /c\n";
    bench.on_new_machine(&bench.request_with(dockerfile, &[], &[cache.clone()]));
    let mut request = bench.request_with(dockerfile, &[cache.clone()], &[]);
    request.outputs = vec![Output::Image];
    request.tags = vec![
        format!("{}/later:1", bench.registry.host())
            .parse()
            .unwrap(),
    ];
    let store = tempfile::tempdir().unwrap();
    let built = bench.on(&request, store.path()).unwrap();
    assert_eq!(built.found_in(&cache), 2);
    fs::remove_dir_all(place.path()).unwrap();
    let pushed = PushRequest {
        image: ImageName::Reference(request.tags[0].clone()),
        destinations: request.tags.clone(),
    };
    bench.push(&pushed, store.path()).unwrap();
    validate_image(&bench.registry, "later", "1").unwrap();
}

/// The tag of an image and of a cache cannot be the same: one would take the other's place.
#[test]
fn a_cache_under_the_tag_of_the_image_is_refused() {
    let bench = Bench::with_files();
    let same: oci::Reference = format!("{}/out:1", bench.registry.host()).parse().unwrap();
    let request = bench.request_with("FROM BASE\nCOPY a /a\n", &[], &[Address::Registry(same)]);
    let error = bench.run(&request).unwrap_err();
    assert!(crate::explain(&error).contains("--cache-to"), "{error}");
    assert!(bench.registry.tags("out").is_empty());
}
