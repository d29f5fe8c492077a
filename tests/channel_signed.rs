//! Channels that want their images signed: what counts, and what lies beside an image and does not.

use std::fs;

use crate::channels::{DASHES, Team, repositories, sign};
use crate::signing::data;

const SIGNERS: &str = "signers:
  release: { kind: notation, key: 'file:keys/p256.pem', certificates: 'file:chains/p256.pem' }
  cosign: { kind: cosign, key: 'file:keys/p256.pem' }
  stranger: { kind: cosign, key: 'file:keys/ed25519.pem' }
";

/// A team with keys, whose channel `stable` wants signatures that `verify` believes.
fn team(verify: &str) -> Option<Team> {
    let team = Team::new(DASHES, &["signed"])?;
    for name in [
        "keys/p256.pem",
        "keys/p256.pub",
        "keys/ed25519.pem",
        "chains/p256.pem",
        "root.pem",
    ] {
        team.write(name, &String::from_utf8(data(name)).unwrap());
    }
    declare(&team, verify);
    Some(team)
}

/// Says whom to believe.
fn declare(team: &Team, verify: &str) {
    let path = team.work().join("kiln.yaml");
    let text = fs::read_to_string(&path).expect("a file");
    let before = text.split("signers:").next().unwrap_or_default();
    team.write("kiln.yaml", &format!("{before}{SIGNERS}{verify}"));
    team.commit("whom to believe");
}

const PROMOTE: [&str; 3] = ["promote", "kevin", "stable"];
const NOTARY: &str = "verify: { roots: [root.pem] }\n";
const COSIGN: &str = "verify: { keys: [keys/p256.pub] }\n";
const UNSIGNED: &str = "signed: not signed by anybody who is trusted: envoy-prepare";

#[test]
fn junk_beside_an_image_is_no_signature() {
    let Some(team) = team(NOTARY) else {
        return;
    };
    team.ok("kevin", &["push"]);
    for repository in repositories("kevin") {
        sign(&team.registry, &repository);
    }
    team.fails("kevin", &PROMOTE, 4, &[UNSIGNED, "kiln sign"]);
    // Neither is a tag that looks like one of cosign's, as anybody with write access may set it.
    declare(&team, COSIGN);
    for repository in repositories("kevin") {
        let manifest = team.registry.manifest(&repository, "latest");
        let (digest, kind, bytes) = manifest.expect("an image");
        let tag = format!("sha256-{}.sig", digest.hex());
        team.registry.put_manifest(&repository, &tag, &kind, bytes);
    }
    team.fails("kevin", &PROMOTE, 4, &[UNSIGNED]);
    // Without anybody to believe, nothing is believed.
    declare(&team, "");
    let nobody = "signed: nothing says whose signatures count";
    let remedy = [nobody, "`verify:` with `keys`", "`roots`"];
    team.fails("kevin", &PROMOTE, 4, &remedy);
    let push = ["push", "--channel", "stable", "--sign=release"];
    team.fails("kevin", &push, 4, &remedy);
    assert!(team.digests("stable", "latest").iter().all(Option::is_none));
}

#[test]
fn a_stranger_is_not_somebody_who_is_trusted() {
    let Some(team) = team(COSIGN) else {
        return;
    };
    team.ok("kevin", &["push", "--sign=stranger"]);
    team.fails("kevin", &PROMOTE, 4, &[UNSIGNED]);
    for sign in [None, Some("--sign=stranger"), Some("--sign=release")] {
        let mut push = vec!["push", "--channel", "stable"];
        push.extend(sign);
        team.fails("kevin", &push, 4, &[UNSIGNED]);
    }
    assert!(team.digests("stable", "latest").iter().all(Option::is_none));
}

#[test]
fn images_that_somebody_trusted_has_signed_are_promoted() {
    for (verify, signer) in [
        (NOTARY, &["--sign=release"][..]),
        (COSIGN, &["--sign=cosign"]),
        (
            "verify: { roots: [root.pem], keys: [keys/p256.pub] }\n",
            &["--sign=cosign", "--sign=release"],
        ),
    ] {
        let Some(team) = team(verify) else {
            return;
        };
        team.ok("kevin", &[&["push"][..], signer].concat());
        team.ok("kevin", &PROMOTE);
        let first = team.digests("kevin", "latest");
        assert_eq!(team.digests("stable", "latest"), first);
        // Straight to the channel, and back to what it had.
        team.write("envoy-prepare/content", "changed");
        team.commit("changed");
        let push = ["push", "--channel", "stable"];
        team.fails("kevin", &push, 4, &["signed: not signed"]);
        team.ok("kevin", &[&push[..], signer].concat());
        assert_ne!(team.digests("stable", "latest"), first);
        team.ok("kevin", &["rollback", "stable"]);
        assert_eq!(team.digests("stable", "latest"), first);
    }
}
