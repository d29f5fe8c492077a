//! What is written into docker's `config.json`, and what stays as it was.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use registry::{AccountKeeper, Credential, CredentialSources, Kept, Secret};

use crate::common::block_on;

const SECRET: &str = "canary-secret";

struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("docker/config.json")
    }

    fn write(&self, text: &str) {
        fs::create_dir_all(self.path("docker")).expect("a directory");
        fs::write(self.config(), text).expect("a file");
    }

    fn read(&self) -> String {
        fs::read_to_string(self.config()).expect("a file")
    }

    fn keeper(&self) -> AccountKeeper {
        let path: std::ffi::OsString =
            format!("{}:/usr/bin:/bin", self.directory.path().display()).into();
        AccountKeeper::new(&CredentialSources {
            docker_config: Some(self.config()),
            search_path: Some(path.clone()),
            helper_environment: Some(vec![("PATH".into(), path)]),
            ..CredentialSources::default()
        })
        .expect("a place for accounts")
    }

    fn helper(&self, name: &str, text: &str) {
        let path = self.path(&format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
}

fn account() -> Credential {
    Credential::Password {
        username: "u".to_owned(),
        password: Secret::new(SECRET),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777
}

#[test]
fn a_new_file_is_for_its_owner_alone() {
    let home = Home::new();
    let kept = block_on(home.keeper().keep("a.io", &account())).expect("kept");
    assert_eq!(kept, Kept::File(home.config()));
    assert_eq!(mode(&home.config()), 0o600);
    assert_eq!(mode(&home.path("docker")), 0o700);
    assert_eq!(
        home.read(),
        "{\n\t\"auths\": {\n\t\t\"a.io\": {\n\t\t\t\"auth\": \"dTpjYW5hcnktc2VjcmV0\"\n\t\t}\n\t}\n}\n"
    );
    let left: Vec<_> = fs::read_dir(home.path("docker"))
        .expect("a directory")
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn everything_else_stays_as_it_was() {
    let home = Home::new();
    home.write(
        "{\n\t\"HttpHeaders\": {\n\t\t\"B\": \"1\",\n\t\t\"A\": \"<&>\u{e4}\"\n\t},\n\t\"auths\": {\n\t\t\"z.io\": {\n\t\t\t\"auth\": \"dTpw\",\n\t\t\t\"new\": [\n\t\t\t\t1,\n\t\t\t\t-2.5,\n\t\t\t\tnull,\n\t\t\t\ttrue,\n\t\t\t\t{}\n\t\t\t]\n\t\t}\n\t},\n\t\"aKey\": 18446744073709551615\n}\n",
    );
    fs::set_permissions(home.config(), fs::Permissions::from_mode(0o640)).expect("a mode");
    let before = home.read();
    block_on(home.keeper().keep("a.io", &account())).expect("kept");
    let within = home.read();
    assert!(within.contains("dTpjYW5hcnktc2VjcmV0"), "{within}");
    assert_eq!(mode(&home.config()), 0o640);
    let forgotten = block_on(home.keeper().forget("a.io")).expect("forgotten");
    assert_eq!(forgotten, [Kept::File(home.config())]);
    assert_eq!(home.read(), before);
    let forgotten = block_on(home.keeper().forget("a.io")).expect("nothing to forget");
    assert_eq!(forgotten, []);
}

#[test]
fn all_spellings_of_a_registry_are_one() {
    let home = Home::new();
    home.write(r#"{"auths":{"https://a.io/v1/":{"auth":"dTpw"},"a.io/path":{"auth":"dTpw"},"docker.io":{"auth":"dTpw"}}}"#);
    block_on(home.keeper().keep("a.io", &account())).expect("kept");
    assert!(!home.read().contains("https://a.io"), "{}", home.read());
    assert!(home.read().contains("a.io/path"), "another account");
    block_on(home.keeper().keep("docker.io", &account())).expect("kept");
    assert!(home.read().contains("https://index.docker.io/v1/"));
    assert!(!home.read().contains("\"docker.io\""));
    block_on(home.keeper().forget("index.docker.io")).expect("forgotten");
    assert!(!home.read().contains("docker.io"), "{}", home.read());
}

#[test]
fn symbolic_links_stay() {
    let home = Home::new();
    fs::create_dir_all(home.path("docker")).expect("a directory");
    fs::write(home.path("real.json"), "{}").expect("a file");
    symlink("../real.json", home.config()).expect("a link");
    block_on(home.keeper().keep("a.io", &account())).expect("kept");
    assert!(home.config().is_symlink());
    assert!(
        fs::read_to_string(home.path("real.json"))
            .expect("a file")
            .contains("a.io")
    );
    // In a circle.
    fs::remove_file(home.config()).expect("removed");
    symlink("config.json", home.config()).expect("a link");
    let error = block_on(home.keeper().keep("a.io", &account())).expect_err("a circle");
    assert!(error.to_string().contains("symbolic links"), "{error}");
}

#[test]
fn a_helper_keeps_what_is_its_own() {
    let home = Home::new();
    home.write(r#"{"credsStore":"keep","credHelpers":{"b.io":"refuse","c.io":"absent"}}"#);
    home.helper(
        "keep",
        &format!(
            r#"d={dir}; case $1 in store) cat > $d/stored;; get) read s; test -e $d/stored && cat $d/stored || {{ echo 'credentials not found in native keychain'; exit 1; }};; erase) read s; echo $s > $d/erased; rm $d/stored;; esac"#,
            dir = home.directory.path().display()
        ),
    );
    home.helper("refuse", "cat; exit 1");
    let kept = block_on(home.keeper().keep("a.io", &account())).expect("kept");
    let program = "docker-credential-keep".to_owned();
    let key = "credsStore".to_owned();
    assert_eq!(kept, Kept::Helper { program, key });
    let stored = fs::read_to_string(home.path("stored")).expect("the helper was asked");
    let stored: serde_json::Value = serde_json::from_str(&stored).expect("JSON");
    assert_eq!(stored["ServerURL"], "a.io");
    assert_eq!(stored["Username"], "u");
    assert_eq!(stored["Secret"], SECRET);
    assert!(home.read().contains("\"a.io\": {}"), "{}", home.read());
    assert_eq!(
        block_on(home.keeper().forget("a.io"))
            .expect("forgotten")
            .len(),
        1
    );
    assert_eq!(
        fs::read_to_string(home.path("erased")).expect("erased"),
        "a.io\n"
    );
    assert!(!home.read().contains("a.io"), "{}", home.read());
    let before = home.read();
    for host in ["b.io", "c.io"] {
        let error = block_on(home.keeper().keep(host, &account())).expect_err(host);
        let source = std::error::Error::source(&error)
            .expect("a cause")
            .to_string();
        let said = format!("{error} {source} {error:?}");
        assert!(said.contains(&format!("credHelpers[\"{host}\"]")), "{said}");
        assert!(!said.contains(SECRET), "{said}");
    }
    assert_eq!(home.read(), before);
}

#[test]
fn files_that_are_not_understood_are_left_alone() {
    for text in [
        "canary-text",
        "[]",
        r#"{"auths":[]}"#,
        r#"{"auths":{"a.io":{},"a.io":{}}}"#,
        r#"{"credsStore":"../x"}"#,
    ] {
        let home = Home::new();
        home.write(text);
        let error = block_on(home.keeper().keep("a.io", &account())).expect_err(text);
        assert!(!format!("{error:?}").contains("canary-text"), "{error:?}");
        assert_eq!(home.read(), text);
    }
}

#[test]
fn naming_a_helper_is_planned_shown_and_done_once() {
    let home = Home::new();
    home.write(r#"{"credHelpers":{"a.io":"old","pkg.dev":"gcloud"}}"#);
    let before = home.read();
    let plan = home
        .keeper()
        .plan_helpers(&["a.io", "b.io"], "kiln")
        .expect("a plan");
    assert!(plan.changes);
    assert_eq!(plan.replaced, [("a.io".to_owned(), "old".to_owned())]);
    assert!(
        plan.json.contains("\t\t\"b.io\": \"kiln\""),
        "{}",
        plan.json
    );
    assert!(plan.notes.iter().any(|note| note.contains("pkg.dev")));
    assert_eq!(home.read(), before, "a plan changes nothing");
    home.keeper()
        .name_helpers(&["a.io", "b.io"], "kiln")
        .expect("done");
    let after = home.read();
    let again = home
        .keeper()
        .name_helpers(&["a.io", "b.io"], "kiln")
        .expect("done");
    assert!(!again.changes && again.replaced.is_empty());
    assert_eq!(home.read(), after);
    assert!(home.keeper().plan_helpers(&["a.io"], "x;id").is_err());
}
