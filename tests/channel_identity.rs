//! Channels that only a CI system may move: what it has to show, and what is not believed.

use std::process::Command;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use testkit::Registry;

/// A place with one image, a protected channel, and an issuer of tokens.
struct Job {
    registry: Registry,
    directory: tempfile::TempDir,
    key: KeyPair,
    commit: String,
}

impl Job {
    /// None, with the reason on stderr, where there is no git.
    fn new() -> Option<Self> {
        let registry = Registry::start();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let declaration = format!(
            "registry: {}/team\nimages:\n  app: {{}}\nchannels:\n  stable:\n    protected: true\n    \
             require: [\"ci:{}\", \"identity:repo:org/app:*\"]\n",
            registry.host(),
            registry.url()
        );
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text);
        write("kiln.yaml", &declaration).expect("a file");
        write("Dockerfile", "FROM scratch\nCOPY kiln.yaml /\n").expect("a file");
        let git = |arguments: &[&str]| {
            let output = Command::new("git")
                .args(["-c", "user.name=k", "-c", "user.email=k@example.com"])
                .args(arguments)
                .current_dir(directory.path())
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .output();
            output
                .ok()
                .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        if git(&["init", "-q"]).is_none() {
            eprintln!("skipped: git is not installed");
            return None;
        }
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "first"]);
        let commit = git(&["rev-parse", "HEAD"]).expect("a commit");
        let key = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let job = Self {
            registry,
            directory,
            key,
            commit,
        };
        job.serve_keys(job.registry.url());
        Some(job)
    }

    /// Serves what an issuer serves.
    fn serve_keys(&self, issuer: &str) {
        let url = self.registry.url();
        let discovery = json!({"issuer": issuer, "jwks_uri": format!("{url}/keys")});
        self.registry
            .serve_file("/.well-known/openid-configuration", discovery.to_string());
        // `RSAPublicKey` of RFC 8017: a sequence of a number of 257 bytes and one of 3.
        let der = self.key.public_key().as_ref();
        let (modulus, exponent) = (&der[9..265], &der[267..]);
        let keys = json!({"keys": [{
            "kty": "RSA",
            "n": URL_SAFE_NO_PAD.encode(modulus),
            "e": URL_SAFE_NO_PAD.encode(exponent),
        }]});
        self.registry.serve_file("/keys", keys.to_string());
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.registry.url(),
            "sub": "repo:org/app:ref:refs/heads/main",
            "aud": "kiln",
            "exp": 4_000_000_000_u64,
            "sha": self.commit,
        })
    }

    fn token(&self, claims: &Value) -> String {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": "RS256"}).to_string());
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &random,
                signed.as_bytes(),
                &mut signature,
            )
            .expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Pushes to the channel with these variables: the exit code, and what was said.
    fn push(&self, variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_kiln"))
            .args(["channel", "push", "--channel", "stable", "--format", "json"])
            .env_clear()
            .env("HOME", self.directory.path())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("KILN_STORE", self.directory.path().join(".git/store"))
            .envs(variables.iter().copied())
            .current_dir(self.directory.path())
            .output()
            .expect("kiln starts");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }
}

#[test]
fn only_what_an_issuer_signed_for_this_commit_is_believed() {
    let Some(job) = Job::new() else {
        return;
    };
    let check = |variables: &[(&str, &str)], words: &str| {
        let (code, text) = job.push(variables);
        assert_eq!(code, Some(4), "{text}");
        assert!(text.contains(words), "{words} is not in {text}");
        assert!(
            job.registry.tags("team/stable").is_empty(),
            "nothing was moved"
        );
    };
    let with = |key: &str, value: Value| {
        let mut claims = job.claims();
        claims[key] = value;
        job.token(&claims)
    };
    check(
        &[("CI", "true"), ("GITHUB_ACTIONS", "true")],
        "no CI system offers an identity token",
    );
    check(&[("KILN_ID_TOKEN", "x.y.z")], "the identity token is none");
    let other = with("iss", json!("https://issuer.example"));
    check(
        &[("KILN_ID_TOKEN", &other)],
        "`https://issuer.example`, which no rule names",
    );
    let commit = with("sha", json!("0123456789012345678901234567890123456789"));
    check(
        &[("KILN_ID_TOKEN", &commit)],
        "the identity token is for the commit 0123456789",
    );
    let audience = with("aud", json!("somebody"));
    check(
        &[("KILN_ID_TOKEN", &audience)],
        "not for the audience `kiln`",
    );
    let subject = with("sub", json!("repo:fork/app:ref:refs/heads/main"));
    check(
        &[("KILN_ID_TOKEN", &subject)],
        "the verified identity is `repo:fork/app",
    );
    let good = job.token(&job.claims());
    let mut forged = good.clone();
    forged.replace_range(forged.len() - 8.., "AAAAAAAA");
    check(&[("KILN_ID_TOKEN", &forged)], "not signed by its issuer");
    // Keys that another issuer's document names.
    job.serve_keys("https://other.example");
    check(
        &[("KILN_ID_TOKEN", &good)],
        "its discovery document is of another issuer",
    );
}

#[test]
fn a_job_shows_its_token_or_asks_for_one() {
    let Some(job) = Job::new() else {
        return;
    };
    let token = job.token(&job.claims());
    job.registry
        .serve_file("/token-of-the-job", json!({"value": token}).to_string());
    let url = format!("{}/token-of-the-job?v=2", job.registry.url());
    let (code, text) = job.push(&[
        ("ACTIONS_ID_TOKEN_REQUEST_URL", &url),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "secret-of-the-job"),
    ]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("\"verified\": true"), "{text}");
    assert!(text.contains("repo:org/app:ref:refs/heads/main"), "{text}");
    assert!(!text.contains("secret-of-the-job"), "{text}");
    let asked = job.registry.log();
    let asked = asked
        .iter()
        .find(|asked| asked.line().contains("/token-of-the-job"));
    let header = asked.and_then(|asked| asked.header("authorization"));
    assert_eq!(header, Some("Bearer secret-of-the-job"));
}
