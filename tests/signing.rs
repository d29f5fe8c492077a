//! Signatures: what is signed verifies, with kiln and with others' programs, and nothing else does.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use testkit::{
    Action, ClientSecret, Endpoint, Image, Match, Method, Options, Registry, ServerCertificate,
    ServiceAnswer, SigningService, image,
};

use crate::cli::Environment;

/// Keys and certificates; `make.py` beside them says how they were made.
pub(crate) fn data(name: &str) -> Vec<u8> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/sign/tests/data");
    fs::read(Path::new(directory).join(name)).expect("a file of the test data")
}

/// A registry with an image, and a directory with keys.
struct Bench {
    environment: Environment,
    registry: Registry,
    digest: String,
}

impl Bench {
    fn new(options: Options) -> Self {
        let environment = Environment::new();
        for name in [
            "keys/p256.pem",
            "keys/p256.pub",
            "keys/p384.pem",
            "keys/p384.pub",
            "keys/p256-cosign.pem",
            "keys/rsa2048.pem",
            "keys/rsa2048.pub",
            "keys/ed25519.pem",
            "keys/ed25519.pub",
            "chains/p256.pem",
            "chains/p384.pem",
            "chains/rsa2048.pem",
            "root.pem",
        ] {
            environment.write(name, &String::from_utf8(data(name)).unwrap());
        }
        let registry = Registry::with(options);
        let digest = registry.seed("team/app", "v1", &app()).to_string();
        Self {
            environment,
            registry,
            digest,
        }
    }

    /// The name of the image.
    fn name(&self) -> String {
        format!("{}/team/app:v1", self.registry.host())
    }

    fn by_digest(&self) -> String {
        format!("{}/team/app@{}", self.registry.host(), self.digest)
    }

    /// Runs kiln: the exit code, and both streams.
    fn kiln(&self, arguments: &[&str]) -> (i32, String) {
        let output = self
            .environment
            .kiln(arguments)
            .output()
            .expect("kiln starts");
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap_or(-1), said)
    }

    fn check(&self, arguments: &[&str], code: i32, expected: &str) {
        let (found, said) = self.kiln(arguments);
        assert_eq!(found, code, "{arguments:?}: {said}");
        assert!(
            said.contains(expected),
            "{arguments:?}: {said}\nhas no: {expected}"
        );
    }
}

fn app() -> Image {
    image().env("WHAT=app").build()
}

const NOTATION: [&str; 4] = [
    "--key",
    "keys/p256.pem",
    "--certificates",
    "chains/p256.pem",
];

#[test]
fn notary_signatures_of_every_form_verify() {
    for referrers in [true, false] {
        let bench = Bench::new(Options {
            referrers,
            ..Options::default()
        });
        let name = bench.name();
        let trusted = ["verify", &name, "--roots", "root.pem"];
        bench.check(&trusted, 6, "NOT VERIFIED");
        for (key, envelope) in [("p256", "jws"), ("p384", "cose"), ("rsa2048", "cose")] {
            let bench = Bench::new(Options {
                referrers,
                ..Options::default()
            });
            let name = bench.name();
            let key_file = format!("keys/{key}.pem");
            let chain = format!("chains/{key}.pem");
            let sign = ["sign", &name, "--key", &key_file, "--certificates", &chain];
            let sign = [&sign[..], &["--envelope", envelope, "--expiry", "24h"]].concat();
            bench.check(&sign, 0, &bench.by_digest());
            let trusted = ["verify", &name, "--roots", "root.pem"];
            bench.check(&trusted, 0, "notation: satisfied by sha256:");
            let identity = format!("x509.subject: C=DE, CN={key}");
            let who = [&trusted[..], &["--identity", &identity]].concat();
            bench.check(&who, 0, &format!("CN={key}"));
            let other = [&trusted[..], &["--identity", "x509.subject: CN=other"]].concat();
            bench.check(&other, 6, "is not one of the trusted identities");
            bench.check(
                &[
                    "verify",
                    &name,
                    "--roots",
                    "chains/p384.pem",
                    "--key",
                    "keys/p256.pub",
                ],
                6,
                "cosign: no signature counts",
            );
        }
    }
}

#[test]
fn cosign_signatures_stand_beside_each_other() {
    let bench = Bench::new(Options::default());
    let name = bench.by_digest();
    bench.check(
        &["verify", &name, "--key", "keys/p256.pub"],
        6,
        "no signature counts",
    );
    for key in ["p256", "rsa2048", "ed25519"] {
        let key = format!("keys/{key}.pem");
        bench.check(&["sign", &name, "--key", &key], 0, &name);
    }
    for key in ["p256", "rsa2048", "ed25519"] {
        let key = format!("keys/{key}.pub");
        bench.check(
            &["verify", &name, "--key", &key],
            0,
            "cosign: satisfied by sha256:",
        );
    }
    bench.check(
        &["verify", &name, "--key", "keys/p384.pub"],
        6,
        "makes no such signatures",
    );
    bench.check(
        &["sign", &name, "--key", "keys/p384.pem"],
        2,
        "such signatures take EC on P-256",
    );
    // A key of cosign's own, opened by the variable that cosign has.
    let mut sealed = bench
        .environment
        .kiln(&["sign", &name, "--key", "keys/p256-cosign.pem"]);
    let refused = sealed.output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("set COSIGN_PASSWORD"));
    let opened = sealed
        .env("COSIGN_PASSWORD", "a passphrase")
        .output()
        .unwrap();
    assert_eq!(opened.status.code(), Some(0), "{opened:?}");
    let tag = format!("{}.sig", bench.digest.replace(':', "-"));
    let (_, _, manifest) = bench.registry.manifest("team/app", &tag).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 4);
}

/// What somebody else changed in the registry does not count.
#[test]
fn tampering_is_refused() {
    let bench = Bench::new(Options::default());
    let name = bench.name();
    bench.check(
        &[&["sign", &name][..], &NOTATION].concat(),
        0,
        "is what is signed",
    );
    bench.check(&["sign", &name, "--key", "keys/p256.pem"], 0, "");
    let both = [
        "verify",
        &name,
        "--roots",
        "root.pem",
        "--key",
        "keys/p256.pub",
    ];
    bench.check(&both, 0, "verified");
    // The tag is moved to another image: the signatures stay with the digest.
    let other = image().env("WHAT=other").build();
    let other = bench.registry.seed("team/app", "v1", &other).to_string();
    bench.check(&both, 6, "NOT VERIFIED");
    bench.check(
        &["verify", &bench.by_digest(), "--roots", "root.pem"],
        0,
        "verified",
    );
    // Its signatures are copied to the other image.
    let tag = format!("{}.sig", bench.digest.replace(':', "-"));
    let (_, kind, manifest) = bench.registry.manifest("team/app", &tag).unwrap();
    let stolen = format!("{}.sig", other.replace(':', "-"));
    bench
        .registry
        .put_manifest("team/app", &stolen, &kind, manifest);
    bench.check(
        &["verify", &name, "--key", "keys/p256.pub"],
        6,
        "it is of another image",
    );
}

#[test]
fn programs_get_everything() {
    let bench = Bench::new(Options::default());
    let name = bench.name();
    bench.check(&[&["sign", &name][..], &NOTATION].concat(), 0, "");
    let verify = [
        "verify",
        &name,
        "--roots",
        "root.pem",
        "--key",
        "keys/p256.pub",
    ];
    let output = bench
        .environment
        .kiln(&[&verify[..], &["--format", "json"]].concat())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let image = &found["images"][0];
    assert_eq!(found["schema"], 1);
    assert_eq!(found["verified"], false);
    assert_eq!(image["digest"], json!(bench.digest));
    assert_eq!(
        image["requirements"][1],
        json!({"kind": "cosign", "satisfiedBy": null})
    );
    let signature = &image["signatures"][0];
    assert_eq!(signature["counts"], true);
    assert_eq!(image["requirements"][0]["satisfiedBy"], signature["digest"]);
    assert_eq!(image["capped"], json!([]));
}

#[test]
fn wrong_words_are_errors() {
    let bench = Bench::new(Options::default());
    let name = bench.name();
    bench.check(&["verify", &name], 2, "nobody is trusted");
    bench.check(&["sign", &name], 2, "there is no kiln.yaml");
    bench.check(
        &["sign", &name, "--key", "missing"],
        2,
        "could not read missing",
    );
    bench.check(
        &["sign", &name, "--key", "root.pem"],
        2,
        "there is no private key in it",
    );
    bench.check(
        &["sign", &name, "--key", "env:MISSING"],
        2,
        "the variable MISSING is not set",
    );
    bench.check(
        &[
            "sign",
            &name,
            "--key",
            "keys/p256.pem",
            "--certificates",
            "chains/p384.pem",
        ],
        2,
        "the key is not the one",
    );
    bench.check(
        &[
            "sign",
            &name,
            "--key",
            "keys/p256.pem",
            "--kind",
            "notation",
        ],
        2,
        "needs certificates",
    );
    bench.check(
        &[&["sign", &name, "--kind", "cosign"][..], &NOTATION].concat(),
        2,
        "`certificates` means nothing",
    );
    bench.check(
        &[&["sign", &name, "--expiry", "-1h"][..], &NOTATION].concat(),
        2,
        "",
    );
    bench.check(
        &["verify", &name, "--key", "keys/p256.pem"],
        2,
        "it is a private key",
    );
    let absent = format!("{}/team/absent:v1", bench.registry.host());
    bench.check(
        &["verify", &absent, "--key", "keys/p256.pub"],
        2,
        "could not look up",
    );
    bench.environment.write(
        "kiln.yaml",
        "signers:\n  one: { kind: cosign, key: 'file:keys/p256.pem' }\n  two: { kind: cosign, key: 'file:keys/p384.pem' }\n",
    );
    bench.check(&["sign", &name], 2, "several signers, and none was named");
    bench.check(
        &["sign", &name, "--signer", "oen"],
        2,
        "declares no signer `oen`",
    );
    bench.check(
        &["sign", &name, "--signer", "two"],
        2,
        "the signer two cannot be used",
    );
    bench.check(&["sign", &name, "--signer", "one"], 0, "");
}

/// With `--sign`, no tag points at what is not signed, whatever goes wrong.
#[test]
fn a_push_that_cannot_sign_moves_no_tag() {
    let bench = Bench::new(Options::default());
    let service = SigningService::start(ServerCertificate::Good);
    let secret = String::from_utf8(service.secret(ClientSecret::Good)).unwrap();
    bench.environment.write("secret.json", &secret);
    bench
        .environment
        .write("authority.pem", &service.authority());
    bench.environment.write(
        "kiln.yaml",
        &format!(
            "signers:\n  release: {{ kind: notation, key: 'file:keys/p256.pem', certificates: 'file:chains/p256.pem', envelope: cose }}\n  \
             service: {{ kind: signify, endpoint: '{}', secret: 'file:secret.json' }}\n\
             verify:\n  roots: [root.pem]\n",
            service.url()
        ),
    );
    bench
        .environment
        .write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let tag = format!("{}/team/made:v1", bench.registry.host());
    let build = |signers: &[&str]| {
        let arguments = [&["build", "--push", "-t", &tag][..], signers, &["."]].concat();
        let mut command = bench.environment.kiln(&arguments);
        let output = command
            .env("SSL_CERT_FILE", "authority.pem")
            .output()
            .unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, said) = build(&["--sign=releases"]);
    assert_eq!(
        (code, bench.registry.tags("team/made").len()),
        (2, 0),
        "{said}"
    );
    assert!(said.contains("declares no signer `releases`"), "{said}");

    service.answer([ServiceAnswer::Status(403, b"not yours".to_vec())]);
    let (code, said) = build(&["--sign=release", "--sign=service"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("403 Forbidden: not yours"), "{said}");
    assert_eq!(tags_of(&bench.registry, "team/made"), Vec::<String>::new());

    let (code, said) = build(&["--sign=release", "--sign=service"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(tags_of(&bench.registry, "team/made"), ["v1"]);
    bench.check(&["verify", &tag], 0, "notation: satisfied by");
    let requests = service.requests();
    let request: Value = serde_json::from_slice(requests.last().unwrap()).unwrap();
    let target = &request["trustedCollections"][0]["targets"][0];
    let (digest, _, bytes) = bench.registry.manifest("team/made", "v1").unwrap();
    assert_eq!(target["digest"], json!(digest.hex()));
    assert_eq!(target["byteSize"], json!(bytes.len()));
    assert_eq!(target["name"], "v1");

    // Without a registry to push to, there is nothing to sign.
    let (code, said) = bench.kiln(&["build", "--sign=release", "."]);
    assert_eq!(code, 2, "{said}");
    // A registry that takes no signatures gets no tag either.
    let other = format!("{}/team/other:v1", bench.registry.host());
    bench.registry.fault(
        // The first manifest is the image's, the second its signature's.
        Match::new(Method::PUT, Endpoint::Manifest)
            .repository("team/other")
            .nth(2),
        Action::Status {
            code: 403,
            headers: Vec::new(),
            body: String::new(),
        },
    );
    let arguments = ["build", "--push", "--sign=release", "-t", &other, "."];
    let (code, said) = bench.kiln(&arguments);
    assert_eq!(code, 1, "{said}");
    assert_eq!(tags_of(&bench.registry, "team/other"), Vec::<String>::new());
}

/// Tags that are not made from digests.
fn tags_of(registry: &Registry, repository: &str) -> Vec<String> {
    let tags = registry.tags(repository).into_iter();
    tags.filter(|tag| !tag.starts_with("sha256-")).collect()
}

/// An index and what it lists are told apart.
#[test]
fn an_index_is_signed_by_its_own_digest() {
    let bench = Bench::new(Options::default());
    let (_, _, child) = bench.registry.manifest("team/app", "v1").unwrap();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": bench.digest,
            "size": child.len(),
            "platform": { "os": "linux", "architecture": "amd64" },
        }],
    });
    let kind = "application/vnd.oci.image.index.v1+json";
    let bytes = index.to_string().into_bytes();
    bench.registry.put_manifest("team/app", "all", kind, bytes);
    let name = format!("{}/team/app:all", bench.registry.host());
    bench.check(&[&["sign", &name][..], &NOTATION].concat(), 0, "@sha256:");
    bench.check(&["verify", &name, "--roots", "root.pem"], 0, "verified");
    let child = bench.by_digest();
    bench.check(
        &["verify", &child, "--roots", "root.pem"],
        6,
        "NOT VERIFIED",
    );
    bench.check(
        &[&["sign", &name, "-r"][..], &NOTATION].concat(),
        0,
        &bench.digest,
    );
    bench.check(&["verify", &child, "--roots", "root.pem"], 0, "verified");
}

/// An end that lies behind all clocks is not the same as none.
#[test]
fn an_expiry_is_never_lost() {
    let bench = Bench::new(Options::default());
    let name = bench.name();
    for expiry in ["100000000h", "0s", "-1h", "soon"] {
        let expiry = format!("--expiry={expiry}");
        let sign = [&["sign", &name][..], &NOTATION, &[&expiry]].concat();
        bench.check(&sign, 2, "is not a duration");
    }
    bench.check(&["verify", &name, "--roots", "root.pem"], 6, "NOT VERIFIED");
}

/// Notation's own policy and trust store.
#[test]
fn a_trust_policy_of_notation_is_understood() {
    let bench = Bench::new(Options::default());
    let name = bench.name();
    bench.check(&[&["sign", &name][..], &NOTATION].concat(), 0, "");
    let root = String::from_utf8(data("root.pem")).unwrap();
    bench
        .environment
        .write("trust-store/x509/ca/ours/root.pem", &root);
    let policy = |scope: &str, level: Value, identities: Value| {
        let policy = json!({
            "version": "1.0",
            "trustPolicies": [{
                "name": "one",
                "registryScopes": [scope],
                "signatureVerification": level,
                "trustStores": ["ca:ours"],
                "trustedIdentities": identities,
            }],
        });
        bench
            .environment
            .write("trustpolicy.json", &policy.to_string());
    };
    let verify = ["verify", &name, "--trust-policy", "trustpolicy.json"];
    let strict = || json!({ "level": "strict" });
    policy("*", strict(), json!(["*"]));
    bench.check(&verify, 0, "verified");
    let ours = "x509.subject: C=DE, ST=BW, O=Kiln\\, Tests";
    policy(
        &format!("{}/team/app", bench.registry.host()),
        strict(),
        json!([ours]),
    );
    bench.check(&verify, 0, "verified");
    policy(
        "*",
        strict(),
        json!(["x509.subject: C=DE, ST=BW, O=Others"]),
    );
    bench.check(&verify, 6, "is not one of the trusted identities");
    policy(
        "*",
        json!({ "level": "audit" }),
        json!(["x509.subject: C=DE, ST=BW, O=Others"]),
    );
    bench.check(&verify, 0, "tolerated by the policy");
    policy("registry.example/other", strict(), json!(["*"]));
    bench.check(&verify, 2, "has no policy for");
    policy("*", json!({ "level": "lenient" }), json!(["*"]));
    bench.check(&verify, 2, "\"lenient\" is not known");
    policy("*", json!({ "level": "skip" }), json!(["*"]));
    bench.check(&verify, 2, "skips verification everywhere");
    policy(
        "*",
        strict(),
        json!([ours, "x509.subject: C=DE, ST=BW, O=Kiln\\, Tests, CN=p256"]),
    );
    bench.check(&verify, 2, "a trusted identity that is not one");
}

/// A program that reads cosign's signatures.
#[test]
fn skopeo_verifies_what_kiln_signs() {
    let bench = Bench::new(Options::default());
    let name = bench.by_digest();
    bench.check(&["sign", &name, "--key", "keys/p256.pem"], 0, "");
    let work = bench.environment.work();
    let host = bench.registry.host();
    let policy = json!({
        "default": [{ "type": "reject" }],
        "transports": { "docker": { host.as_str(): [{
            "type": "sigstoreSigned",
            "keyPath": work.join("keys/p256.pub"),
            "signedIdentity": { "type": "matchRepository" },
        }] } },
    });
    bench.environment.write("policy.json", &policy.to_string());
    let attachments = format!("docker:\n  {host}:\n    use-sigstore-attachments: true\n");
    bench
        .environment
        .write("registries.d/here.yaml", &attachments);
    let copy = |source: &str| {
        Command::new("skopeo")
            .args(["--policy", "policy.json", "--registries.d", "registries.d"])
            .args(["copy", "--src-tls-verify=false"])
            .arg(format!("docker://{source}"))
            .arg("dir:copied")
            .current_dir(&work)
            .output()
    };
    let Ok(output) = copy(&name) else {
        eprintln!("skipped: skopeo is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("sigstore disabled") {
        eprintln!("skipped: this skopeo was built without signatures of sigstore");
        return;
    }
    assert!(output.status.success(), "{said}");
    // What it accepts is not just anything.
    let unsigned = image().env("WHAT=unsigned").build();
    let unsigned = bench.registry.seed("team/app", "unsigned", &unsigned);
    let output = copy(&format!("{host}/team/app@{unsigned}")).unwrap();
    assert!(!output.status.success());
}

/// Runs openssl; nothing where it is not installed.
fn openssl(work: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(work)
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: openssl is not installed");
        return None;
    };
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Some(said)
}

/// The blob of the first layer of a manifest, and the layer.
fn first_layer(registry: &Registry, reference: &str) -> (Vec<u8>, Value) {
    let (_, _, manifest) = registry.manifest("team/app", reference).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layer = manifest["layers"][0].clone();
    let digest = layer["digest"].as_str().unwrap().parse().unwrap();
    (registry.blob("team/app", &digest).unwrap().to_vec(), layer)
}

/// What is signed is what the standards say, and not just what kiln reads.
#[test]
fn openssl_verifies_what_kiln_signs() {
    let bench = Bench::new(Options {
        referrers: false,
        ..Options::default()
    });
    let name = bench.by_digest();
    let work = bench.environment.work();
    bench.check(&["sign", &name, "--key", "keys/p256.pem"], 0, "");
    let tag = bench.digest.replace(':', "-");
    let (payload, layer) = first_layer(&bench.registry, &format!("{tag}.sig"));
    let signature = &layer["annotations"]["dev.cosignproject.cosign/signature"];
    let signature = STANDARD.decode(signature.as_str().unwrap()).unwrap();
    fs::write(work.join("payload"), payload).unwrap();
    fs::write(work.join("signature"), signature).unwrap();
    let plain = [
        "dgst",
        "-sha256",
        "-verify",
        "keys/p256.pub",
        "-signature",
        "signature",
        "payload",
    ];
    let Some(said) = openssl(&work, &plain) else {
        return;
    };
    assert!(said.contains("Verified OK"), "{said}");

    let sign = ["sign", &name, "--key", "keys/rsa2048.pem"];
    let sign = [&sign[..], &["--certificates", "chains/rsa2048.pem"]].concat();
    bench.check(&sign, 0, "");
    let (_, _, index) = bench.registry.manifest("team/app", &tag).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let listed = &index["manifests"][0];
    assert_eq!(
        listed["artifactType"],
        "application/vnd.cncf.notary.signature"
    );
    let (envelope, _) = first_layer(&bench.registry, listed["digest"].as_str().unwrap());
    let envelope: Value = serde_json::from_slice(&envelope).unwrap();
    let text = |name: &str| envelope[name].as_str().unwrap().to_owned();
    fs::write(
        work.join("payload"),
        format!("{}.{}", text("protected"), text("payload")),
    )
    .unwrap();
    let signature = URL_SAFE_NO_PAD.decode(text("signature")).unwrap();
    fs::write(work.join("signature"), signature).unwrap();
    let pss = [
        "dgst",
        "-sha256",
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sigopt",
        "rsa_pss_saltlen:32",
        "-verify",
        "keys/rsa2048.pub",
        "-signature",
        "signature",
        "payload",
    ];
    let said = openssl(&work, &pss).unwrap();
    assert!(said.contains("Verified OK"), "{said}");
}

/// Whoever can write to the repository can list as much as they like (D17, E16).
#[test]
fn a_flood_of_signatures_keeps_nobody() {
    let bench = Bench::new(Options {
        referrers: false,
        ..Options::default()
    });
    let name = bench.name();
    let tag = bench.digest.replace(':', "-");
    let flood = |count: usize, first: &[Value]| {
        let junk = (0..count).map(|number| {
            json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/vnd.cncf.notary.signature",
                "digest": format!("sha256:{number:064x}"),
                "size": 700,
            })
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": junk.chain(first.iter().cloned()).collect::<Vec<_>>(),
        });
        let kind = "application/vnd.oci.image.index.v1+json";
        let bytes = index.to_string().into_bytes();
        bench.registry.put_manifest("team/app", &tag, kind, bytes);
        bench.registry.clear_log();
    };
    let verify = ["verify", &name, "--roots", "root.pem"];
    bench.check(&[&["sign", &name][..], &NOTATION].concat(), 0, "");
    let (_, _, index) = bench.registry.manifest("team/app", &tag).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let ours = index["manifests"].as_array().unwrap().clone();
    flood(150, &[]);
    bench.check(&verify, 6, "there are more signatures than the 100 newest");
    assert!(bench.registry.lines().len() < 250);
    // The newest come first, wherever they are listed.
    flood(150, &ours);
    bench.check(&verify, 0, "notation: satisfied by");
    flood(100_000, &ours);
    bench.check(&verify, 1, "could not look for the signatures of");
    assert!(bench.registry.lines().len() < 20);
}
