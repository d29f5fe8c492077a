//! The same build again: nothing is done twice, and the same comes out wherever it is done.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::site::{Caller, Site};

const DOCKERFILE: &str = "\
FROM REGISTRY/base:1 AS made
COPY data /data
RUN cat /data/* > /all; chown -R app:extra /data; rm /data/one
FROM REGISTRY/base:1
WORKDIR /app
RUN mkdir -p a/b && echo x > a/b/c
COPY --from=made /all /data/ ./
ENV A=b
RUN ls -R > list
";

fn site(caller: Caller) -> Option<Site> {
    let site = Site::new(caller)?;
    for name in ["context", "another/place"] {
        let context = site.context(name, DOCKERFILE);
        fs::create_dir(context.join("data")).expect("a directory");
        fs::write(context.join("data/file"), "content").expect("a file");
        fs::create_dir(context.join("data/empty")).expect("a directory");
    }
    Some(site)
}

#[test]
fn a_second_run_does_nothing() {
    for caller in [Caller::Ourselves, Caller::Ordinary] {
        let Some(site) = site(caller) else {
            return;
        };
        let context = site.path("context");
        let digest = site.built("store", "app", &context, &[]);
        site.registry.clear_log();
        let more = ["--metadata-file", "numbers"];
        assert_eq!(site.built("store", "app", &context, &more), digest);
        let numbers = site.numbers("numbers");
        for key in ["steps.ran", "blobs.sent", "blobs.mounted", "bytes.pushed"] {
            assert_eq!(numbers[format!("kiln.{key}")], 0, "{key}: {numbers}");
        }
        assert_eq!(
            site.registry.lines(),
            ["HEAD /v2/base/manifests/1", "HEAD /v2/app/manifests/1"]
        );
    }
}

#[test]
fn another_store_place_and_time_give_the_same_digest() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let first = site.built("store", "first", &site.path("context"), &[]);
    let later = SystemTime::now() - Duration::from_secs(100_000);
    for name in ["data/file", "Dockerfile", "data", "."] {
        let file = fs::File::open(site.path("another/place").join(name)).expect("it is there");
        file.set_modified(later).expect("our file");
    }
    let context = site.path("another/place");
    for (store, more) in [
        ("elsewhere", &["--threads", "1"][..]),
        ("third", &["--threads", "3"]),
        ("store", &["--no-cache"]),
        ("store", &[]),
    ] {
        let second = site.built(store, "second", &context, more);
        assert_eq!(second, first, "store {store}, {more:?}");
    }
}

#[test]
fn a_touched_context_runs_nothing() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let digest = site.built("store", "app", &site.path("context"), &[]);
    let more = ["--metadata-file", "numbers"];
    let second = site.built("store", "app", &site.path("another/place"), &more);
    assert_eq!(second, digest);
    assert_eq!(site.numbers("numbers")["kiln.steps.ran"], 0);
}

#[test]
fn times_that_were_asked_for_are_in_the_image_and_the_same_everywhere() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let build = |store: &str, context: &str, more: &[&str]| {
        let mut command = site.build(store, "app", &site.path(context), more);
        let output = command.env("SOURCE_DATE_EPOCH", "1700000000").output();
        site.success(&output.expect("kiln starts"))
    };
    let digest = build("store", "context", &[]);
    let image = site.image("app");
    assert_eq!(image.config["created"], "2023-11-14T22:13:20Z");
    let latest = image.layers[1..].iter().flat_map(|layer| &layer.entries);
    assert_eq!(latest.map(|entry| entry.mtime).max(), Some(1_700_000_000));
    assert_eq!(build("store", "context", &["--no-cache"]), digest);
    assert_eq!(build("elsewhere", "another/place", &[]), digest);
}
