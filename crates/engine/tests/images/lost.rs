//! What a shared cache said to have, and has not when it is needed: a build is slower then, and
//! comes to the same image.

use std::fs;
use std::io::Read as _;
use std::slice::from_ref;
use std::sync::Arc;

use engine::{ImageName, Output, PushRequest, StepOutcome};
use oci::{Compression, Descriptor, Digest};
use shelf::{Address, DocumentName};
use store::layer::{EntryKind, LayerIndex};
use testkit::{Action, Endpoint, Layer, Match, Method, image, validate_image};

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
        bench.on_new_machine(&bench.request_with(&copied("a"), &[], from_ref(&cache)));
        harm(&bench);
        let second = bench.request_with(&copied("b"), from_ref(&cache), &[]);
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
    bench.on_new_machine(&bench.request_with(dockerfile, &[], from_ref(&cache)));
    let mut request = bench.request_with(dockerfile, from_ref(&cache), &[]);
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
        immutable_tags: Default::default(),
        publishing: Default::default(),
    };
    bench.push(&pushed, store.path()).unwrap();
    validate_image(&bench.registry, "later", "1").unwrap();
}

/// A layer that was found in a directory goes to a registry that has nothing of it, and goes on where
/// it was cut off.
#[test]
fn what_was_found_in_a_directory_is_pushed() {
    let bench = Bench::new();
    noise(&bench, "noise");
    let place = tempfile::tempdir().unwrap();
    let cache = directory(place.path());
    let dockerfile = "FROM BASE\nCOPY noise /noise\n";
    let filling = bench.request_with(dockerfile, &[], from_ref(&cache));
    let first = bench.on_new_machine(&filling);
    for (name, is_cut) in [("whole", false), ("cut", true)] {
        if is_cut {
            let sent = Match::any()
                .repository(name)
                .endpoint(Endpoint::UploadSession);
            let cut = Action::ResetRequest { after: 2 << 20 };
            for method in [Method::PATCH, Method::PUT] {
                let sent = sent.clone().method(method).times(1);
                bench.registry.fault(sent, cut.clone());
            }
        }
        let mut request = bench.request_with(dockerfile, from_ref(&cache), &[]);
        request.tags = vec![
            format!("{}/{name}:1", bench.registry.host())
                .parse()
                .unwrap(),
        ];
        let built = bench.on_new_machine(&request);
        assert_eq!(built.found_in(&cache), 1);
        assert_eq!(built.report.manifest, first.report.manifest);
        validate_image(&bench.registry, name, "1").unwrap();
        bench.registry.clear_faults();
    }
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

/// A cache says what is in a layer, and it is not so. That shows when the layer is read as a whole:
/// by then something was made that rests on it, and was remembered.
#[test]
fn what_rests_on_a_lie_is_made_again() {
    let bench = Bench::new();
    let mut layer = Layer::new()
        .compressed(Compression::Gzip)
        .directory("data", 0o755)
        .file_with("data/tool", 0o755, "the tool");
    for number in 0..3 {
        noise(&bench, "noise");
        let content = fs::read(bench.context.path().join("noise")).unwrap();
        layer = layer.file(&format!("data/n{number}"), content);
    }
    let big = image().layer(layer).build();
    bench.registry.seed("big", "1", &big);
    let host = bench.registry.host();
    let place = tempfile::tempdir().unwrap();
    let cache = directory(place.path());
    let learns = format!("FROM scratch\nCOPY --from={host}/big:1 /data/n0 /n0\n");
    bench.on_new_machine(&bench.request_with(&learns, &[], from_ref(&cache)));
    make_it_lie(&bench, &cache, &big.layers[0].digest);
    let dockerfile = format!(
        "FROM scratch\nCOPY --from={host}/big:1 /data/tool /tool\n\
         COPY --from={host}/big:1 /data /all/\n"
    );
    let clean = bench.on_new_machine(&bench.request(&dockerfile));
    let store = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let other = directory(other.path());
    let request = bench.request_with(&dockerfile, from_ref(&cache), from_ref(&other));
    let built = bench.on(&request, store.path()).unwrap();
    assert_eq!(built.report.manifest, clean.report.manifest);
    let told = built.warnings.iter().any(|told| told.contains("is not so"));
    assert!(told, "{:?}", built.warnings);
    // Nothing of it is left, neither here nor where it was shared.
    let again = bench.on(&bench.request(&dockerfile), store.path()).unwrap();
    assert_eq!(again.report.manifest, clean.report.manifest);
    let shared = bench.on_new_machine(&bench.request_with(&dockerfile, &[other], &[]));
    assert_eq!(shared.report.manifest, clean.report.manifest);
}

/// Says that every file of a layer is nobody's business.
fn make_it_lie(bench: &Bench, cache: &Address, layer: &Digest) {
    let ports = bench.ports(bench.store.path(), Arc::new(crate::Quiet));
    let shelf = shelf::open(cache, &ports.network, None).unwrap();
    let name = DocumentName::shared(format!("layer-{}", layer.hex())).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut document = shelf.document(&name).await.unwrap().unwrap();
        let mut body: serde_json::Value = serde_json::from_slice(&document.body).unwrap();
        let blob: Descriptor = serde_json::from_value(body["index"].clone()).unwrap();
        let mut packed = Vec::new();
        let mut reader = shelf.open(&blob).await.unwrap();
        reader.read_to_end(&mut packed).unwrap();
        let bytes = zstd::stream::decode_all(&packed[..]).unwrap();
        let mut index = LayerIndex::decode(&bytes).unwrap();
        let mut entries = index.entries.to_vec();
        for entry in &mut entries {
            if matches!(entry.kind, EntryKind::File { .. }) {
                entry.metadata.mode = 0o600;
            }
        }
        index.entries = entries.into();
        let packed = zstd::bulk::compress(&index.encode(), 3).unwrap();
        let lie = Descriptor::new(blob.media_type, Digest::of(&packed), packed.len() as u64);
        body["index"] = serde_json::to_value(&lie).unwrap();
        let packed = Arc::new(bytes::Bytes::from(packed));
        shelf.put(&lie, packed, &[]).await.unwrap();
        document.blobs[0] = lie;
        document.body = serde_json::to_vec(&body).unwrap().into();
        shelf.put_document(&name, &document).await.unwrap();
    });
}
