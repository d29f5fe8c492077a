//! Templates, what comes of them, and what cannot.

use super::*;

const DASHES: &str = "{registry}/{channel}-{variant}-{image}";
const PATHS: &str = "{registry}/{prefix}/{channel}/{variant}/{image}";

fn place(prefix: &str, channel: &str) -> ChannelPlace {
    ChannelPlace {
        registry: "gcr.io/lattice-dev".into(),
        prefix: prefix.into(),
        channel: channel.parse().unwrap(),
    }
}

fn member(path: &str, variant: &str) -> Member {
    Member {
        path: path.into(),
        variant: variant.into(),
    }
}

/// A repository, without the registry's part.
fn name(template: &str, prefix: &str, variant: &str, image: &str) -> String {
    let layout = Layout::new(template).unwrap();
    let found = layout.repository(&place(prefix, "kevin"), &member(image, variant));
    match found {
        Ok(repository) => repository
            .to_string()
            .trim_start_matches("gcr.io/lattice-dev/")
            .to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn templates_are_filled_and_empty_parts_collapse() {
    let check = |template: &str, prefix: &str, variant: &str, image: &str, expected: &str| {
        assert_eq!(
            name(template, prefix, variant, image),
            expected,
            "{template} {prefix} {variant} {image}"
        );
    };
    check(DASHES, "", "plain", "envoy-prepare", "kevin-envoy-prepare");
    check(
        DASHES,
        "",
        "debug",
        "envoy-prepare",
        "kevin-debug-envoy-prepare",
    );
    check(
        PATHS,
        "system",
        "plain",
        "envoy/prepare",
        "system/kevin/envoy/prepare",
    );
    check(PATHS, "system", "debug", "epp", "system/kevin/debug/epp");
    check(PATHS, "", "plain", "epp", "kevin/epp");
    check(PATHS, "/system/", "plain", "epp", "system/kevin/epp");
    check(
        "{registry}/{channel}/{image}-{variant}",
        "",
        "plain",
        "epp",
        "kevin/epp",
    );
    check(
        "{registry}/{channel}/{image}-{variant}",
        "",
        "debug",
        "epp",
        "kevin/epp-debug",
    );
    check(
        "{registry}/{channel}/{variant}-{image}",
        "",
        "plain",
        "epp",
        "kevin/epp",
    );
    check(
        "{registry}/{channel}-{variant}/{image}",
        "",
        "plain",
        "epp",
        "kevin/epp",
    );
    check(
        "{registry}/{prefix}-{channel}/{variant}/{image}",
        "",
        "plain",
        "epp",
        "kevin/epp",
    );
    check(
        "{registry}/ch/{channel}{variant}/{image}",
        "",
        "plain",
        "epp",
        "ch/kevin/epp",
    );
    check(
        PATHS,
        "",
        "plain",
        "Epp",
        "Epp has no place in the channel `kevin`: `gcr.io/lattice-dev/kevin/Epp` is not an image \
         reference: `Epp` must be in lower case: `epp`",
    );
}

#[test]
fn records_are_beside_the_images() {
    let check = |template: &str, prefix: &str, expected: &str| {
        let layout = Layout::new(template).unwrap();
        let repository = layout.record_repository(&place(prefix, "kevin")).unwrap();
        assert_eq!(repository.path(), expected, "{template}");
    };
    check(DASHES, "", "lattice-dev/kevin");
    check(PATHS, "system", "lattice-dev/system/kevin");
    check(PATHS, "", "lattice-dev/kevin");
    check("{registry}/{image}/{channel}", "", "lattice-dev/kevin");
    check("{registry}/{channel}/i/{image}", "", "lattice-dev/kevin/i");
}

#[test]
fn prefixes_are_what_consumers_put_before_the_name() {
    let check = |template: &str, variant: &str, expected: Option<&str>| {
        let layout = Layout::new(template).unwrap();
        let found = layout.image_prefix(&place("system", "kevin"), variant);
        assert_eq!(found.as_deref(), expected, "{template} {variant}");
    };
    check(DASHES, "debug", Some("kevin-debug-"));
    check(DASHES, "plain", Some("kevin-"));
    check(PATHS, "plain", Some("system/kevin/"));
    check(PATHS, "debug", Some("system/kevin/debug/"));
    check("{registry}/{channel}/{image}-{variant}", "plain", None);
}

#[test]
fn templates_that_cannot_work_are_refused() {
    let check = |template: &str, expected: &str| {
        let found = Layout::new(template).unwrap_err().to_string();
        assert_eq!(found, expected);
    };
    check(
        "{registry}/{image}",
        "the layout of channels `{registry}/{image}` needs `{channel}`",
    );
    check(
        "{registry}/{channel}",
        "the layout of channels `{registry}/{channel}` needs `{image}`",
    );
    check(
        "gcr.io/{channel}/{image}",
        "the layout of channels `gcr.io/{channel}/{image}` needs `{registry}` at its start",
    );
    check(
        "",
        "the layout of channels `` needs `{registry}` at its start",
    );
    check(
        "{registry}/{chanel}/{image}",
        "the layout of channels has `{chanel}`, which stands for nothing: there are `{registry}`, \
         `{prefix}`, `{channel}`, `{variant}` and `{image}`",
    );
    for template in ["{registry}/{channel", "{registry}/{channel}}/{image}"] {
        check(
            template,
            &format!("a brace is open in the layout of channels `{template}`"),
        );
    }
    check(
        &"x".repeat(1025),
        "the layout of channels has 1025 bytes, more than 1024",
    );
}

#[test]
fn two_things_in_one_repository_are_found_before_building() {
    let check =
        |template: &str, channels: &[&str], members: &[Member], expected: Result<usize, &str>| {
            let layout = Layout::new(template).unwrap();
            let places: Vec<ChannelPlace> = channels.iter().map(|c| place("", c)).collect();
            let found = seats(&layout, &places, members).map(|seats| seats.len());
            let found = found.map_err(|error| error.to_string());
            assert_eq!(found.as_ref().copied().map_err(String::as_str), expected);
        };
    let epp = [member("epp", "plain"), member("epp", "debug")];
    check(DASHES, &["kevin", "stable"], &epp, Ok(4));
    check(PATHS, &["kevin", "stable"], &epp, Ok(4));
    check(
        "{registry}/{channel}/{image}",
        &["kevin"],
        &epp,
        Err(
            "epp of the channel `kevin` and epp (debug) of the channel `kevin` would both be in \
             `gcr.io/lattice-dev/kevin/epp`",
        ),
    );
    check(
        DASHES,
        &["stable", "stable-debug"],
        &epp,
        Err(
            "epp (debug) of the channel `stable` and epp of the channel `stable-debug` would both \
             be in `gcr.io/lattice-dev/stable-debug-epp`",
        ),
    );
    check(
        DASHES,
        &["a-b", "a"],
        &[member("c", "plain"), member("b-c", "plain")],
        Err(
            "c of the channel `a-b` and b-c of the channel `a` would both be in \
             `gcr.io/lattice-dev/a-b-c`",
        ),
    );
    check(
        DASHES,
        &["a", "a-b"],
        &[member("b", "plain")],
        Err(
            "b of the channel `a` and the record of the channel `a-b` would both be in \
             `gcr.io/lattice-dev/a-b`",
        ),
    );
}
