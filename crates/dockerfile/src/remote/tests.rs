//! Words, and what they are.

use super::*;

/// `path`, `http URL name`, `git REPOSITORY REF DIRECTORY …`, or what the error says.
fn describe(word: &str, written: Written) -> String {
    match Remote::parse(word, written) {
        Ok(None) => "path".to_owned(),
        Ok(Some(Remote::Http(HttpAddress { url, file_name }))) => format!("http {url} {file_name}"),
        Ok(Some(Remote::Git(address))) => {
            let GitAddress {
                repository,
                transport: _,
                reference,
                subdirectory,
                checksum,
                submodules,
                keep_git_dir,
            } = address;
            let mut text = format!("git {repository}");
            let reference = reference.map(|text| format!(" ref={text}"));
            let subdirectory = (!subdirectory.is_empty()).then(|| format!(" dir={subdirectory}"));
            let checksum = checksum.map(|text| format!(" sum={text}"));
            let submodules = submodules.map(|yes| format!(" submodules={yes}"));
            let keep = keep_git_dir.map(|yes| format!(" keep={yes}"));
            for part in [reference, subdirectory, checksum, submodules, keep] {
                text.push_str(&part.unwrap_or_default());
            }
            text
        }
        Err(error) => format!("error: {error}"),
    }
}

fn check(table: &[(&str, &str)], written: Written) {
    for (word, expected) in table {
        assert_eq!(describe(word, written), *expected, "{word:?}");
    }
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Rows: C24, C25
#[test]
fn words_of_add() {
    let table = [
        ("a.txt", "path"),
        ("./git@host:x", "path"),
        ("dir/sub", "path"),
        ("github.com/a/b", "path"),
        ("a@b", "path"),
        ("a b@c:d", "path"),
        ("", "path"),
        ("c:/windows", "path"),
        ("http://h/a/b.txt", "http http://h/a/b.txt b.txt"),
        ("HTTPS://h/a", "http HTTPS://h/a a"),
        ("https://h", "http https://h __unnamed__"),
        ("https://h/", "http https://h/ __unnamed__"),
        ("https://h/a/", "http https://h/a/ a"),
        ("https://h/a/..", "http https://h/a/.. __unnamed__"),
        ("https://h/%2e%2e", "http https://h/%2e%2e __unnamed__"),
        ("https://h/a%2fb", "http https://h/a%2fb __unnamed__"),
        ("https://h/a%20b", "http https://h/a%20b a b"),
        ("https://h/a?x=/y", "http https://h/a?x=/y a"),
        ("https://h/a#part", "http https://h/a a"),
        ("https://u:p@h:8443/a", "http https://u:p@h:8443/a a"),
        ("http://[::1]:80/a", "http http://[::1]:80/a a"),
        ("https://h/a.git", "git https://h/a.git"),
        ("https://h/a.git/", "http https://h/a.git/ a.git"),
        ("https://h/a.git#v1", "git https://h/a.git ref=v1"),
        (
            "https://h/a.git#v1:b/c",
            "git https://h/a.git ref=v1 dir=b/c",
        ),
        ("https://h/a.git#:b", "git https://h/a.git dir=b"),
        ("https://h/a.git#:/b/./c/", "git https://h/a.git dir=b/c"),
        ("git://h/a", "git git://h/a"),
        ("ssh://git@h:22/a", "git ssh://git@h:22/a"),
        ("git@h:a/b.git", "git git@h:a/b.git"),
        ("git@h:a/b#x:y", "git git@h:a/b ref=x dir=y"),
        ("u.v@h-1.x:a?branch=b", "git u.v@h-1.x:a ref=refs/heads/b"),
    ];
    check(&table, Written::InDockerfile);
}

/// Rows: C25
#[test]
fn queries() {
    let table = [
        ("?ref=a", "git https://h/a.git ref=a"),
        ("?tag=v1", "git https://h/a.git ref=refs/tags/v1"),
        (
            "?tag=refs/tags/v1#refs/tags/v1",
            "git https://h/a.git ref=refs/tags/v1",
        ),
        (
            "?branch=b&subdir=s",
            "git https://h/a.git ref=refs/heads/b dir=s",
        ),
        (
            "?checksum=ABC&submodules=0",
            "git https://h/a.git ref=ABC sum=abc submodules=false",
        ),
        (
            "?keep-git-dir&submodules",
            "git https://h/a.git submodules=true keep=true",
        ),
        ("?keep-git-dir=false", "git https://h/a.git keep=false"),
        ("?mtime=commit", "git https://h/a.git"),
        ("?ref=a%2Fb", "git https://h/a.git ref=a/b"),
        ("?", "git https://h/a.git"),
        (
            "?mtime=now",
            "error: `mtime=now`: expected `checkout` or `commit`",
        ),
        (
            "?submodules=maybe",
            "error: `submodules=maybe`: expected `true` or `false`",
        ),
        (
            "?brnach=a",
            "error: `brnach` is not known in the address of a repository",
        ),
        ("?ref=", "error: `ref` has no value"),
        ("?ref=a&ref=a", "error: `ref` is given twice"),
        (
            "?ref=a#b",
            "error: the address says both the ref `b` and `a`",
        ),
        (
            "?tag=a&branch=a",
            "error: the address says both the ref `refs/tags/a` and `refs/heads/a`",
        ),
        (
            "?subdir=a#:b",
            "error: the address says both the directory `b` and `a`",
        ),
        (
            "?checksum=a&commit=b",
            "error: the address says both the commit `a` and `b`",
        ),
        (
            "?fetch-by-commit",
            "error: `fetch-by-commit=true`: expected a whole commit in `checksum` beside it",
        ),
        ("?ref=%zz", "error: `%zz` has a `%` that stands for nothing"),
        (
            "?checksum=xyz",
            "error: `xyz` is not a commit, nor the beginning of one: it must be of hexadecimal \
             digits",
        ),
    ];
    for (query, expected) in table {
        let word = format!("https://h/a.git{query}");
        // What the checksum says is also what is looked for, as it was written or not.
        let described = describe(&word, Written::InDockerfile).replace("ref=abc", "ref=ABC");
        assert_eq!(described, expected, "{word}");
    }
    let word = format!("https://h/a.git?ref=main&checksum={COMMIT}&fetch-by-commit=1");
    let expected = format!("git https://h/a.git ref={COMMIT} sum={COMMIT}");
    assert_eq!(describe(&word, Written::InDockerfile), expected);
}

/// What would be taken for an option, for a program, or for something of this machine.
#[test]
fn smuggled() {
    let table = [
        (
            "https://h/a.git#--upload-pack=touch",
            "error: the ref `--upload-pack=touch` begins with `-`, as options do",
        ),
        (
            "https://h/a.git?ref=-x",
            "error: the ref `-x` begins with `-`, as options do",
        ),
        (
            "ssh://-oProxyCommand=x/a",
            "error: the host `-oProxyCommand=x` begins with `-`, as options do",
        ),
        (
            "ssh://-l@h/a",
            "error: the user `-l` begins with `-`, as options do",
        ),
        (
            "-Ffile@host:a",
            "error: the user `-Ffile` begins with `-`, as options do",
        ),
        (
            "git@h:-x",
            "error: the path `-x` begins with `-`, as options do",
        ),
        (
            "git@-h:x",
            "error: the host `-h` begins with `-`, as options do",
        ),
        (
            "ssh://h/-x",
            "error: the path `-x` begins with `-`, as options do",
        ),
        (
            "ext::sh -c id",
            "error: git's transport `ext::` runs programs or reads what it likes, and is never \
             used",
        ),
        (
            "fd::17",
            "error: git's transport `fd::` runs programs or reads what it likes, and is never used",
        ),
        (
            "file:///etc",
            "error: a Dockerfile cannot name files of this machine with `file://`",
        ),
        (
            "ftp://h/a",
            "error: `ftp` is not a scheme that files can be fetched with: http, https, git and \
             ssh are",
        ),
        (
            "https://h/a.git#a\nb",
            "error: the address has a blank or a control character in it",
        ),
        (
            r"http://h:80\@evil/x",
            "error: the address has a backslash before its path, where nobody agrees on what it \
             means",
        ),
        (
            "git@host://path.git",
            "error: `git@host` is not a scheme that files can be fetched with: http, https, git \
             and ssh are",
        ),
        (
            "https://h/a.git#a%0ab",
            "error: the address has a blank or a control character in it",
        ),
        (
            "https://h/a.git?ref=a%20b",
            "error: the address has a blank or a control character in it",
        ),
        (
            "https://h/a b",
            "error: the address has a blank or a control character in it",
        ),
        ("https:///a", "error: the address names no host"),
        ("https://h:x/a", "error: `h:x` is not the name of a host"),
        (
            "https://h:99999/a",
            "error: `h:99999` is not the name of a host",
        ),
        ("https://[::1/a", "error: `[::1` is not the name of a host"),
        (
            "https://h$(id)/a",
            "error: `h$(id)` is not the name of a host",
        ),
        ("git://h", "error: the address names no repository"),
        ("git@h:", "error: the address names no repository"),
        (
            "git://h/a#:../b",
            "error: the directory `../b` leads out of the repository",
        ),
        (
            "git://h/a#:.git/hooks",
            "error: the directory `.git/hooks` leads out of the repository",
        ),
    ];
    check(&table, Written::InDockerfile);
    for wrong in [
        "a..b", "a~1", "a^", "a?b", "*", "[a]", "a@{1}", ".a", "a.lock", "a//b", "a/",
    ] {
        let word = format!("git://h/a?ref={}", wrong.replace('?', "%3f"));
        let expected =
            format!("error: `{wrong}` cannot be the name of a branch, a tag or a commit");
        assert_eq!(describe(&word, Written::InDockerfile), expected);
    }
    let long = format!("https://h/{}", "a".repeat(ADDRESS_BYTES_MAX));
    assert_eq!(
        Remote::parse(&long, Written::ByUser),
        Err(RemoteError::Long)
    );
}

#[test]
fn words_of_the_user() {
    let table = [
        ("github.com/a/b", "git https://github.com/a/b"),
        (
            "github.com/a/b#c:d",
            "git https://github.com/a/b ref=c dir=d",
        ),
        ("file:///srv/a.git#b", "git file:///srv/a.git ref=b"),
        ("file://host/a", "error: `host` is not the name of a host"),
        ("ctx", "path"),
        ("https://h/a.tar", "http https://h/a.tar a.tar"),
    ];
    check(&table, Written::ByUser);
}

#[test]
fn credentials_are_not_shown() {
    let check = |address: &str, expected: &str| assert_eq!(without_credentials(address), expected);
    check("https://u:p@h/a", "https://xxxxx@h/a");
    check("HTTPS://token:x-oauth-basic@h/a", "HTTPS://xxxxx@h/a");
    check("https://token@h/a@b:c", "https://xxxxx@h/a@b:c");
    check("ssh://git@h/a", "ssh://git@h/a");
    check("ssh://git:p@h/a", "ssh://git:xxxxx@h/a");
    check("https://h/a?b=c@d:e", "https://h/a?b=c@d:e");
    check("git@h:a", "git@h:a");
}

mod anything {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// No part of what comes out begins with `-`, and nothing panics.
        #[test]
        fn no_part_is_an_option(word in "(https|ssh|git|git@|-|:|/|#|\\?|ref=|a|\\.git|%2d|%|@|\\.\\.){0,12}") {
            for written in [Written::InDockerfile, Written::ByUser] {
                if let Ok(Some(Remote::Git(address))) = Remote::parse(&word, written) {
                    prop_assert!(!address.repository.starts_with('-'));
                    prop_assert!(!address.reference.unwrap_or_default().starts_with('-'));
                    prop_assert!(!address.subdirectory.split('/').any(|part| part == ".."));
                }
            }
        }
    }
}
