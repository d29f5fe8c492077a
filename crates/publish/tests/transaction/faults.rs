//! Registries that fail: for a while, for good, and not at all.

use std::sync::Arc;

use publish::{Publication, PublishError, Reached};
use testkit::{Action, Auth, Endpoint, ImmutableTags, Match, Method, Options, Realm, Registry};

use registry::{Credential, CredentialStore, Secret};

use crate::scene::{Scene, Stamp, client_with, index, item, publication, single};

fn sealed(scene: &Scene) -> Publication {
    let mut app = item(
        "app",
        index("app"),
        scene.targets("app", &["v1"], &["latest"]),
    );
    app.seals = vec![Arc::new(Stamp::default())];
    publication(vec![app])
}

#[tokio::test]
async fn what_passes_is_waited_for() {
    use Endpoint::{Blob, Manifest, Referrers, UploadSession, UploadStart};
    let busy = || Action::status_with(429, "retry-after", "1");
    let faults: Vec<(Match, Action)> = vec![
        (Match::new(Method::POST, UploadStart).times(3), busy()),
        (Match::new(Method::PUT, Manifest).times(3), busy()),
        (Match::new(Method::HEAD, Manifest).times(2), busy()),
        (Match::new(Method::HEAD, Blob).times(3), Action::status(503)),
        (
            Match::new(Method::POST, UploadStart).times(3),
            Action::status(502),
        ),
        (
            Match::new(Method::PUT, UploadSession).times(2),
            Action::status(500),
        ),
        (
            Match::new(Method::PUT, Manifest).skip(1).times(3),
            Action::status(503),
        ),
        (
            Match::new(Method::PUT, Manifest).nth(2),
            Action::StatusAfter(500),
        ),
        (
            Match::new(Method::PUT, Manifest)
                .reference("latest")
                .times(1),
            Action::StatusAfter(502),
        ),
        (
            Match::new(Method::PUT, Manifest).reference("v1").times(1),
            Action::Forget,
        ),
        (
            Match::new(Method::PUT, UploadSession).times(1),
            Action::Forget,
        ),
        (
            Match::new(Method::PUT, UploadSession).times(2),
            Action::ResetRequest { after: 10 },
        ),
        (
            Match::new(Method::PUT, Manifest).times(2),
            Action::ResetRequest { after: 10 },
        ),
        (
            Match::new(Method::PUT, Manifest).nth(3),
            Action::Reset { after: 0 },
        ),
        (
            Match::new(Method::POST, UploadStart).times(1),
            Action::Truncate { after: 0 },
        ),
        (
            Match::new(Method::GET, Manifest).times(1),
            Action::Truncate { after: 5 },
        ),
        (
            Match::new(Method::GET, Referrers).times(2),
            Action::status(500),
        ),
    ];
    for (matching, action) in faults {
        let what = format!("{matching:?} {action:?}");
        let scene = Scene::new();
        // The one without a list of referrers, which is asked most.
        scene.registries[1].fault(matching, action);
        let publication = sealed(&scene);
        if let Err(error) = scene.publish(&publication).await {
            panic!("{what}: {error}");
        }
        let digest = &publication.items[0].content.root.digest;
        assert_eq!(scene.visible(&["app"]).len(), 6, "{what}");
        for registry in 0..3 {
            scene.whole(registry, "app", digest);
            assert_eq!(scene.seals(registry, "app", digest).await, 1, "{what}");
        }
    }
}

#[tokio::test]
async fn what_does_not_pass_keeps_every_tag_where_it_is() {
    use Endpoint::{Blob, Manifest, UploadSession, UploadStart};
    let refusal = |code: u16| Action::status(code);
    let faults: Vec<(Match, Action, Reached, &str)> = vec![
        (Match::any(), refusal(401), Reached::Nothing, "(HTTP 401)"),
        (
            Match::new(Method::HEAD, Manifest),
            refusal(403),
            Reached::Nothing,
            "(HTTP 403)",
        ),
        (
            Match::new(Method::HEAD, Blob),
            refusal(403),
            Reached::Nothing,
            "(HTTP 403)",
        ),
        (
            Match::new(Method::POST, UploadStart),
            refusal(403),
            Reached::Nothing,
            "(HTTP 403)",
        ),
        (
            Match::new(Method::POST, UploadStart),
            refusal(500),
            Reached::Nothing,
            "(HTTP 500)",
        ),
        (
            Match::new(Method::POST, UploadStart),
            Action::status_with(429, "retry-after", "1000000000"),
            Reached::Nothing,
            "asks to wait 1000000 s",
        ),
        (
            Match::new(Method::PUT, UploadSession),
            Action::ResetRequest { after: 0 },
            Reached::Nothing,
            "could not push blob",
        ),
        (
            Match::new(Method::PUT, Manifest),
            refusal(413),
            Reached::Blobs,
            "(HTTP 413)",
        ),
        (
            Match::new(Method::PUT, Manifest),
            Action::Forget,
            Reached::Blobs,
            "does not have it",
        ),
        (
            Match::new(Method::PUT, Manifest).reference("v1"),
            refusal(403),
            Reached::Sealed,
            "(HTTP 403)",
        ),
        (
            Match::new(Method::PUT, Manifest).reference("latest"),
            refusal(403),
            Reached::ImmutableTags,
            "(HTTP 403)",
        ),
    ];
    for (matching, action, reached, words) in faults {
        let what = format!("{matching:?} {action:?}");
        let scene = Scene::new();
        let before = publication(vec![item(
            "app",
            single("old"),
            scene.targets("app", &[], &["latest"]),
        )]);
        scene.publish(&before).await.expect("published");
        scene.registries[2].fault(matching, action);
        let publication = sealed(&scene);
        let error = scene.publish(&publication).await.expect_err(&what);
        let text = error.to_string();
        assert!(
            text.contains("1 of 3 destinations failed"),
            "{what}: {text}"
        );
        assert!(text.contains(words), "{what}: {text}");
        let PublishError::Unfinished(unfinished) = error else {
            panic!("{what}: {text}");
        };
        let failed = &unfinished.destinations[2];
        assert!(failed.failure.is_some());
        assert_eq!(failed.reached, reached, "{what}");
        let digest = &publication.items[0].content.root.digest;
        // The others are filled, and nothing there is visible.
        for registry in 0..2 {
            scene.whole(registry, "app", digest);
            assert_eq!(scene.seals(registry, "app", digest).await, 1, "{what}");
            assert!(
                unfinished.destinations[registry].reached >= Reached::Sealed,
                "{what}"
            );
            assert_eq!(
                scene.tag(registry, "app", "latest").as_ref(),
                Some(&before.items[0].content.root.digest),
                "{what}"
            );
        }
        scene.registries[2].clear_faults();
        if let Err(error) = scene.publish(&publication).await {
            panic!("{what}, once it is over: {error}");
        }
        for registry in 0..3 {
            assert_eq!(scene.seals(registry, "app", digest).await, 1, "{what}");
            assert_eq!(
                scene.tag(registry, "app", "latest").as_ref(),
                Some(digest),
                "{what}"
            );
        }
    }
}

#[tokio::test]
async fn a_registry_that_is_gone_is_named_and_the_others_are_filled() {
    let mut scene = Scene::new();
    let gone = scene.repository(2, "app");
    let mut publication = sealed(&scene);
    publication.items.push(item(
        "tool",
        single("tool"),
        scene.targets("tool", &["v1"], &[]),
    ));
    drop(scene.registries.pop());
    let error = scene.publish(&publication).await.expect_err("it is gone");
    let text = error.to_string();
    assert!(
        text.starts_with("2 of 6 destinations failed, and no floating tag was moved in any\n"),
        "{text}"
    );
    assert!(text.contains(&format!("\n{gone}@sha256:")), "{text}");
    assert!(
        text.contains("the image is there by digest with all that belongs to it, no tag was moved"),
        "{text}"
    );
    assert!(scene.visible(&["app", "tool"]).is_empty());
}

#[tokio::test]
async fn a_token_that_expires_in_the_middle_is_replaced() {
    let short_lived = Options {
        auth: Auth::Token {
            user: "user".to_owned(),
            password: "password".to_owned(),
            realm: Realm::SamePort,
            uses: Some(3),
            anonymous_pull: false,
        },
        ..Options::default()
    };
    let mut scene = Scene::with([Options::default(), short_lived]);
    let credential = Credential::Password {
        username: "user".to_owned(),
        password: Secret::new("password"),
    };
    let host = scene.registries[1].host();
    scene.client = client_with(CredentialStore::default().with(&host, credential, "the test"));
    let publication = sealed(&scene);
    scene.publish(&publication).await.expect("published");
    assert_eq!(scene.visible(&["app"]).len(), 4);
}

#[tokio::test]
async fn registries_in_all_words_refuse_to_move_a_tag() {
    for words in [ImmutableTags::ArtifactRegistry, ImmutableTags::Ecr] {
        let scene = Scene::with([Options::default()]);
        let registry: &Registry = &scene.registries[0];
        let publish = async |content: &str| {
            let app = item("app", single(content), scene.targets("app", &[], &["v1"]));
            scene.publish(&publication(vec![app])).await
        };
        publish("one").await.expect("published");
        registry.set_immutable_tags("app", words);
        let error = publish("two").await.expect_err("it is kept");
        assert!(error.is_tag_conflict(), "{error}");
        publish("one").await.expect("it is there already");
    }
}
