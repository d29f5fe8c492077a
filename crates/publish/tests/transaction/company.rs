//! What stands beside an image.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use oci::{Document, Manifest, Raw};
use publish::{PublishError, Reached, Subject};

use crate::scene::{SEAL_TYPE, Scene, Stamp, client, item, publication, seal_tag, single, stamped};

#[tokio::test]
async fn attachments_are_found_with_and_without_a_list_of_referrers() {
    let scene = Scene::new();
    let content = single("app");
    let subject = Subject {
        descriptor: content.root.clone(),
        repository: scene.repository(0, "app"),
        tags: Vec::new(),
    };
    let mut app = item("app", content.clone(), scene.targets("app", &["v1"], &[]));
    app.attachments = vec![
        stamped("one", &subject, false),
        stamped("two", &subject, false),
    ];
    scene
        .publish(&publication(vec![app]))
        .await
        .expect("published");
    for registry in 0..3 {
        assert_eq!(scene.seals(registry, "app", &content.root.digest).await, 2);
    }
    let fallback = format!("sha256-{}", content.root.digest.hex());
    assert!(scene.registries[1].tags("app").contains(&fallback));
    assert!(!scene.registries[0].tags("app").contains(&fallback));
}

#[tokio::test]
async fn signatures_under_a_tag_stand_beside_those_of_others() {
    let scene = Scene::new();
    let content = single("app");
    let tag = seal_tag(&content.root.digest);
    let layers = |registry: usize| -> Vec<String> {
        let found = scene.registries[registry].manifest("app", tag.as_str());
        let (_, _, bytes) = found.expect("signatures");
        let manifest: Raw<Manifest> = Raw::read(bytes.to_vec()).expect("a manifest");
        let layers = manifest.value().layers.iter();
        layers.map(|layer| layer.digest.to_string()).collect()
    };
    for version in ["v1", "v2"] {
        let mut app = item(
            "app",
            content.clone(),
            scene.targets("app", &[version], &[]),
        );
        app.seals = vec![Arc::new(Stamp {
            under_tag: true,
            // Another number for the second one.
            ..Stamp::default()
        })];
        let subject = Subject {
            descriptor: content.root.clone(),
            repository: scene.repository(0, "app"),
            tags: Vec::new(),
        };
        app.attachments = vec![stamped(version, &subject, true)];
        scene
            .publish(&publication(vec![app]))
            .await
            .expect("published");
    }
    for registry in 0..3 {
        let layers = layers(registry);
        // v1, the stamp, v2, and stamps of their own for those of the first that came later.
        assert!(layers.len() >= 3, "{layers:?}");
        let document = Document::read(
            scene.registries[registry]
                .manifest("app", tag.as_str())
                .unwrap()
                .2
                .to_vec(),
            None,
        );
        let Ok(Document::Manifest(manifest)) = document else {
            panic!("a manifest");
        };
        for blob in manifest
            .value()
            .layers
            .iter()
            .chain([&manifest.value().config])
        {
            assert!(
                scene.registries[registry]
                    .blob("app", &blob.digest)
                    .is_some()
            );
        }
    }
}

#[tokio::test]
async fn no_tag_moves_where_a_seal_is_refused_and_no_seal_is_made_twice() {
    let scene = Scene::new();
    let stamp = Arc::new(Stamp::default());
    // The others are made, and kept.
    stamp.refusals.store(1, Ordering::SeqCst);
    let publication = || {
        let mut app = item(
            "app",
            single("app"),
            scene.targets("app", &["v1"], &["latest"]),
        );
        app.seals = vec![stamp.clone()];
        publication(vec![app])
    };
    let error = scene
        .publish(&publication())
        .await
        .expect_err("a dry stamp");
    assert!(scene.visible(&["app"]).is_empty());
    assert!(
        error
            .to_string()
            .contains("could not seal it with stamp: the stamp is dry"),
        "{error}"
    );
    assert_eq!(error.advice().as_deref(), Some("add ink"));
    let PublishError::Unfinished(unfinished) = error else {
        panic!("{error}");
    };
    let mut reached: Vec<_> = unfinished
        .destinations
        .iter()
        .map(|one| one.reached)
        .collect();
    reached.sort();
    assert_eq!(reached, [Reached::Image, Reached::Sealed, Reached::Sealed]);
    assert_eq!(stamp.subjects.lock().unwrap().len(), 2);
    scene.publish(&publication()).await.expect("published");
    assert_eq!(stamp.subjects.lock().unwrap().len(), 3);
    let digest = &publication().items[0].content.root.digest;
    for registry in 0..3 {
        assert_eq!(scene.seals(registry, "app", digest).await, 1, "{SEAL_TYPE}");
    }
}

/// Two images that came out the same, each with tags of its own: a digest is sealed once, and each
/// tag by who seals tags.
#[tokio::test]
async fn every_tag_is_sealed_by_who_seals_tags() {
    for (signs_tags, expected) in [(false, 3), (true, 6)] {
        let scene = Scene::new();
        let stamp = Arc::new(Stamp {
            signs_tags,
            ..Stamp::default()
        });
        let app = |name: &str, tag: &str| {
            let mut app = item(name, single("app"), scene.targets("app", &[tag], &[]));
            app.seals = vec![stamp.clone()];
            app
        };
        let both = publication(vec![app("one", "v1"), app("two", "v2")]);
        scene.publish(&both).await.expect("published");
        let subjects = stamp.subjects.lock().unwrap();
        assert_eq!(subjects.len(), expected);
        let sealed = |tag: &str| {
            let tags = subjects.iter().flat_map(|subject| &subject.tags);
            tags.filter(|known| known.as_str() == tag).count()
        };
        assert_eq!(sealed("v1"), 3);
        assert_eq!(sealed("v2"), if signs_tags { 3 } else { 0 });
    }
}

#[tokio::test]
async fn signatures_that_are_stored_at_the_same_time_are_all_there() {
    for under_tag in [false, true] {
        let scene = Scene::new();
        let content = single("app");
        let digest = &content.root.digest;
        // Each with a store and a client of its own, as on two machines.
        let publishing = (0..4).map(|machine| {
            let stamp = Arc::new(Stamp {
                under_tag,
                ..Stamp::default()
            });
            // Another text for each.
            stamp.count.store(100 * machine, Ordering::SeqCst);
            let version = format!("v{machine}");
            let mut app = item(
                "app",
                content.clone(),
                scene.targets("app", &[version.as_str()], &[]),
            );
            app.seals = vec![stamp];
            let (client, directory) = (client(), tempfile::tempdir().expect("a directory"));
            async move {
                let store = store::Store::open(&directory.path().join("store")).expect("a store");
                let context = publish::Context {
                    client: &client,
                    store: &store,
                    uploads: publish::Uploads::new(client.clone(), Arc::new(publish::Unwatched)),
                    watcher: &publish::Unwatched,
                };
                let publication = publication(vec![app]);
                publish::publish(&publication, &context).await.map(drop)
            }
        });
        for outcome in futures_util::future::join_all(publishing).await {
            outcome.expect("published");
        }
        for registry in 0..3 {
            let count = match under_tag {
                false => scene.seals(registry, "app", digest).await,
                true => {
                    let tag = seal_tag(digest);
                    let found = scene.registries[registry].manifest("app", tag.as_str());
                    let manifest: Raw<Manifest> =
                        Raw::read(found.expect("signatures").2.to_vec()).expect("a manifest");
                    manifest.value().layers.len()
                }
            };
            // One registry is sealed by each machine with a number of its own.
            assert_eq!(count, 4, "{registry} {under_tag}");
        }
    }
}
