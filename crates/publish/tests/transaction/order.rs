//! What is asked, and when.

use std::sync::Arc;

use testkit::{Endpoint, Method, Recorded};

use crate::scene::{Scene, Stamp, index, item, publication, single, target};

/// The place of the last and of the first request for which something is true.
fn last(log: &[Recorded], is_it: impl Fn(&Recorded) -> bool) -> usize {
    log.iter().rposition(is_it).expect("such a request")
}

fn first(log: &[Recorded], is_it: impl Fn(&Recorded) -> bool) -> usize {
    log.iter().position(is_it).expect("such a request")
}

#[tokio::test]
async fn nothing_is_visible_before_the_last_phase() {
    let scene = Scene::new();
    let stamp = Arc::new(Stamp::default());
    let mut app = item(
        "app",
        index("app"),
        scene.targets("app", &["v1"], &["latest"]),
    );
    app.seals = vec![stamp.clone()];
    let mut tool = item(
        "tool",
        single("tool"),
        scene.targets("tool", &["v1"], &["latest"]),
    );
    tool.seals = vec![stamp.clone()];
    let outcome = scene
        .publish(&publication(vec![app, tool]))
        .await
        .expect("published");

    let put = |request: &Recorded, wanted: &dyn Fn(&str) -> bool| {
        request.method == Method::PUT
            && request.endpoint == Endpoint::Manifest
            && wanted(&request.reference)
    };
    for registry in &scene.registries {
        let log = registry.log();
        let is_blob = |request: &Recorded| request.endpoint == Endpoint::UploadSession;
        let by_digest = |request: &Recorded| put(request, &|name| name.contains(':'));
        let immutable = |request: &Recorded| put(request, &|name| name == "v1");
        let floating = |request: &Recorded| put(request, &|name| name == "latest");
        assert!(last(&log, by_digest) < first(&log, immutable));
        assert!(last(&log, is_blob) < first(&log, immutable));
        assert!(last(&log, immutable) < first(&log, floating));
        // Images in their order.
        let of = |path: &'static str| {
            move |request: &Recorded| floating(request) && request.repository == path
        };
        assert!(first(&log, of("app")) < first(&log, of("tool")));
        // The tags are looked at before anything else.
        assert_eq!(
            first(&log, |request| request.method != Method::HEAD
                || request.endpoint != Endpoint::Manifest),
            4
        );
    }
    let subjects = stamp.subjects.lock().unwrap();
    assert_eq!(subjects.len(), 6);
    assert!(subjects.iter().all(|subject| subject.tags.len() == 2));
    // What is sealed is what was pushed, by digest, size and type (E07).
    for image in &outcome.report.images {
        let sealed = subjects.iter().filter(|subject| {
            let is_there = subject.repository.to_string() == image.repository;
            is_there && subject.descriptor.digest == image.digest
        });
        assert_eq!(sealed.count(), 1);
    }
    for (number, image) in outcome.report.images.iter().enumerate() {
        let path = ["app", "tool"][number / 3];
        scene.whole(number % 3, path, &image.digest);
        assert_eq!(image.sealed_by, ["stamp"]);
        assert_eq!(image.tags.len(), 2);
    }
}

#[tokio::test]
async fn what_is_published_costs_one_look_for_each_tag() {
    let scene = Scene::new();
    let stamp = Arc::new(Stamp::default());
    let publication = || {
        let mut app = item(
            "app",
            index("app"),
            scene.targets("app", &["v1", "v1.0"], &["latest"]),
        );
        app.seals = vec![stamp.clone()];
        publication(vec![app])
    };
    scene.publish(&publication()).await.expect("published");
    scene.clear_logs();
    let again = scene.publish(&publication()).await.expect("published");
    for registry in &scene.registries {
        let mut lines = registry.lines();
        lines.sort();
        assert_eq!(
            lines,
            ["latest", "v1", "v1.0"].map(|tag| format!("HEAD /v2/app/manifests/{tag}"))
        );
    }
    assert_eq!(stamp.subjects.lock().unwrap().len(), 3);
    let report = publish::Report::last(&scene.store()).expect("a report");
    assert_eq!(report, again.report);
    assert_eq!(
        publish::Report::find(&scene.store(), &report.publication.hex()[..8]),
        Some(report)
    );
}

#[tokio::test]
async fn a_blob_is_sent_once_to_a_registry_and_mounted_from_there() {
    let scene = Scene::with([testkit::Options::default()]);
    let content = single("app");
    let items = ["one", "two", "three"].map(|path| {
        item(
            path,
            content.clone(),
            vec![target(scene.repository(0, path), &[], &["1"])],
        )
    });
    let outcome = scene
        .publish(&publication(items.into()))
        .await
        .expect("published");
    // Two layers and the configuration.
    assert_eq!((outcome.counts.sent, outcome.counts.mounted), (3, 6));
    for path in ["one", "two", "three"] {
        scene.whole(0, path, &content.root.digest);
    }
}

#[tokio::test]
async fn a_blob_that_the_registry_forgot_is_sent_once_more() {
    let scene = Scene::with([testkit::Options::default()]);
    let content = single("app");
    let layer = match content.documents.last() {
        Some(oci::Document::Manifest(manifest)) => manifest.value().layers[0].clone(),
        other => panic!("{other:?}"),
    };
    // It says once that it has what it has not.
    let size = layer.size.to_string();
    scene.registries[0].fault(
        testkit::Match::new(Method::HEAD, Endpoint::Blob)
            .reference(layer.digest.as_str())
            .times(1),
        testkit::Action::status_with(200, "content-length", &size),
    );
    let app = item("app", content.clone(), scene.targets("app", &["v1"], &[]));
    scene
        .publish(&publication(vec![app]))
        .await
        .expect("published");
    scene.whole(0, "app", &content.root.digest);
}
