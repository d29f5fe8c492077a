//! Publications that cannot be meant: nothing is asked.

use publish::{InvalidPublication, Item, PublishError};
use testkit::Options;

use crate::scene::{Scene, index, item, publication, single, target};

async fn refused(scene: &Scene, items: Vec<Item>) -> InvalidPublication {
    let error = scene
        .publish(&publication(items))
        .await
        .expect_err("it cannot be meant");
    assert!(scene.registries[0].log().is_empty());
    match error {
        PublishError::Invalid(invalid) => invalid,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let scene = Scene::with([Options::default()]);
    let at = |path: &str, immutable: &[&str], floating: &[&str]| {
        target(scene.repository(0, path), immutable, floating)
    };
    let host = scene.registries[0].host();
    let check = async |items: Vec<Item>, words: &str| {
        let words = words.replace("REGISTRY", &host);
        assert_eq!(refused(&scene, items).await.to_string(), words);
    };
    check(vec![], "there is nothing to publish").await;
    check(
        vec![item("app", single("a"), vec![])],
        "app has no destination",
    )
    .await;
    check(
        vec![
            item("app", single("a"), vec![at("x", &["1"], &[])]),
            item("tool", single("b"), vec![at("x", &[], &["1"])]),
        ],
        "REGISTRY/x:1 is given to app and to tool",
    )
    .await;
    check(
        vec![item("app", single("a"), vec![at("x", &["1"], &["1"])])],
        "REGISTRY/x:1 is given to app and to app",
    )
    .await;
    check(
        vec![item(
            "app",
            single("a"),
            vec![at("x", &["1"], &[]), at("x", &["2"], &[])],
        )],
        "app goes to REGISTRY/x twice",
    )
    .await;
    let mut lame = index("a");
    let lost = lame.documents.remove(0).descriptor().digest;
    check(
        vec![item("app", lame, vec![at("x", &["1"], &[])])],
        &format!("app is incomplete: {lost} is missing among its manifests, or in the wrong place"),
    )
    .await;
}
