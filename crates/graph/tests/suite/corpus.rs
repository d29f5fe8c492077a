//! Every folder of `tests/graphs/` is a case: a `Dockerfile`, perhaps a `request.txt`, and the
//! `graph.txt` that it deserves. `KILN_BLESS=1` writes the latter anew; review the diff.
//!
//! Lines of `request.txt`: `target NAME`, `build-arg NAME=VALUE`, `label NAME=VALUE`,
//! `platform P`, `network N`, `no-cache-filter STAGE`, `add-host NAME ADDRESS`, `secret ID`, `ssh ID`, `allow E`, and `image NAME JSON`, which gives an image
//! a configuration. An image without one has one layer and PATH. One with a configuration
//! has the layers of its history, or one.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use graph::{Entitlement, ExtraHost, Network, Request};
use oci::{ContainerConfig, History, ImageConfig};

use crate::{print, support};

#[test]
fn dockerfiles_become_graphs() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/graphs");
    let bless = std::env::var_os("KILN_BLESS").is_some();
    let mut names: Vec<_> = fs::read_dir(&directory)
        .expect("the folder of cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("Dockerfile").is_file())
        .collect();
    names.sort();
    assert!(
        names.len() > 10,
        "cases are missing from {}",
        directory.display()
    );
    let mut wrong = Vec::new();
    for case in names {
        let text = fs::read_to_string(case.join("Dockerfile")).expect("the Dockerfile");
        let words = fs::read_to_string(case.join("request.txt")).unwrap_or_default();
        let found = outcome(&text, &words);
        let file = case.join("graph.txt");
        if bless {
            fs::write(&file, &found).expect("the folder can be written to");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if found != expected {
            wrong.push(format!(
                "{}\n--- expected\n{expected}--- found\n{found}",
                case.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn outcome(text: &str, words: &str) -> String {
    let (request, images) = read_request(words);
    let look_up = |reference: &graph::ImageName, _: &oci::Platform| {
        let config = images.get(reference).cloned().unwrap_or_else(plain_config);
        let layers: Vec<String> = config
            .history
            .iter()
            .filter(|entry| !entry.empty_layer)
            .map(|entry| {
                entry
                    .created_by
                    .clone()
                    .unwrap_or_default()
                    .replace(' ', "-")
            })
            .collect();
        let layers = if layers.is_empty() {
            reference.to_string()
        } else {
            layers.join(" ")
        };
        support::image(reference, config, &layers)
    };
    match support::lowered(text, &request, look_up) {
        Ok((lowered, asked)) => print::lowered(text, &lowered, &asked),
        Err(findings) => print::findings(text, &findings),
    }
}

fn plain_config() -> ImageConfig {
    ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        config: ContainerConfig {
            env: vec!["PATH=/bin".to_owned()],
            ..ContainerConfig::default()
        },
        history: vec![History {
            created_by: Some("rootfs".to_owned()),
            ..History::default()
        }],
        ..ImageConfig::default()
    }
}

fn read_request(words: &str) -> (Request, HashMap<graph::ImageName, ImageConfig>) {
    let mut request = support::request();
    let mut images = HashMap::new();
    for line in words.lines().filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once(' ').expect("a key and a value");
        let pair = |separator| value.split_once(separator).expect("a pair");
        match key {
            "target" => request.target = Some(value.to_owned()),
            "build-arg" => {
                let (name, value) = pair('=');
                request.build_args.insert(name.to_owned(), value.to_owned());
            }
            "label" => {
                let (name, value) = pair('=');
                request.labels.insert(name.to_owned(), value.to_owned());
            }
            "platform" => {
                request.platform = support::platform(value);
                request.platform_is_default = false;
            }
            "no-cache-filter" => {
                request.no_cache_stages.insert(value.to_owned());
            }
            "network" => {
                request.network = match value {
                    "none" => Network::None,
                    "host" => Network::Host,
                    other => panic!("network {other}"),
                }
            }
            "secret" => drop(request.secrets.insert(value.to_owned())),
            "ssh" => drop(request.ssh.insert(value.to_owned())),
            "allow" => {
                let allowed = match value {
                    "security.insecure" => Entitlement::SecurityInsecure,
                    "network.host" => Entitlement::NetworkHost,
                    other => panic!("entitlement {other}"),
                };
                request.allowed.insert(allowed);
            }
            "add-host" => {
                let (name, address) = pair(' ');
                request.extra_hosts.push(ExtraHost {
                    name: name.to_owned(),
                    address: address.to_owned(),
                });
            }
            "image" => {
                let (name, json) = pair(' ');
                let reference = name.parse().expect("a reference");
                let config = serde_json::from_str(json).expect("a configuration");
                images.insert(graph::ImageName::Registry(reference), config);
            }
            other => panic!("unknown key {other}"),
        }
    }
    (request, images)
}
