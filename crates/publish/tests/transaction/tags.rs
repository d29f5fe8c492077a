//! Tags that may not be moved, that others moved, and that have to be put back.

use std::sync::Arc;

use publish::{ExpectedTag, PublishError, Reached, TagChange};
use testkit::{Action, Endpoint, ImmutableTags, Match, Method, Options};

use crate::scene::{Scene, Stamp, item, publication, single};

#[tokio::test]
async fn an_immutable_tag_is_never_moved_and_nothing_is_sent() {
    let scene = Scene::new();
    let old = publication(vec![item(
        "app",
        single("old"),
        scene.targets("app", &["v1"], &["latest"]),
    )]);
    scene.publish(&old).await.expect("published");
    scene.clear_logs();
    let (old, new) = (&old.items[0].content.root.digest, single("new"));
    let targets = scene.targets("app", &["v1", "v2"], &["latest"]);
    let mut next = publication(vec![item("app", new.clone(), targets)]);
    let error = scene.publish(&next).await.expect_err("a conflict");
    assert!(error.is_tag_conflict());
    let PublishError::Conflict(conflicts) = error else {
        panic!("{error}");
    };
    assert_eq!(conflicts.len(), 3);
    for conflict in &conflicts {
        assert_eq!((&conflict.found, &conflict.wanted), (old, &new.root.digest));
        assert_eq!(conflict.reference.tag().map(|tag| tag.as_str()), Some("v1"));
    }
    for registry in &scene.registries {
        assert!(
            registry
                .log()
                .iter()
                .all(|request| request.method == Method::HEAD)
        );
    }
    // Unless it is said.
    next.retag = true;
    let outcome = scene.publish(&next).await.expect("published");
    let previous = TagChange::Moved {
        previous: old.clone(),
    };
    let changes: Vec<_> = outcome.report.images[0]
        .tags
        .iter()
        .map(|tag| &tag.change)
        .collect();
    assert_eq!(changes, [&previous, &TagChange::Created, &previous]);
    assert_eq!(scene.tag(1, "app", "v1"), Some(new.root.digest));
}

#[tokio::test]
async fn an_immutable_tag_that_somebody_else_sets_meanwhile_is_left_alone() {
    let scene = Scene::with([Options::default()]);
    let other = testkit::image().env("OTHER=1").build();
    let theirs = scene.registries[0].seed("app", "v1", &other);
    // It is not there when it is looked at first.
    scene.registries[0].fault(
        Match::new(Method::HEAD, Endpoint::Manifest)
            .reference("v1")
            .times(1),
        Action::status(404),
    );
    let app = item(
        "app",
        single("ours"),
        scene.targets("app", &["v1"], &["latest"]),
    );
    let error = scene
        .publish(&publication(vec![app]))
        .await
        .expect_err("a conflict");
    assert!(matches!(error, PublishError::Conflict(_)), "{error}");
    assert_eq!(scene.tag(0, "app", "v1"), Some(theirs));
    assert_eq!(scene.tag(0, "app", "latest"), None);
}

#[tokio::test]
async fn a_registry_that_keeps_its_tags_has_the_last_word() {
    let scene = Scene::new();
    let old = publication(vec![item(
        "app",
        single("old"),
        scene.targets("app", &[], &["v1"]),
    )]);
    scene.publish(&old).await.expect("published");
    scene.registries[2].set_immutable_tags("app", ImmutableTags::ArtifactRegistry);
    let next = publication(vec![item(
        "app",
        single("new"),
        scene.targets("app", &[], &["v1"]),
    )]);
    let error = scene.publish(&next).await.expect_err("it is kept");
    assert!(error.is_tag_conflict(), "{error}");
    // The others are put back.
    for registry in 0..3 {
        let old = &old.items[0].content.root.digest;
        assert_eq!(scene.tag(registry, "app", "v1").as_ref(), Some(old));
    }
    let PublishError::Unfinished(unfinished) = error else {
        panic!("{error}");
    };
    assert_eq!(unfinished.put_back.len(), 2);
    assert!(unfinished.put_back.iter().all(|tag| tag.failure.is_none()));
    let reached: Vec<_> = unfinished
        .destinations
        .iter()
        .map(|standing| standing.reached)
        .collect();
    assert_eq!(reached, [Reached::ImmutableTags; 3]);
    // The same content is no conflict.
    scene.registries[2].clear_faults();
    scene.publish(&old).await.expect("published");
}

#[tokio::test]
async fn floating_tags_are_put_back_when_one_cannot_be_moved() {
    let scene = Scene::new();
    let two = |content: &str, tags: &[&str]| {
        publication(vec![
            item(
                "app",
                single(&format!("app {content}")),
                scene.targets("app", &[], tags),
            ),
            item(
                "tool",
                single(&format!("tool {content}")),
                scene.targets("tool", &[], tags),
            ),
        ])
    };
    scene
        .publish(&two("old", &["latest"]))
        .await
        .expect("published");
    let before = scene.visible(&["app", "tool"]);
    scene.registries[1].fault(
        Match::new(Method::PUT, Endpoint::Manifest)
            .repository("tool")
            .reference("latest"),
        Action::status(403),
    );
    // `next` is new, and has to go again.
    let next = two("new", &["latest", "next"]);
    let error = scene.publish(&next).await.expect_err("a refusal");
    assert_eq!(scene.visible(&["app", "tool"]), before, "{error}");
    let words = error.to_string();
    assert!(
        words.contains("was put back to") && words.contains("was removed again"),
        "{words}"
    );
    for registry in &scene.registries {
        registry.clear_faults();
    }
    scene.publish(&next).await.expect("published");
    assert_eq!(scene.visible(&["app", "tool"]).len(), 12);
    assert!(
        !scene
            .visible(&["app", "tool"])
            .values()
            .any(|digest| before.values().any(|old| old == digest))
    );
}

#[tokio::test]
async fn what_cannot_be_put_back_is_said() {
    let scene = Scene::with([
        Options {
            deletes: false,
            ..Options::default()
        },
        Options::default(),
    ]);
    scene.registries[1].fault(
        Match::new(Method::PUT, Endpoint::Manifest).reference("latest"),
        Action::status(403),
    );
    let app = item("app", single("new"), scene.targets("app", &[], &["latest"]));
    let error = scene
        .publish(&publication(vec![app]))
        .await
        .expect_err("a refusal");
    assert!(
        error
            .to_string()
            .contains("latest is new and stays: could not"),
        "{error}"
    );
}

#[tokio::test]
async fn nothing_moves_when_somebody_else_has_published() {
    let scene = Scene::new();
    let old = publication(vec![item(
        "app",
        single("old"),
        scene.targets("app", &[], &["current"]),
    )]);
    scene.publish(&old).await.expect("published");
    let seen = old.items[0].content.root.digest.clone();
    let current = scene
        .repository(0, "app")
        .at_tag("current".parse().unwrap());
    let mut next = publication(vec![item(
        "app",
        single("new"),
        scene.targets("app", &[], &["current"]),
    )]);
    let expect = |digest| {
        vec![ExpectedTag {
            reference: current.clone(),
            digest,
        }]
    };
    next.expected = expect(None);
    let error = scene.publish(&next).await.expect_err("it was moved");
    assert!(
        matches!(
            error,
            PublishError::Moved {
                found: Some(_),
                expected: None,
                ..
            }
        ),
        "{error}"
    );
    // Between the first look and the moving.
    next.expected = expect(Some(seen.clone()));
    let other = testkit::image().env("OTHER=1").build();
    let theirs = scene.registries[0].seed("app", "current", &other);
    let head = || Match::new(Method::HEAD, Endpoint::Manifest).reference("current");
    scene.registries[0].fault(
        head().times(2),
        Action::ReplaceHeader {
            name: "docker-content-digest".to_owned(),
            value: Some(seen.to_string()),
        },
    );
    let error = scene.publish(&next).await.expect_err("it was moved");
    assert!(matches!(error, PublishError::Moved { .. }), "{error}");
    assert_eq!(scene.tag(0, "app", "current"), Some(theirs.clone()));
    assert_eq!(scene.tag(1, "app", "current"), Some(seen));
    next.expected = expect(Some(theirs));
    scene.publish(&next).await.expect("published");
    // What it moved itself is no surprise.
    scene.publish(&next).await.expect("published");
}

#[tokio::test]
async fn an_image_that_was_published_unsealed_is_sealed_before_it_counts() {
    let scene = Scene::new();
    let plain = || item("app", single("app"), scene.targets("app", &["v1"], &[]));
    scene
        .publish(&publication(vec![plain()]))
        .await
        .expect("published");
    let stamp = Arc::new(Stamp::default());
    let mut sealed = plain();
    sealed.seals = vec![stamp.clone()];
    scene
        .publish(&publication(vec![sealed]))
        .await
        .expect("published");
    assert_eq!(stamp.subjects.lock().unwrap().len(), 3);
    assert_eq!(scene.seals(1, "app", &plain().content.root.digest).await, 1);
}
