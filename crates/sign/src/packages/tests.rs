//! Listings of every kind: what they list, and that bytes of any kind do no harm.

use proptest::prelude::*;

use super::*;

fn debian() -> Distribution {
    Distribution {
        id: "debian".to_owned(),
        version: "12".to_owned(),
    }
}

/// Reads a file and shows what it lists, a line for each.
fn check(path: &str, text: &str, expected: &[&str]) {
    let listing = Listing::of(path.as_bytes()).expect("a listing");
    let found = read(listing, text.as_bytes(), Some(&debian())).expect("a good listing");
    let found: Vec<&str> = found.iter().map(|package| package.purl.as_str()).collect();
    assert_eq!(found, expected, "{path}");
}

#[test]
fn files_are_known_by_their_names() {
    let check = |path: &str, expected: Option<Listing>| {
        assert_eq!(Listing::of(path.as_bytes()), expected, "{path}");
    };
    check("var/lib/dpkg/status", Some(Listing::Dpkg));
    check("var/lib/dpkg/status.d/base-files", Some(Listing::Dpkg));
    check("var/lib/dpkg/status.d/base-files.md5sums", None);
    check("home/var/lib/dpkg/status", None);
    check("lib/apk/db/installed", Some(Listing::Apk));
    check(
        "usr/lib/sysimage/rpm/rpmdb.sqlite",
        Some(Listing::RpmSqlite),
    );
    check("usr/lib/sysimage/rpm/Packages.db", Some(Listing::RpmNdb));
    check("var/lib/rpm/Packages", Some(Listing::RpmBerkeley));
    check("srv/Packages", None);
    check("app/node_modules/a/package.json", Some(Listing::NpmPackage));
    check(
        "app/node_modules/@s/a/package.json",
        Some(Listing::NpmPackage),
    );
    check("app/node_modules/a/lib/package.json", None);
    check("app/package.json", None);
    check(
        "usr/lib/python3/dist-packages/a-1.dist-info/METADATA",
        Some(Listing::PythonMetadata),
    );
    check("METADATA", None);
    check("go.mod", Some(Listing::GoMod));
    check(
        "app/vendor/composer/installed.json",
        Some(Listing::Composer),
    );
    check("etc/os-release", Some(Listing::OsRelease));
    assert_eq!(Listing::of(b"\xff/Cargo.lock"), None);
}

#[test]
fn dpkg() {
    let text = "Package: bash\nStatus: install ok installed\nVersion: 5.2.15-2+b7\nArchitecture: amd64\nDescription: a\n Package: no\n .\n more\n\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\r\nPackage: tzdata\nVersion: 2024a\n";
    check(
        "var/lib/dpkg/status",
        text,
        &[
            "pkg:deb/debian/bash@5.2.15-2%2Bb7?arch=amd64&distro=debian-12",
            "pkg:deb/debian/tzdata@2024a?distro=debian-12",
        ],
    );
}

#[test]
fn apk() {
    let text = "C:Q1=\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:ld\n\nP:zlib\nV:1\nA:x86_64\nF:V:2\n\n";
    check(
        "lib/apk/db/installed",
        text,
        &[
            "pkg:apk/debian/musl@1.2.4-r2?arch=x86_64&distro=debian-12",
            "pkg:apk/debian/zlib@1?arch=x86_64&distro=debian-12",
        ],
    );
}

#[test]
fn lock_files_of_rust_and_python() {
    let text = "version = 4\n[[package]]\nname = \"Zope.Interface_x\"\nversion = \"1.0\"\n[[package]]\nname = \"own\"\nversion = \"0.1\"\nsource = \"git+https://a.example/b?rev=1#2\"\n";
    check(
        "Cargo.lock",
        text,
        &[
            "pkg:cargo/Zope.Interface_x@1.0",
            "pkg:cargo/own@0.1?vcs_url=https:%2F%2Fa.example%2Fb%3Frev%3D1%232",
        ],
    );
    check(
        "srv/uv.lock",
        text,
        &["pkg:pypi/zope-interface-x@1.0", "pkg:pypi/own@0.1"],
    );
    let pipfile = r#"{"_meta": {}, "default": {"a": {"version": "==1"}}, "develop": {"b": {}}}"#;
    check("Pipfile.lock", pipfile, &["pkg:pypi/a@1", "pkg:pypi/b"]);
    let text = "# all\nflask==3.0.0 ; python_version > '3'\nrequests[socks]==2.31 \\\n    --hash=sha256:0\nloose>=1\n-r other.txt\n-e git+https://a.example/==x\n";
    check(
        "requirements.txt",
        text,
        &["pkg:pypi/flask@3.0.0", "pkg:pypi/requests@2.31"],
    );
    let text = "Metadata-Version: 2.1\nName: Jinja2\nVersion: 3.1\nLicense: BSD\n\nName: not me\n";
    check(
        "x/Jinja2-3.1.dist-info/METADATA",
        text,
        &["pkg:pypi/jinja2@3.1"],
    );
}

#[test]
fn lock_files_of_node() {
    let text = r#"{"lockfileVersion": 3, "packages": {
        "": {"name": "own", "version": "1"},
        "node_modules/@s/a": {"version": "1.0.0", "license": "MIT"},
        "node_modules/b/node_modules/c": {"version": "2.0.0"},
        "node_modules/alias": {"name": "real", "version": "3.0.0"},
        "node_modules/w": {"link": true}
    }}"#;
    check(
        "package-lock.json",
        text,
        &[
            "pkg:npm/%40s/a@1.0.0",
            "pkg:npm/real@3.0.0",
            "pkg:npm/c@2.0.0",
        ],
    );
    let text = r#"{"lockfileVersion": 1, "dependencies": {"a": {"version": "1", "dependencies": {"b": {"version": "2"}}}}}"#;
    check("npm-shrinkwrap.json", text, &["pkg:npm/a@1", "pkg:npm/b@2"]);
    check(
        "node_modules/a/package.json",
        r#"{"name": "a", "version": "1"}"#,
        &["pkg:npm/a@1"],
    );
    check(
        "node_modules/a/package.json",
        r#"{"name": "a", "type": "module"}"#,
        &[],
    );
    let text = "# yarn lockfile v1\n\n\"@s/a@^1.0\", \"@s/a@^1.2\":\n  version \"1.2.3\"\n  dependencies:\n    version \"9\"\n\nb@1:\n  version \"1.0.0\"\n";
    check(
        "yarn.lock",
        text,
        &["pkg:npm/%40s/a@1.2.3", "pkg:npm/b@1.0.0"],
    );
    let text = "__metadata:\n  version: 8\n\n\"@s/a@npm:^1.0\":\n  version: 1.2.3\n  resolution: \"@s/a@npm:1.2.3\"\n\n\"own@workspace:.\":\n  version: 0.0.0-use.local\n";
    check("yarn.lock", text, &["pkg:npm/%40s/a@1.2.3"]);
    let text = "lockfileVersion: '9.0'\nimporters:\n  .:\n    dependencies:\npackages:\n\n  '@s/a@1.0.0':\n    resolution: {integrity: x}\n  b@2.0.0(react@17.0.0): {}\n  /c@3.0.0:\n    dev: true\n  /d/4.0.0_react@17:\n    dev: true\n  /@s/e/5.0.0:\n    dev: true\nsnapshots:\n  z@1.0.0: {}\n";
    check(
        "pnpm-lock.yaml",
        text,
        &[
            "pkg:npm/%40s/a@1.0.0",
            "pkg:npm/b@2.0.0",
            "pkg:npm/c@3.0.0",
            "pkg:npm/d@4.0.0",
            "pkg:npm/%40s/e@5.0.0",
        ],
    );
}

#[test]
fn modules_of_go() {
    let text = "module a.example/own\ngo 1.22\nrequire a.example/b v1.0.0 // indirect\nrequire (\n\ta.example/c v2.0.0\n\ta.example/d v3.0.0\n)\nreplace a.example/c => a.example/fork v2.1.0\nreplace a.example/d v3.0.0 => ../d\n";
    check(
        "src/go.mod",
        text,
        &[
            "pkg:golang/a.example/b@v1.0.0",
            "pkg:golang/a.example/fork@v2.1.0",
            "pkg:golang/a.example/d@v3.0.0",
        ],
    );
    let text = "a.example/b v1.0.0 h1:x=\na.example/b v1.0.0/go.mod h1:y=\na.example/c v1.0.0/go.mod h1:z=\n";
    check("go.sum", text, &["pkg:golang/a.example/b@v1.0.0"]);
}

#[test]
fn lock_files_of_ruby_and_php() {
    let text = "GEM\n  remote: https://rubygems.org/\n  specs:\n    nokogiri (1.15.0-x86_64-linux)\n      racc (~> 1.4)\n    racc (1.7)\n\nDEPENDENCIES\n  nokogiri\n    odd (1)\n";
    check(
        "Gemfile.lock",
        text,
        &[
            "pkg:gem/nokogiri@1.15.0?platform=x86_64-linux",
            "pkg:gem/racc@1.7",
        ],
    );
    let text = r#"{"packages": [{"name": "v/a", "version": "1.0", "license": ["MIT"]}], "packages-dev": [{"name": "v/b"}]}"#;
    check(
        "composer.lock",
        text,
        &["pkg:composer/v/a@1.0", "pkg:composer/v/b"],
    );
}

/// A program of Go: a head with one segment that can be written to, and what Go leaves there.
fn program(wide: bool, modules: &str) -> Vec<u8> {
    let mut head = vec![0; 512];
    head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1]);
    let put = |head: &mut Vec<u8>, place: usize, number: u64, bytes: usize| {
        head[place..place + bytes].copy_from_slice(&number.to_le_bytes()[..bytes]);
    };
    let (table, size, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
    put(&mut head, table, 64, 4);
    put(&mut head, size, 56, 2);
    put(&mut head, count, 2, 2);
    // The first segment holds code, the second one data.
    let (flags, offset) = if wide { (4, 8) } else { (24, 4) };
    for (number, (flag, place)) in [(5, 0), (6, 512)].into_iter().enumerate() {
        let entry = 64 + 56 * number;
        put(&mut head, entry, 1, 4);
        put(&mut head, entry + flags, flag, 4);
        put(&mut head, entry + offset, place, 4);
    }
    head.extend([0; 48]);
    head.extend(b"\xff Go buildinf:\x08\x02");
    head.extend([0; 16]);
    let mut text = |text: &str| {
        let mut length = text.len();
        while length >= 0x80 {
            head.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        head.push(length as u8);
        head.extend(text.bytes());
    };
    text("go1.22.1");
    text(&format!("0123456789abcdef{modules}\n0123456789abcdef"));
    head
}

#[test]
fn programs_of_go_say_what_they_are_made_of() {
    let modules = "path\ta.example/own/cmd\nmod\ta.example/own\t(devel)\t\ndep\ta.example/b\tv1.0.0\th1:x=\ndep\ta.example/c\tv1.0.0\n=>\ta.example/fork\tv2.0.0\th1:y=\nbuild\tGOOS=linux";
    for wide in [true, false] {
        let program = program(wide, modules);
        let range = go_program::data(&program).expect("a program");
        assert_eq!(range.start, 512);
        let found = go_program::read(&program[512..]);
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.kind, one.purl.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (PackageKind::GoProgram, "pkg:golang/a.example/own"),
                (PackageKind::Go, "pkg:golang/a.example/b@v1.0.0"),
                (PackageKind::Go, "pkg:golang/a.example/fork@v2.0.0"),
            ]
        );
    }
    assert_eq!(go_program::data(b"#!/bin/sh\n"), None);
    assert!(go_program::read(&[0; 4096]).is_empty());
}

#[test]
fn what_cannot_be_a_name_is_left_out() {
    let long = "x".repeat(WORD_BYTES_MAX + 1);
    for name in ["", " ", "a\u{7}b", long.as_str()] {
        let text = format!("Package: {name}\nVersion: 1\n");
        let found = read(Listing::Dpkg, text.as_bytes(), None).expect("a listing");
        assert_eq!(found, [], "{name:?}");
    }
}

#[test]
fn listings_that_are_none_are_errors() {
    let check = |path: &str, bytes: &[u8], expected: &str| {
        let listing = Listing::of(path.as_bytes()).expect("a listing");
        let error = read(listing, bytes, None).expect_err("an error");
        assert_eq!(error.to_string(), expected, "{path}");
    };
    check("Cargo.lock", b"[[package", "it is not TOML");
    check("package-lock.json", b"{", "it is not JSON");
    check(
        "composer.lock",
        "[".repeat(100_000).as_bytes(),
        "it is not JSON",
    );
    check(
        "var/lib/rpm/rpmdb.sqlite",
        b"junk",
        "it is not an SQLite database",
    );
    check(
        "var/lib/rpm/Packages",
        b"",
        "a database of rpm in the form Berkeley DB is not read",
    );
    let many = "Package: a\nVersion: 1\n\n".repeat(PACKAGES_MAX + 1);
    check(
        "var/lib/dpkg/status",
        many.as_bytes(),
        "it lists more than 100000 packages",
    );
}

const RPM_DATABASE: &[u8] = include_bytes!("rpm/fixture.sqlite");

#[test]
fn a_database_of_rpm_that_sqlite_wrote() {
    let found = read(Listing::RpmSqlite, RPM_DATABASE, Some(&debian())).expect("a database");
    assert_eq!(found.len(), 60, "over pages of several levels");
    assert_eq!(
        found[0].purl,
        "pkg:rpm/debian/package-000@1.0-1?arch=noarch&distro=debian-12"
    );
    // The header of this one goes on over several pages.
    assert_eq!(
        found[7].license.as_deref().map(str::len),
        Some(SENTENCE_BYTES_MAX)
    );
}

const ALL: [Listing; 19] = [
    Listing::OsRelease,
    Listing::Dpkg,
    Listing::Apk,
    Listing::RpmSqlite,
    Listing::RpmNdb,
    Listing::RpmBerkeley,
    Listing::CargoLock,
    Listing::NpmLock,
    Listing::NpmPackage,
    Listing::YarnLock,
    Listing::PnpmLock,
    Listing::PythonLock,
    Listing::PipfileLock,
    Listing::Requirements,
    Listing::PythonMetadata,
    Listing::GoMod,
    Listing::GoSum,
    Listing::GemfileLock,
    Listing::Composer,
];

proptest! {
    #[test]
    fn bytes_of_any_kind_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        for listing in ALL {
            let _ = read(listing, &bytes, None);
        }
        let _ = go_program::data(&bytes);
        let _ = go_program::read(&bytes);
        let _ = Distribution::read(&bytes);
    }

    #[test]
    fn text_of_any_kind_does_no_harm(text in "(?s)[a-z@/:=\"'(){}\\[\\]., \n\t-]{0,400}") {
        for listing in ALL {
            if let Ok(packages) = read(listing, text.as_bytes(), Some(&debian())) {
                for package in packages {
                    prop_assert!(package.is_usable());
                    prop_assert!(package.purl.starts_with("pkg:"));
                }
            }
        }
    }

    #[test]
    fn a_damaged_database_does_no_harm(
        damage in proptest::collection::vec((0..RPM_DATABASE.len(), any::<u8>()), 1..40),
        length in 0..RPM_DATABASE.len(),
    ) {
        let mut bytes = RPM_DATABASE.to_vec();
        for (place, byte) in damage {
            bytes[place] = byte;
        }
        let _ = read(Listing::RpmSqlite, &bytes, None);
        bytes.truncate(length);
        let _ = read(Listing::RpmSqlite, &bytes, None);
    }

    #[test]
    fn a_damaged_program_does_no_harm(
        damage in proptest::collection::vec((0_usize..800, any::<u8>()), 1..20),
    ) {
        let mut bytes = program(true, &"dep\ta\tv1\n".repeat(40));
        for (place, byte) in damage {
            if let Some(at) = bytes.get_mut(place) {
                *at = byte;
            }
        }
        if let Some(range) = go_program::data(&bytes) {
            let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(bytes.len());
            let _ = go_program::read(&bytes[start..]);
        }
    }
}
