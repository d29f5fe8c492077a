//! Accounts that the program has of its own: when they are asked for, and when not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use registry::{
    Account, Client, ClientOptions, Credential, CredentialProvider, CredentialSources,
    CredentialStore, ErrorKind, Provided, ProviderError, PushOptions, Secret,
};
use testkit::{Auth, Options, Registry};

use crate::common::{block_on, options, reference, repository, sample};

/// Answers with the password of its turn.
#[derive(Debug)]
struct Cloud {
    passwords: Vec<Option<&'static str>>,
    asked: AtomicU32,
    renewed: AtomicU32,
}

impl Cloud {
    fn new(passwords: &[Option<&'static str>]) -> Arc<Self> {
        Arc::new(Self {
            passwords: passwords.to_vec(),
            asked: AtomicU32::new(0),
            renewed: AtomicU32::new(0),
        })
    }
}

impl CredentialProvider for Cloud {
    fn name(&self) -> &str {
        "Cloud"
    }

    fn covers(&self, host: &str) -> bool {
        host.starts_with("127.0.0.1")
    }

    fn find<'a>(
        &'a self,
        _host: &'a str,
        _path: &'a str,
        fresh: bool,
    ) -> BoxFuture<'a, Result<Option<Provided>, ProviderError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let turn = match fresh {
            true => self.renewed.fetch_add(1, Ordering::Relaxed) + 1,
            false => self.renewed.load(Ordering::Relaxed),
        };
        let last = self.passwords.len() - 1;
        let password = self.passwords[(turn as usize).min(last)];
        async move {
            match password {
                Some("fail") => Err(ProviderError {
                    source: "the cloud is down".into(),
                    advice: Some("wait for better weather".to_owned()),
                }),
                password => Ok(password.map(|password| Provided {
                    credential: Credential::Password {
                        username: "u".to_owned(),
                        password: Secret::new(password),
                    },
                    account: Account {
                        name: "u@cloud".to_owned(),
                        source: "Cloud".to_owned(),
                    },
                    time_left: None,
                })),
            }
        }
        .boxed()
    }
}

/// Pulls with what a `config.json` says (`HOST` is replaced) and the cloud.
fn pull(auth: &Auth, config: &str, cloud: &Arc<Cloud>) -> Result<(), registry::Error> {
    let registry = Registry::with(Options {
        auth: auth.clone(),
        ..Options::default()
    });
    let sample = sample(10);
    sample.seed(&registry, "a", "1");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.json");
    std::fs::write(&path, config.replace("HOST", &registry.host())).expect("a file");
    let credentials = CredentialStore::load(CredentialSources {
        docker_config: Some(path),
        ..CredentialSources::default()
    })
    .expect("accounts")
    .with_provider(Arc::clone(cloud) as Arc<dyn CredentialProvider>);
    let client = Client::new(ClientOptions {
        credentials,
        ..options()
    })
    .expect("a client");
    block_on(sample.pull(&client, &reference(&format!("{}/a:1", registry.host()))))
}

#[test]
fn what_a_file_says_wins() {
    for auth in [Auth::basic("u", "p"), Auth::token("u", "p")] {
        let cloud = Cloud::new(&[Some("wrong")]);
        let config = r#"{"auths":{"HOST":{"auth":"dTpw"}}}"#;
        pull(&auth, config, &cloud).expect("the file is right");
        assert_eq!(cloud.asked.load(Ordering::Relaxed), 0);
        // Also when it is wrong: a helper that is missing is no reason to be somebody else.
        let config = r#"{"credHelpers":{"HOST":"absent"}}"#;
        let cloud = Cloud::new(&[Some("p")]);
        let error = pull(&auth, config, &cloud).expect_err("a missing helper");
        assert_eq!(*error.kind(), ErrorKind::Credentials, "{error}");
        let advice = error.advice().unwrap_or_default();
        for part in ["docker-credential-absent", "Cloud built in", "credHelpers"] {
            assert!(advice.contains(part), "{part}: {advice}");
        }
        assert_eq!(cloud.asked.load(Ordering::Relaxed), 0);
        // The helper that is kiln itself is the provider, without a process.
        let config = r#"{"credHelpers":{"HOST":"kiln"}}"#;
        pull(&auth, config, &cloud).expect("the cloud knows");
    }
}

#[test]
fn who_no_file_knows_is_asked_for_and_renewed_once() {
    for auth in [Auth::basic("u", "p"), Auth::token("u", "p")] {
        let cloud = Cloud::new(&[Some("p")]);
        pull(&auth, "{}", &cloud).expect("the cloud knows");
        // A token that has ended is renewed, be it the registry or its token service that says so.
        let cloud = Cloud::new(&[Some("ended"), Some("p")]);
        pull(&auth, "{}", &cloud).expect("a renewed one is right");
        assert_eq!(cloud.renewed.load(Ordering::Relaxed), 1);
        // One that is wrong stays wrong, and that is said soon.
        let cloud = Cloud::new(&[Some("wrong")]);
        let error = pull(&auth, "{}", &cloud).expect_err("always wrong");
        assert_eq!(*error.kind(), ErrorKind::Unauthorized, "{error}");
        assert!(
            error.to_string().contains("account `u@cloud` from Cloud"),
            "{error}"
        );
        assert!(cloud.asked.load(Ordering::Relaxed) <= 4);
    }
}

#[test]
fn a_provider_that_fails_is_an_error_and_one_that_knows_nothing_is_not() {
    let auth = Auth::Token {
        user: "u".into(),
        password: "p".into(),
        realm: testkit::Realm::SamePort,
        uses: None,
        anonymous_pull: true,
    };
    pull(&auth, "{}", &Cloud::new(&[None])).expect("anybody may pull");
    // A login that has ended keeps nobody from what is public.
    pull(&auth, "{}", &Cloud::new(&[Some("fail")])).expect("anybody may pull");
    for auth in [Auth::token("u", "p"), Auth::basic("u", "p")] {
        let error = pull(&auth, "{}", &Cloud::new(&[Some("fail")])).expect_err("not anybody");
        assert_eq!(*error.kind(), ErrorKind::Unauthorized, "{error}");
        let advice = error.advice().unwrap_or_default();
        for part in ["account of Cloud", "the cloud is down", "better weather"] {
            assert!(advice.contains(part), "{part}: {advice}");
        }
    }
    // To push is for nobody who is nobody.
    let registry = Registry::with(Options {
        auth,
        ..Options::default()
    });
    let cloud = Cloud::new(&[Some("fail")]) as Arc<dyn CredentialProvider>;
    let client = Client::new(ClientOptions {
        credentials: CredentialStore::default().with_provider(cloud),
        ..options()
    })
    .expect("a client");
    let target = repository(&format!("{}/a", registry.host()));
    let sample = sample(10);
    let error = block_on(sample.push(&client, &target, "1", &PushOptions::default()))
        .expect_err("it fails");
    assert_eq!(*error.kind(), ErrorKind::Credentials, "{error}");
    assert_eq!(error.advice().as_deref(), Some("wait for better weather"));
}
