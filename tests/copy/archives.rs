//! Archives and layouts that are not what they should be.

use std::collections::BTreeMap;

use oci::Digest;
use serde_json::json;
use testkit::{Image, Layer, image, tar};

use super::{bad, good};
use crate::cli::Environment;

type Files = Vec<(String, Vec<u8>)>;

fn sample() -> Image {
    image()
        .layer(
            Layer::new()
                .compressed(oci::Compression::None)
                .file("/x", "x"),
        )
        .build()
}

/// What docker wrote before version 25.
fn old_archive(image: &Image) -> Files {
    let list = json!([{
        "Config": "config.json",
        "RepoTags": ["example.org/app:1"],
        "Layers": ["abc/layer.tar"],
    }]);
    vec![
        ("abc/layer.tar".into(), image.layers[0].bytes.to_vec()),
        ("config.json".into(), image.config.to_vec()),
        ("manifest.json".into(), list.to_string().into_bytes()),
    ]
}

fn layout(image: &Image) -> Files {
    let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": image.media_type.as_str(),
        "digest": image.digest.as_str(),
        "size": image.manifest.len(),
    }]});
    vec![
        (
            "oci-layout".into(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ),
        ("index.json".into(), index.to_string().into_bytes()),
        (blob(&image.digest), image.manifest.to_vec()),
        (blob(&Digest::of(&image.config)), image.config.to_vec()),
        (
            blob(&image.layers[0].digest),
            image.layers[0].bytes.to_vec(),
        ),
    ]
}

fn archive(files: &Files) -> Vec<u8> {
    let entries = files.iter().map(|(name, content)| tar::Entry {
        path: name.clone().into_bytes(),
        kind: b'0',
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: 0,
        link: Vec::new(),
        device: (0, 0),
        xattrs: BTreeMap::new(),
        content: content.clone(),
    });
    tar::write(&entries.collect::<Vec<_>>())
}

/// Writes `archive` and copies it into the store. `Ok` has what is printed.
fn check(transport: &str, archive: &[u8], expected: Result<(), &str>) -> String {
    let environment = Environment::new();
    std::fs::write(environment.work().join("a.tar"), archive).expect("a file");
    let from = format!("{transport}:a.tar");
    match expected {
        Ok(()) => good(&environment, &["copy", &from, "store:app"]),
        Err(words) => {
            let (_, said) = bad(&environment, &["copy", &from, "store:app"]);
            assert!(said.contains(words), "{words}: {said}");
            assert_eq!(good(&environment, &["store", "ls"]), "");
            said
        }
    }
}

fn changed(files: Files, change: impl FnOnce(&mut Files)) -> Vec<u8> {
    let mut files = files;
    change(&mut files);
    archive(&files)
}

#[test]
fn whole_ones_are_read() {
    let image = sample();
    let said = check("oci-archive", &archive(&layout(&image)), Ok(()));
    assert!(said.contains(image.digest.as_str()), "{said}");
    // A manifest is made, and always the same one.
    let first = check("docker-archive", &archive(&old_archive(&image)), Ok(()));
    let second = check("docker-archive", &archive(&old_archive(&image)), Ok(()));
    assert_eq!(first, second);
    // With names as tar writes them.
    let dotted = changed(layout(&image), |files| {
        files
            .iter_mut()
            .for_each(|(name, _)| *name = format!("./{name}"));
    });
    check("oci-archive", &dotted, Ok(()));
}

#[test]
fn damaged_ones_are_refused() {
    let image = sample();
    let whole = archive(&layout(&image));
    check("oci-archive", &whole[..whole.len() / 2], Err("ends"));
    check("oci-archive", b"\x1f\x8b\x08\x00 and more", Err("gunzip"));
    check("oci-archive", b"not a tar at all", Err("could not read"));
    check(
        "oci-archive",
        &archive(&old_archive(&image)),
        Err("no file oci-layout"),
    );
    check("docker-archive", &archive(&vec![]), Err("no manifest.json"));
    let twice = changed(layout(&image), |files| files.push(files[1].clone()));
    check("oci-archive", &twice, Err("is in it twice"));
    let version = changed(layout(&image), |files| {
        files[0].1 = br#"{"imageLayoutVersion":"2.0.0"}"#.to_vec();
    });
    check("oci-archive", &version, Err("its version is `2.0.0`"));
    let lost = changed(layout(&image), |files| drop(files.pop()));
    check("oci-archive", &lost, Err("nowhere to be had"));
    let other = changed(layout(&image), |files| files[2].1[10] ^= 1);
    check("oci-archive", &other, Err("its bytes have the digest"));
    let layer = changed(layout(&image), |files| files[4].1[10] ^= 1);
    check("oci-archive", &layer, Err("is damaged"));
    let short = changed(layout(&image), |files| files[4].1.truncate(512));
    check("oci-archive", &short, Err("blob"));
    let empty = changed(layout(&image), |files| {
        files[1].1 = br#"{"schemaVersion":2,"manifests":[]}"#.to_vec();
    });
    check("oci-archive", &empty, Err("there is no image in it"));
    let wrong = changed(old_archive(&image), |files| files[0].1[10] ^= 1);
    check("docker-archive", &wrong, Err("the configuration says"));
    let lost = changed(old_archive(&image), |files| drop(files.remove(0)));
    check("docker-archive", &lost, Err("`abc/layer.tar` is not in it"));
    let outside = changed(old_archive(&image), |files| {
        files[2].1 = json!([{"Config": "../../etc/passwd", "Layers": []}])
            .to_string()
            .into_bytes();
    });
    check(
        "docker-archive",
        &outside,
        Err("`../../etc/passwd` is not in it"),
    );
    let more = changed(old_archive(&image), |files| {
        let list = json!([{"Config": "config.json", "Layers": ["abc/layer.tar", "abc/layer.tar"]}]);
        files[2].1 = list.to_string().into_bytes();
    });
    check("docker-archive", &more, Err("lists 2 layers"));
}
