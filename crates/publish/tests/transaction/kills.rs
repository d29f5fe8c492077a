//! Publications that end in the middle of any request, and are run again.

use std::sync::Arc;
use std::time::Duration;

use publish::{Publication, Seal, publish};
use testkit::{Action, Match};

use crate::scene::{Scene, Stamp, client, index, item, publication, single};

const KILLS: u64 = 100;

/// A number that is the same in every run of the tests.
fn chance(seed: u64, below: usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    state ^= state >> 29;
    state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    usize::try_from((state >> 32) % below as u64).expect("small")
}

fn of(scene: &Scene, path: &str, content: &str, version: &str, stamp: &Arc<Stamp>) -> Publication {
    let mut app = item(
        "app",
        index(content),
        scene.targets(path, &[version], &["latest", "edge"]),
    );
    app.seals = vec![Arc::clone(stamp) as Arc<dyn Seal>];
    publication(vec![app])
}

/// Runs a publication until a registry has got its `nth` request, and no further.
async fn killed(scene: &Scene, publication: &Publication, registry: usize, nth: usize, acts: bool) {
    let action = match acts {
        true => Action::StallAfter,
        false => Action::Stall { after: None },
    };
    let host = &scene.registries[registry];
    host.fault(Match::any().nth(u32::try_from(nth).expect("small")), action);
    let (publication, store) = (publication.clone(), scene.store());
    let task = tokio::spawn(async move {
        let client = client();
        let uploads = publish::Uploads::new(client.clone(), Arc::new(publish::Unwatched));
        let context = publish::Context {
            client: &client,
            store: &store,
            uploads,
            watcher: &publish::Unwatched,
        };
        publish(&publication, &context).await.map(drop)
    });
    while !task.is_finished() && !host.log().iter().any(|request| request.faulted) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    task.abort();
    // It may have come to its end: then there were fewer requests this time.
    let _ = task.await;
    host.clear_faults();
}

/// Whoever looks now sees nothing that is unsealed or incomplete, and floating tags only where
/// everything else is done.
async fn consistent(scene: &Scene, path: &str, publication: &Publication, version: &str) {
    let new = &publication.items[0].content.root.digest;
    let visible = scene.visible(&[path]);
    for (name, digest) in &visible {
        let registry = usize::from(name.as_bytes()[0] - b'0');
        scene.whole(registry, path, digest);
        assert!(
            scene.seals(registry, path, digest).await > 0,
            "{name} points at {digest}"
        );
    }
    let is_visible = visible.values().any(|digest| digest == new);
    let has_moved =
        (visible.iter()).any(|(name, digest)| digest == new && !name.ends_with(version));
    for registry in 0..scene.registries.len() {
        if is_visible {
            scene.whole(registry, path, new);
            assert_eq!(scene.seals(registry, path, new).await, 1);
        }
        if has_moved {
            assert_eq!(scene.tag(registry, path, version).as_ref(), Some(new));
        }
    }
}

#[tokio::test]
async fn a_publication_may_be_killed_at_any_request() {
    let scene = Scene::new();
    let stamp = Arc::new(Stamp::default());
    // What one costs, as it is without being killed.
    scene
        .publish(&of(&scene, "count", "old", "v0", &stamp))
        .await
        .expect("published");
    scene.clear_logs();
    scene
        .publish(&of(&scene, "count", "new", "v1", &stamp))
        .await
        .expect("published");
    let requests: Vec<usize> = scene
        .registries
        .iter()
        .map(|host| host.log().len())
        .collect();

    for seed in 0..KILLS {
        let path = format!("app{seed}");
        let new = of(&scene, &path, "new", "v1", &stamp);
        let digest = &new.items[0].content.root.digest;
        scene
            .publish(&of(&scene, &path, "old", "v0", &stamp))
            .await
            .expect("published");
        for again in 0..=(seed % 2) {
            let registry = chance(seed * 7 + again, 3);
            let nth = 1 + chance(seed * 11 + again, requests[registry]);
            scene.clear_logs();
            killed(&scene, &new, registry, nth, seed % 3 == 0).await;
            consistent(&scene, &path, &new, "v1").await;
        }
        if seed % 5 == 0 {
            // Somebody publishes something else first; what was left behind does not matter.
            let other = of(&scene, &path, "other", "v2", &stamp);
            scene.publish(&other).await.expect("published");
            consistent(&scene, &path, &other, "v2").await;
        }
        if let Err(error) = scene.publish(&new).await {
            panic!("seed {seed}: {error}");
        }
        consistent(&scene, &path, &new, "v1").await;
        for registry in 0..3 {
            for tag in ["v1", "latest", "edge"] {
                assert_eq!(
                    scene.tag(registry, &path, tag).as_ref(),
                    Some(digest),
                    "seed {seed}"
                );
            }
            assert_eq!(scene.seals(registry, &path, digest).await, 1, "seed {seed}");
        }
        scene.clear_logs();
        scene.publish(&new).await.expect("published");
        for host in &scene.registries {
            assert_eq!(host.log().len(), 3, "seed {seed}: {:?}", host.lines());
        }
    }
    let left =
        std::fs::read_dir(scene.directory.path().join("store/journals")).expect("a directory");
    assert_eq!(left.count(), 0, "all are finished");
}

#[tokio::test]
async fn a_failure_after_a_kill_puts_back_what_the_killed_run_moved() {
    let scene = Scene::new();
    let publish = |content: &str| {
        let targets = scene.targets("app", &[], &["latest"]);
        publication(vec![item("app", single(content), targets)])
    };
    let (old, new) = (publish("old"), publish("new"));
    scene.publish(&old).await.expect("published");
    // Two are moved, and the third is asked for.
    scene.clear_logs();
    let put = Match::new(testkit::Method::PUT, testkit::Endpoint::Manifest).reference("latest");
    scene.registries[2].fault(put.clone(), Action::Stall { after: None });
    let store = scene.store();
    {
        let context = scene.context(&store);
        let running = publish::publish(&new, &context);
        let moved = async {
            let wanted = Some(&new.items[0].content.root.digest);
            while (0..2).any(|registry| scene.tag(registry, "app", "latest").as_ref() != wanted) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            _ = running => panic!("it waits for the third"),
            () = moved => {}
        }
    }
    scene.registries[2].clear_faults();
    scene.registries[2].fault(put, Action::status(403));
    scene.publish(&new).await.expect_err("a refusal");
    for registry in 0..3 {
        let old = &old.items[0].content.root.digest;
        assert_eq!(scene.tag(registry, "app", "latest").as_ref(), Some(old));
    }
    scene.registries[2].clear_faults();
    scene.publish(&new).await.expect("published");
}
