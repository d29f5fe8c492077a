//! What a word is taken for: nothing that a program would read as an option, no name that leads
//! out of a directory, and the same again when the parts are put together.

use dockerfile::remote::{
    GitAddress, GitTransport, HttpAddress, Remote, Written, without_credentials,
};

/// Checks everything for any bytes.
pub(crate) fn holds(input: &[u8]) {
    let Ok(word) = std::str::from_utf8(input) else {
        return;
    };
    let in_dockerfile = Remote::parse(word, Written::InDockerfile);
    let by_user = Remote::parse(word, Written::ByUser);
    // The user may say what a Dockerfile may; a Dockerfile never reaches this machine's files.
    if let Ok(Some(remote)) = &in_dockerfile {
        assert_eq!(by_user.as_ref(), Ok(&Some(remote.clone())), "{word:?}");
        if let Remote::Git(git) = remote {
            assert_ne!(git.transport, GitTransport::File, "{word:?}");
        }
    }
    match by_user {
        Ok(Some(Remote::Http(address))) => file(word, &address),
        Ok(Some(Remote::Git(address))) => repository(word, &address),
        Ok(None) | Err(_) => {}
    }
}

fn file(word: &str, HttpAddress { url, file_name }: &HttpAddress) {
    let name = file_name.as_str();
    assert!(!matches!(name, "" | "." | ".."), "{word:?}");
    assert!(!name.contains(['/', '\0']), "{word:?}");
    assert!(!url.contains('#'), "{word:?}");
    assert!(!url.contains(char::is_whitespace), "{word:?}");
    let again = Remote::parse(url, Written::InDockerfile).expect("what was taken is taken");
    assert!(matches!(again, Some(Remote::Http(again)) if again.url == *url));
    hides_passwords(url);
}

fn repository(word: &str, address: &GitAddress) {
    let url = address.repository.as_str();
    let options = [Some(url), address.reference.as_deref()];
    for text in options.into_iter().flatten() {
        assert!(!text.starts_with('-'), "{word:?}: {text}");
        assert!(!text.contains(char::is_control), "{word:?}: {text}");
        assert!(!text.contains(char::is_whitespace), "{word:?}: {text}");
    }
    // What ssh gets as the name of a user and of a host, and as the path on the other side.
    let (place, end) = match url.split_once("://") {
        Some((_, rest)) => (rest, '/'),
        None => (url, ':'),
    };
    let (authority, path) = place.split_once(end).expect("there is a path");
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    for text in [user, host, path.trim_start_matches('/')] {
        assert!(!text.starts_with('-'), "{word:?}: {text}");
    }
    assert!(
        !url.split_once("::").is_some_and(|(helper, _)| {
            // gitremote-helpers(7): only such names are looked for as programs.
            !helper.is_empty()
                && helper
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        }),
        "{word:?}: {url}"
    );
    let directory = address.subdirectory.as_str();
    assert!(!directory.starts_with('/'), "{word:?}: {directory}");
    if !directory.is_empty() {
        let mut parts = directory.split('/');
        assert!(
            parts.all(|part| !matches!(part, "" | "." | "..")),
            "{word:?}: {directory}"
        );
    }
    if let Some(checksum) = &address.checksum {
        let digits = checksum
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
        assert!(digits && !checksum.is_empty(), "{word:?}: {checksum}");
    }
    hides_passwords(url);
}

/// What is shown has no more to hide.
fn hides_passwords(url: &str) {
    let shown = without_credentials(url);
    assert_eq!(without_credentials(&shown), shown);
}
