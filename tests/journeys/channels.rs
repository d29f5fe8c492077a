//! docs/journey-channels.md: six images in two variants, pushed by one of a team, used by all, and
//! promoted by CI.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{ACCESS_TOKEN, Auth, Google, Layer, Options, Registry, SUBJECT, image};

use super::page::Page;
use super::person::Person;
use super::{connect, log_in};

const USER: &str = "kevinrosendahl";

/// The names and the contexts of the images.
const IMAGES: [(&str, &str); 6] = [
    ("envoy-prepare", "envoy-prepare"),
    ("kubernetes-component-builder", "component-builder"),
    ("kubernetes-envoy-xds-api-rest-per-node", "envoy-xds-api"),
    (
        "kubernetes-lattice-controller-manager",
        "controller-manager",
    ),
    ("kubernetes-manager-api-rest", "manager-api"),
    ("lattice-cli-admin", "cli-admin"),
];

/// What docker does with an archive: takes it, and calls the image by the digest of its
/// configuration.
const DOCKER: &str = "case \"$1 $2\" in
version*) echo 27 ;;
load*) cat > ../given.tar ;;
'image inspect') echo sha256:$(tar -xOf ../given.tar manifest.json | grep -o '[0-9a-f]\\{64\\}' | head -n 1) ;;
esac";

/// A registry that wants an account of Google's, base images, and a remote repository.
struct Team {
    directory: TempDir,
    registry: Registry,
    bases: Registry,
    google: Google,
    declaration: String,
}

impl Team {
    fn new(page: &Page) -> Self {
        let registry = Registry::with(Options {
            auth: Auth::token("oauth2accesstoken", ACCESS_TOKEN),
            ..Options::default()
        });
        let (bases, google) = (Registry::start(), Google::start());
        let base = image().layer(Layer::new().file("etc/static", ""));
        let base = base.config("User", json!("65532")).build();
        bases.seed("distroless/static", "latest", &base);
        let mut shell = Layer::new().directory("bin", 0o755);
        shell = shell.file_with("bin/busybox", 0o755, "busybox\n");
        for name in ["ls", "sh"] {
            shell = shell.hardlink(&format!("bin/{name}"), "bin/busybox");
        }
        let busybox = image().layer(shell).build();
        let busybox = bases.seed("library/busybox", "1.37-musl", &busybox);
        // GitHub's own issuer is asked over https, and nothing can stand in for it, which is the point
        // of the rule: here the rule names another one.
        let declaration = page.content("kiln.yaml");
        assert!(declaration.contains(", ci]"), "{declaration}");
        let declaration = declaration
            .replace("sha256:…", busybox.as_str())
            .replace(", ci]", &format!(", \"{}\"]", ci(&google)));
        let team = Self {
            directory: tempfile::tempdir().expect("a directory"),
            registry,
            bases,
            google,
            declaration,
        };
        let origin = team.person("origin");
        origin.does("git init --quiet --bare .");
        team
    }

    fn origin(&self) -> PathBuf {
        self.directory.path().join("origin/work")
    }

    fn person(&self, name: &str) -> Person {
        let mut person = Person::new(&self.directory.path().join(name));
        let (host, bases) = (self.registry.host(), self.bases.host());
        let distroless = format!("{bases}/distroless");
        let places = [
            ("gcr.io/lattice-dev", &*format!("{host}/lattice-dev")),
            ("gcr.io/distroless", &distroless),
            ("docker.io", &bases),
        ];
        connect(&mut person, &self.google, &host, &places);
        person.alias(&ci(&self.google), "ci");
        person
    }

    /// Somebody with an account, and the sources.
    fn developer(&self) -> Person {
        let person = self.person("developer");
        log_in(&person, &self.google);
        person.does(&format!(
            "git clone --quiet {} . 2>&1",
            self.origin().display()
        ));
        person.write("kiln.yaml", &self.declaration);
        for (name, context) in IMAGES {
            let dockerfile = format!(
                "FROM gcr.io/distroless/static\nCOPY service /{name}\nENTRYPOINT [\"/{name}\"]\n"
            );
            person.write(&format!("images/{context}/Dockerfile"), &dockerfile);
            person.write(&format!("images/{context}/service"), name);
        }
        person
            .does("git checkout --quiet -b master && git add --all && git commit --quiet -m first");
        person.does("git push --quiet origin master");
        person.program("docker", DOCKER);
        person.program(
            "npm",
            "echo $LATTICE_CONTAINER_REGISTRY/${LATTICE_CONTAINER_REPO_PREFIX}envoy-prepare > ../used",
        );
        person
    }

    /// A job of GitHub Actions with a checkout of `master`, and nothing else on the disk.
    fn job(&self, name: &str) -> Person {
        let mut job = self.person(name);
        let (url, secret) = self.google.github();
        job.set("GITHUB_ACTIONS", "true");
        job.set("CI", "true");
        job.set("ACTIONS_ID_TOKEN_REQUEST_URL", url);
        job.set("ACTIONS_ID_TOKEN_REQUEST_TOKEN", secret);
        job.home(".gitconfig", "");
        job.does(&format!(
            "git clone --quiet --branch master {} .",
            self.origin().display()
        ));
        self.google.set_job_commit(&job.does("git rev-parse HEAD"));
        job
    }

    /// What the tags of a channel point at: plain, then debug.
    fn digests(&self, channel: &str) -> Vec<Option<String>> {
        let variants = ["", "debug-"].into_iter();
        let names = variants.flat_map(|variant| {
            IMAGES.map(|(image, _)| format!("lattice-dev/{channel}-{variant}{image}"))
        });
        let found = names.map(|name| self.registry.manifest(&name, "latest"));
        found
            .map(|found| found.map(|found| found.0.to_string()))
            .collect()
    }

    fn record(&self, person: &Person, channel: &str) -> Value {
        let shown = person.does(&format!("kiln channel show {channel} --format json"));
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(shown["consistent"], true, "{shown:#}");
        shown["record"].clone()
    }
}

/// The rule that stands for `ci`.
fn ci(issuer: &Google) -> String {
    format!("ci:{}", issuer.url())
}

#[test]
fn a_team_works_as_the_page_says() {
    let mut page = Page::read("journey-channels.md");
    let team = Team::new(&page);
    let kevin = team.developer();

    kevin.types(&page.next("kiln channel push"));
    let first = team.digests(USER);
    assert!(first.iter().all(Option::is_some), "{first:?}");
    one_image_alone(&team, &kevin, &mut page, &first);
    let said = kevin.types(&page.next("kiln channel show"));
    assert!(said.contains("envoy-prepare"), "{said}");
    let said = kevin.types(&page.next("kiln channel list"));
    assert!(said.contains(USER), "{said}");
    used(&kevin, &mut page);
    debug_images_have_a_shell(&team);

    refused(&team, &kevin, &mut page);
    promoted(&team, &kevin, &mut page);
    built_by_ci(&team, &kevin, &mut page);
    taken_back(&team, &kevin, &mut page);
    page.ends();
}

fn one_image_alone(team: &Team, kevin: &Person, page: &mut Page, first: &[Option<String>]) {
    kevin.write("images/envoy-prepare/service", "tried out");
    kevin.types(&page.next("kiln channel push envoy-prepare"));
    let second = team.digests(USER);
    let changed: Vec<bool> = first.iter().zip(&second).map(|(a, b)| a != b).collect();
    let is_prepare = |at: usize| at.is_multiple_of(IMAGES.len());
    let expected: Vec<bool> = (0..first.len()).map(is_prepare).collect();
    assert_eq!(changed, expected, "one image, plain and debug");
}

fn used(kevin: &Person, page: &mut Page) {
    for command in ["eval", "echo", "eval", "echo"] {
        kevin.types(&page.next(command));
    }
    kevin.types(&page.next("npm start"));
    assert_eq!(
        kevin.does("cat ../used"),
        "gcr.io/lattice-dev/kevinrosendahl-debug-envoy-prepare"
    );
    // The other way of the document, in which the variable is written in front of the program.
    kevin.types(&page.next("kiln channel env --variant debug --template"));
    kevin.types(&page.next("kiln load"));
    kevin.types(&page.next("docker run"));
    let calls = kevin.calls();
    let run = "docker run --rm --entrypoint /busybox/sh gcr.io/lattice-dev/kevinrosendahl-debug-envoy-prepare";
    assert!(
        calls.contains("docker load") && calls.contains(run),
        "{calls}"
    );
}

/// They are the plain ones with one layer more.
fn debug_images_have_a_shell(team: &Team) {
    for (name, _) in IMAGES {
        let image = |variant: &str| {
            let repository = format!("lattice-dev/{USER}-{variant}{name}");
            testkit::validate_image(&team.registry, &repository, "latest").expect("an image")
        };
        let (plain, debug) = (image(""), image("debug-"));
        let digests = |image: &testkit::ValidImage| -> Vec<String> {
            let layers = image.layers.iter();
            layers.map(|layer| layer.digest.to_string()).collect()
        };
        let (below, all) = (digests(&plain), digests(&debug));
        assert_eq!(all[..below.len()], below, "{name}");
        assert_eq!(all.len(), below.len() + 1, "{name}");
        let names = &debug.layers[below.len()].entries;
        let names: Vec<String> = names.iter().map(testkit::tar::Entry::name).collect();
        assert!(names.contains(&"busybox/sh".to_owned()), "{names:?}");
    }
}

fn refused(team: &Team, kevin: &Person, page: &mut Page) {
    kevin.does("git checkout --quiet -b my-idea");
    team.registry.clear_log();
    kevin.types_with(&page.next("kiln channel push envoy-prepare"), 4);
    let lines = team.registry.lines();
    let is_write = |line: &&String| line.starts_with("PUT") || line.starts_with("POST");
    assert_eq!(lines.iter().find(is_write), None);
    assert!(team.digests("stable").iter().all(Option::is_none));
    // A variable that says CI is no CI.
    kevin.fails("CI=true kiln channel push --channel stable", 4);
    kevin.does("git checkout --quiet master && git commit --quiet --all -m second");
}

fn promoted(team: &Team, kevin: &Person, page: &mut Page) {
    kevin.types(&page.next("git push"));
    kevin.types(&page.next("kiln channel push"));
    let wanted = team.digests(USER);
    let job = team.job("promote");
    // Not even with the right commit from where nobody vouches.
    kevin.fails("kiln channel promote kevinrosendahl stable", 4);
    job.types(&page.next("kiln channel promote kevinrosendahl stable"));
    assert_eq!(team.digests("stable"), wanted);
    kevin.types(&page.next("kiln channel diff"));
    let record = team.record(kevin, "stable");
    assert_eq!(record["origin"]["channel"], USER);
    assert_eq!(record["commit"], *job.does("git rev-parse HEAD"));
    assert_eq!(record["override"], Value::Null);
    assert_eq!(
        record["who"],
        json!({"name": SUBJECT, "verified": true, "issuer": team.google.url()})
    );
    nothing_secret_is_left(&job);
}

/// A job has no key, and keeps none.
fn nothing_secret_is_left(job: &Person) {
    let found = job.does("grep -rl canary \"$HOME\" . || true");
    assert_eq!(found, "");
}

fn built_by_ci(team: &Team, kevin: &Person, page: &mut Page) {
    let before = team.digests("stable");
    kevin.write("images/cli-admin/service", "third");
    kevin.does("git commit --quiet --all -m third && git push --quiet origin master");
    let job = team.job("build");
    job.types(&page.next("kiln channel push --channel stable"));
    let after = team.digests("stable");
    // The one that is changed, in both variants: the others stay as they are.
    let changed = before.iter().zip(&after).filter(|(a, b)| a != b);
    assert_eq!(changed.count(), 2);
    let record = team.record(kevin, "stable");
    assert_eq!(record["commit"], *job.does("git rev-parse HEAD"));
    assert_eq!(record["mixed"], false);
}

fn taken_back(team: &Team, kevin: &Person, page: &mut Page) {
    let now = team.digests("stable");
    kevin.types_with(&page.next("kiln channel rollback stable"), 4);
    kevin.types_with(
        &page.next("kiln channel rollback stable --force-protected=yes"),
        4,
    );
    assert_eq!(team.digests("stable"), now);
    kevin.types(&page.next("kiln channel rollback stable --force-protected=stable"));
    assert_eq!(team.digests("stable"), team.digests(USER));
    kevin.types(&page.next("kiln channel show stable"));
    let overridden = team.record(kevin, "stable")["override"]["rules"].to_string();
    assert!(overridden.contains("ci:"), "{overridden}");
}

/// A mistake that is easily made: the job is not allowed to say who it is.
#[test]
fn a_job_without_permission_is_told_what_it_needs() {
    let page = Page::read("journey-channels.md");
    let team = Team::new(&page);
    team.developer();
    let job = team.job("mute");
    let without = "env -u ACTIONS_ID_TOKEN_REQUEST_URL -u ACTIONS_ID_TOKEN_REQUEST_TOKEN";
    let said = job.fails(&format!("{without} kiln channel push --channel stable"), 1);
    assert!(said.contains("id-token: write"), "{said}");
}

#[test]
fn the_channel_of_a_machine_s_account_is_its_name() {
    let page = Page::read("journey-channels.md");
    let team = Team::new(&page);
    let mut kevin = team.person("nameless");
    kevin.home(".gitconfig", "");
    kevin.write("kiln.yaml", &team.declaration);
    kevin.set("USER", USER);
    let account = kevin.does("whoami");
    let output = kevin.shell("kiln channel env --template '{channel}'");
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match account.as_str() {
        // Nobody's own name.
        "root" | "nobody" | "runner" | "ubuntu" | "jenkins" => {
            assert_ne!(said, account, "{account}");
        }
        own => assert_eq!(said, own),
    }
    kevin.set("KILN_USER", "Kevin.Rosendahl");
    let prefix = kevin.does("kiln channel env --template '{repo_prefix}'");
    assert_eq!(prefix, "kevin.rosendahl-");
}
