//! Caches that machines share: every build here has an empty store, unless it says
//! otherwise. A hit must be what a build from nothing gives, and nothing that is wrong
//! with a cache may keep a build from its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::sync::{Arc, Mutex};

use engine::{
    BuildReport, BuildRequest, CacheMode, CachePlace, CacheTarget, Event, Output, Reporter,
    StepOutcome,
};
use oci::Digest;
use shelf::{Address, DirectoryAddress};
use testkit::{Action, Endpoint, Layer, Match, Method, image, validate_image};

use crate::Bench;

const DOCKERFILE: &str =
    "FROM BASE AS one\nCOPY a /a\nFROM BASE\nCOPY --from=one /a /b\nCOPY c /c\n";

/// What was warned of.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Reporter for Warnings {
    fn report(&self, event: Event) {
        if let Event::Warning { message } = event {
            self.0.lock().unwrap().push(message);
        }
    }
}

/// A build on a new machine.
pub(super) struct Built {
    pub(super) report: BuildReport,
    pub(super) warnings: Vec<String>,
}

impl Built {
    pub(super) fn outcomes(&self) -> Vec<StepOutcome> {
        self.report.steps.iter().map(|step| step.outcome).collect()
    }

    /// How many steps were found, and all in this cache.
    pub(super) fn found_in(&self, address: &Address) -> usize {
        let expected = CachePlace::Shared(address.to_string());
        let cached = self.report.steps.iter().filter(|step| step.cache.is_some());
        cached
            .map(|step| assert_eq!(step.cache.as_ref(), Some(&expected)))
            .count()
    }
}

impl Bench {
    pub(super) fn with_files() -> Self {
        let bench = Self::new();
        bench.file("a: A").file("c: C");
        bench
    }

    pub(super) fn cache(&self) -> Address {
        let reference = format!("{}/cache:main", self.registry.host());
        Address::Registry(reference.parse().unwrap())
    }

    pub(super) fn request_with(
        &self,
        dockerfile: &str,
        from: &[Address],
        to: &[Address],
    ) -> BuildRequest {
        let mut request = self.request(dockerfile);
        request.cache.from = from.to_vec();
        request.cache.to = to
            .iter()
            .map(|address| CacheTarget::Shelf {
                address: Box::new(address.clone()),
                mode: CacheMode::Max,
            })
            .collect();
        request
    }

    pub(super) fn on_new_machine(&self, request: &BuildRequest) -> Built {
        let store = tempfile::tempdir().unwrap();
        self.on(request, store.path()).expect("a build")
    }

    pub(super) fn on(
        &self,
        request: &BuildRequest,
        store: &Path,
    ) -> Result<Built, engine::BuildError> {
        let warnings = Arc::new(Warnings::default());
        let report = self.run_under(request, store, Arc::clone(&warnings) as _)?;
        let warnings = warnings.0.lock().unwrap().clone();
        Ok(Built { report, warnings })
    }

    fn fill(&self, cache: &Address) -> Built {
        let built = self.on_new_machine(&self.request_with(DOCKERFILE, &[], from_ref(cache)));
        assert_eq!(built.warnings, Vec::<String>::new());
        built
    }
}

pub(super) fn directory(path: &Path) -> Address {
    Address::Directory(DirectoryAddress {
        path: path.to_owned(),
        tag: "latest".parse().unwrap(),
        digest: None,
    })
}

/// Fills a cache and uses it, with a check in between.
fn check_round(bench: &Bench, cache: &Address) {
    let first = bench.fill(cache);
    assert_eq!(first.outcomes(), [StepOutcome::Ran; 3]);
    let second = bench.on_new_machine(&bench.request_with(DOCKERFILE, from_ref(cache), &[]));
    assert_eq!(second.warnings, Vec::<String>::new());
    assert_eq!(second.found_in(cache), 3);
    assert_eq!(second.report.manifest, first.report.manifest);
    bench.file("c: new");
    let third = bench.on_new_machine(&bench.request_with(DOCKERFILE, from_ref(cache), &[]));
    assert_eq!(third.found_in(cache), 2);
    validate_image(&bench.registry, "out", "1").unwrap();
}

#[test]
fn a_new_machine_uses_what_another_did() {
    let bench = Bench::with_files();
    check_round(&bench, &bench.cache());
}

#[test]
fn a_directory_is_a_cache_too() {
    let bench = Bench::with_files();
    let place = tempfile::tempdir().unwrap();
    check_round(&bench, &directory(&place.path().join("new")));
}

#[test]
fn requests_do_not_grow_with_steps() {
    let requests = |steps: usize| {
        let bench = Bench::with_files();
        let mut dockerfile = "FROM BASE\n".to_owned();
        for step in 0..steps {
            dockerfile += &format!("COPY a /{step}\n");
        }
        let cache = bench.cache();
        bench.on_new_machine(&bench.request_with(&dockerfile, &[], from_ref(&cache)));
        bench.registry.clear_log();
        let again = bench.request_with(&dockerfile, from_ref(&cache), from_ref(&cache));
        let built = bench.on_new_machine(&again);
        assert_eq!(built.found_in(&cache), steps);
        bench.registry.lines()
    };
    let few = requests(2);
    assert_eq!(few.len(), requests(20).len());
    // The base: tag, manifest, configuration. The cache: manifest, catalogue. The destination: tag.
    assert!(few.len() <= 6, "{few:#?}");
}

#[test]
fn what_was_done_is_kept_when_the_build_fails() {
    let bench = Bench::with_files();
    let cache = bench.cache();
    let broken = "FROM BASE\nCOPY a /a\nCOPY c /a/below\n";
    let store = tempfile::tempdir().unwrap();
    let request = bench.request_with(broken, &[], from_ref(&cache));
    assert!(bench.on(&request, store.path()).is_err());
    let good = "FROM BASE\nCOPY a /a\nCOPY c /below\n";
    let built = bench.on_new_machine(&bench.request_with(good, from_ref(&cache), &[]));
    assert_eq!(built.outcomes(), [StepOutcome::Cached, StepOutcome::Ran]);
}

#[test]
fn min_keeps_the_image_only() {
    let bench = Bench::with_files();
    let cache = bench.cache();
    let mut request = bench.request_with(DOCKERFILE, &[], &[]);
    request.cache.to = vec![CacheTarget::Shelf {
        address: Box::new(cache.clone()),
        mode: CacheMode::Min,
    }];
    bench.on_new_machine(&request);
    bench.file("a: new");
    let changed = bench.on_new_machine(&bench.request_with(DOCKERFILE, from_ref(&cache), &[]));
    assert_eq!(changed.found_in(&cache), 0);
    bench.file("a: A").file("c: new");
    let changed = bench.on_new_machine(&bench.request_with(DOCKERFILE, from_ref(&cache), &[]));
    // The other stage is as cached as what was copied from it.
    assert_eq!(changed.found_in(&cache), 2);
}

#[test]
fn caches_are_asked_in_their_order_and_carried_over() {
    let bench = Bench::with_files();
    let (one, place) = (bench.cache(), tempfile::tempdir().unwrap());
    let other = directory(place.path());
    bench.fill(&one);
    let empty = Address::Registry(
        format!("{}/none:main", bench.registry.host())
            .parse()
            .unwrap(),
    );
    let from = [empty, one.clone()];
    let carried = bench.on_new_machine(&bench.request_with(DOCKERFILE, &from, from_ref(&other)));
    assert_eq!(carried.found_in(&one), 3);
    let from = [other.clone(), one];
    bench.file("c: new");
    let built = bench.on_new_machine(&bench.request_with(DOCKERFILE, &from, &[]));
    assert_eq!(built.found_in(&other), 2);
}

#[test]
fn lost_and_damaged_layers_are_made_again() {
    let check = |what: &str, harm: &dyn Fn(&Bench, &Digest)| {
        let bench = Bench::with_files();
        let cache = bench.cache();
        let first = bench.fill(&cache);
        let (_, _, bytes) = bench.registry.manifest("out", "1").unwrap();
        let manifest: oci::Manifest = serde_json::from_slice(&bytes).unwrap();
        for layer in &manifest.layers[1..] {
            harm(&bench, &layer.digest);
        }
        // Not in the destination either, from where it could be mounted.
        let mut request = bench.request_with(DOCKERFILE, from_ref(&cache), from_ref(&cache));
        let new = format!("{}/new:1", bench.registry.host());
        request.tags = vec![new.parse().unwrap()];
        let built = bench.on_new_machine(&request);
        assert_eq!(built.report.manifest, first.report.manifest, "{what}");
        assert!(!built.warnings.is_empty(), "{what}");
        validate_image(&bench.registry, "new", "1").unwrap();
    };
    check("lost", &|bench, digest| {
        bench.registry.remove_blob("cache", digest);
        bench.registry.remove_blob("out", digest);
    });
}

#[test]
fn a_lost_layer_under_a_step_that_reads_it_is_made_again() {
    let bench = Bench::with_files();
    let place = tempfile::tempdir().unwrap();
    let cache = directory(place.path());
    let first = "FROM BASE AS one\nCOPY a /a\nFROM BASE\nCOPY --from=one /a /b\n";
    bench.on_new_machine(&bench.request_with(first, &[], from_ref(&cache)));
    // What is copied has changed its name, so the layer below must be looked at.
    let second = "FROM BASE AS one\nCOPY a /a\nFROM BASE\nCOPY --from=one /a /c\n";
    type Harm<'h> = &'h dyn Fn(&PathBuf);
    let harm: [(&str, Harm<'_>); 3] = [
        ("removed", &|path| fs::remove_file(path).unwrap()),
        ("cut", &|path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("flipped", &|path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
    ];
    for (what, harm) in harm {
        for blob in fs::read_dir(place.path().join("blobs/sha256")).unwrap() {
            let path = blob.unwrap().path();
            if fs::read(&path).unwrap().starts_with(&[0x1f, 0x8b]) {
                harm(&path);
            }
        }
        let built = bench.on_new_machine(&bench.request_with(second, from_ref(&cache), &[]));
        assert_eq!(built.outcomes(), [StepOutcome::Ran; 2], "{what}");
        assert!(
            built
                .warnings
                .iter()
                .any(|warning| warning.contains("could not be had")),
            "{what}: {:?}",
            built.warnings
        );
        let clean = bench.on_new_machine(&bench.request(second));
        assert_eq!(built.report.manifest, clean.report.manifest, "{what}");
    }
}

#[test]
fn what_others_put_there_stays() {
    let bench = Bench::with_files();
    let cache = bench.cache();
    let other = image().layer(Layer::new().file("x", "x")).build();
    let before = bench.registry.seed("cache", "main", &other);
    let request = bench.request_with(DOCKERFILE, from_ref(&cache), from_ref(&cache));
    let built = bench.on_new_machine(&request);
    let (after, _, _) = bench.registry.manifest("cache", "main").unwrap();
    assert_eq!(after, before);
    assert_eq!(built.warnings.len(), 2, "{:?}", built.warnings);
    assert!(
        built
            .warnings
            .iter()
            .all(|warning| warning.contains("it is an image"))
    );
}

#[test]
fn no_fault_of_a_cache_fails_a_build() {
    let faults: [(&str, Match, Action); 6] = [
        (
            "denied",
            Match::any().repository("cache"),
            Action::status(403),
        ),
        (
            "unauthorized",
            Match::any().repository("cache"),
            Action::status(401),
        ),
        (
            "read only",
            Match::any().method(Method::POST).repository("cache"),
            Action::status(403),
        ),
        (
            "broken",
            Match::any().repository("cache").times(40),
            Action::status(400),
        ),
        (
            "no manifests",
            Match::new(Method::PUT, Endpoint::Manifest).repository("cache"),
            Action::status(400),
        ),
        (
            "no blobs",
            Match::new(Method::GET, Endpoint::Blob).repository("cache"),
            Action::status(404),
        ),
    ];
    for (what, matching, action) in faults {
        let bench = Bench::with_files();
        let cache = bench.cache();
        if what == "no blobs" {
            bench.fill(&cache);
        }
        bench.registry.fault(matching, action);
        let request = bench.request_with(DOCKERFILE, from_ref(&cache), from_ref(&cache));
        let built = bench.on_new_machine(&request);
        assert!(!built.warnings.is_empty(), "{what}");
        bench.registry.clear_faults();
        let clean = bench.on_new_machine(&bench.request(DOCKERFILE));
        assert_eq!(built.report.manifest, clean.report.manifest, "{what}");
    }
}

#[test]
fn builds_that_fill_one_cache_at_once_do_no_harm() {
    let bench = Bench::with_files();
    let place = tempfile::tempdir().unwrap();
    let caches = [bench.cache(), directory(place.path())];
    for cache in &caches {
        std::thread::scope(|scope| {
            for number in 0..6 {
                let (bench, cache) = (&bench, cache.clone());
                scope.spawn(move || {
                    let dockerfile = format!("FROM BASE\nCOPY a /{number}\nCOPY c /c\n");
                    let mut request = bench.request_with(&dockerfile, &[], &[cache]);
                    request.outputs = vec![Output::Image];
                    let built = bench.on_new_machine(&request);
                    assert_eq!(built.warnings, Vec::<String>::new());
                });
            }
        });
        let mut found = 0;
        for number in 0..6 {
            let dockerfile = format!("FROM BASE\nCOPY a /{number}\nCOPY c /c\n");
            let request = bench.request_with(&dockerfile, from_ref(cache), &[]);
            found += bench.on_new_machine(&request).found_in(cache);
        }
        assert!(found > 0, "{cache}");
    }
}

#[test]
fn an_image_is_a_cache_of_its_own_layers() {
    let bench = Bench::with_files();
    let mut request = bench.request_with(DOCKERFILE, &[], &[]);
    request.cache.to = vec![CacheTarget::Inline];
    let first = bench.on_new_machine(&request);
    let again = bench.on_new_machine(&request);
    assert_eq!(first.report.manifest, again.report.manifest);
    let place = format!("{}/out:1", bench.registry.host());
    let image = Address::Registry(place.parse().unwrap());
    request.cache.from = vec![image.clone()];
    let found = bench.on_new_machine(&request);
    assert_eq!(found.warnings, Vec::<String>::new());
    // The image, and with it what it was copied from.
    assert_eq!(found.found_in(&image), 3);
    assert_eq!(found.report.manifest, first.report.manifest);
    bench.file("c: new");
    let changed = bench.on_new_machine(&request);
    assert_eq!(changed.found_in(&image), 2);
    validate_image(&bench.registry, "out", "1").unwrap();
}

#[test]
fn archives_are_written_again_from_what_was_made_again() {
    let bench = Bench::with_files();
    let place = tempfile::tempdir().unwrap();
    let cache = directory(place.path());
    bench.fill(&cache);
    for blob in fs::read_dir(place.path().join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        if fs::read(&path).unwrap().starts_with(&[0x1f, 0x8b]) {
            fs::remove_file(path).unwrap();
        }
    }
    let mut request = bench.request_with(DOCKERFILE, &[cache], &[]);
    let target = tempfile::tempdir().unwrap();
    request.outputs = vec![Output::Oci {
        destination: engine::Destination::File(target.path().join("image.tar")),
        tar: true,
    }];
    let built = bench.on_new_machine(&request);
    assert!(!built.warnings.is_empty());
    let clean = bench.on_new_machine(&bench.request(DOCKERFILE));
    assert_eq!(built.report.manifest, clean.report.manifest);
}

#[test]
fn another_machine_can_say_what_changed() {
    let bench = Bench::with_files();
    let cache = bench.cache();
    bench.fill(&cache);
    bench.file("c: new");
    let built = bench.on_new_machine(&bench.request_with(DOCKERFILE, &[cache], &[]));
    let causes = format!("{:?}", built.report.explanation.causes);
    assert!(causes.contains("\"c\""), "{causes}");
}

/// A secret that the writers share keeps everybody else's answers out (E03).
#[test]
fn a_sealed_cache_is_believed_by_its_seal() {
    let bench = Bench::with_files();
    let places = tempfile::tempdir().unwrap();
    let (ours, other) = ("0123456789abcdef", "fedcba9876543210");
    for (number, cache) in [bench.cache(), directory(places.path())].iter().enumerate() {
        let with = |from: &[Address], to: &[Address], key: Option<&str>| {
            let mut request = bench.request_with(DOCKERFILE, from, to);
            request.cache.key = key.map(|key| shelf::SealKey::new(key.as_bytes()).unwrap());
            bench.on_new_machine(&request)
        };
        let check = |key: Option<&str>, found: usize, warned: Option<&str>| {
            let built = with(from_ref(cache), from_ref(cache), key);
            assert_eq!(built.found_in(cache), found, "{number} {key:?}");
            match warned {
                None => assert_eq!(built.warnings, Vec::<String>::new(), "{number}"),
                Some(text) => {
                    let told = built.warnings.iter().any(|warning| warning.contains(text));
                    assert!(told, "{number} {:?}", built.warnings);
                }
            }
        };
        assert_eq!(
            with(&[], from_ref(cache), Some(ours)).warnings,
            Vec::<String>::new()
        );
        check(Some(ours), 3, None);
        check(Some(other), 0, Some("it is sealed with another key"));
        // Who has no key may look, and changes nothing.
        check(None, 3, None);
        bench.file(&format!("c: {number}"));
        check(None, 2, Some("--cache-key-file"));
        check(Some(ours), 2, None);
        check(Some(ours), 3, None);
    }
    // Nothing that has no seal, in an image neither.
    let unsealed = Address::Registry(
        format!("{}/cache:open", bench.registry.host())
            .parse()
            .unwrap(),
    );
    bench.fill(&unsealed);
    let mut request = bench.request_with(DOCKERFILE, from_ref(&unsealed), &[]);
    request.cache.key = Some(shelf::SealKey::new(ours.as_bytes()).unwrap());
    let built = bench.on_new_machine(&request);
    assert_eq!(built.found_in(&unsealed), 0);
    assert!(
        built
            .warnings
            .iter()
            .any(|warning| warning.contains("it is not sealed with a key"))
    );
}
