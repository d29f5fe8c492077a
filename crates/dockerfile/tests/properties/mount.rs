//! A mount is read the same however its fields are quoted, whoever asks for its `from` gets what it
//! says, and whatever is wrong with it is a place in its text.

use dockerfile::mount::{self, CacheSharing, Mount, MountFileOwner};
use dockerfile::{Diagnostic, Span, Spanned};

/// Panics where the property does not hold of `input`.
pub(crate) fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    // Not at the beginning of a file, as they never are.
    let whole = Span::new(7, 7 + text.len());
    let text = Spanned::new(text.to_owned(), whole);
    let inside = |span: Span| {
        assert!(span.start >= whole.start && span.end <= whole.end && span.start <= span.end);
        let (start, end) = (span.start - whole.start, span.end - whole.start);
        assert!(text.value.get(start..end).is_some(), "{span:?} of {text:?}");
    };
    let mut expand = |word: &Spanned<String>| -> Result<String, Diagnostic> {
        inside(word.span);
        match word.value.as_str() {
            "$wrong" => Err(Diagnostic::error(word.span, "wrong", "here")),
            other => Ok(other.to_owned()),
        }
    };
    let from = mount::from_word(&text);
    let read = mount::parse(&text, &mut expand);
    match read {
        Err(findings) => {
            assert!(!findings.is_empty(), "{text:?} is wrong without a reason");
            for finding in findings {
                inside(finding.span);
                assert!(!finding.message.is_empty());
            }
        }
        Ok((mount, warnings)) => {
            for warning in warnings {
                inside(warning.span);
            }
            let fields = fields(&mount, &inside);
            let said = fields.iter().find(|(name, _)| *name == "from");
            assert_eq!(
                said.map(|(_, value)| value.as_str()),
                from.as_ref().map(|from| from.value.as_str()),
                "{text:?}"
            );
            for quote in [true, false] {
                let again = written(&fields, quote);
                let Some(again) = again else { continue };
                let text = Spanned::new(again.clone(), Span::new(0, again.len()));
                let mut plain = |word: &Spanned<String>| Ok(word.value.clone());
                let read = mount::parse(&text, &mut plain);
                let (read, warnings) =
                    read.unwrap_or_else(|findings| panic!("{again}: {findings:?}"));
                assert_eq!(warnings, [], "{again}");
                assert_eq!(self::fields(&read, &|_| ()), fields, "{again}");
            }
        }
    }
}

/// The fields with their values between commas; none where a value needs quotes and there are to
/// be none.
fn written(fields: &[(&'static str, String)], quote: bool) -> Option<String> {
    let mut words = Vec::new();
    for (name, value) in fields {
        if quote {
            words.push(format!("\"{name}={}\"", value.replace('"', "\"\"")));
        } else if value.contains(['"', ',']) {
            return None;
        } else {
            words.push(format!("{name}={value}"));
        }
    }
    Some(words.join(","))
}

/// A target, unless none was said, which is an empty one.
fn said(target: &Spanned<String>) -> Option<&Spanned<String>> {
    (!target.value.is_empty()).then_some(target)
}

/// Every field that a mount was given, or that says the same.
fn fields(mount: &Mount, inside: &dyn Fn(Span)) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut add = |name: &'static str, value: Option<&Spanned<String>>| {
        if let Some(value) = value {
            inside(value.span);
            assert!(!value.value.is_empty(), "{name} is empty");
            found.push((name, value.value.clone()));
        }
    };
    let (mut owner, mut switches) = (MountFileOwner::default(), Vec::new());
    match mount {
        Mount::Bind(bind) => {
            add("target", said(&bind.target));
            add("source", bind.source.as_ref());
            add("from", bind.from.as_ref());
            switches.push(("type", "bind".to_owned()));
            switches.push(("rw", bind.writable.to_string()));
        }
        Mount::Cache(cache) => {
            add("target", said(&cache.target));
            add("id", cache.id.as_ref());
            add("source", cache.source.as_ref());
            add("from", cache.from.as_ref());
            owner = cache.owner;
            let sharing = match cache.sharing {
                CacheSharing::Shared => "shared",
                CacheSharing::Private => "private",
                CacheSharing::Locked => "locked",
            };
            switches.push(("sharing", sharing.to_owned()));
            switches.push(("type", "cache".to_owned()));
            switches.push(("ro", cache.read_only.to_string()));
        }
        Mount::Tmpfs(tmpfs) => {
            add("target", said(&tmpfs.target));
            switches.push(("type", "tmpfs".to_owned()));
            if let Some(bytes) = tmpfs.bytes_max {
                switches.push(("size", bytes.to_string()));
            }
        }
        Mount::Secret(secret) => {
            assert!(secret.id.is_some() || secret.target.is_some());
            add("id", secret.id.as_ref());
            add("target", secret.target.as_ref());
            add("env", secret.variable.as_ref());
            owner = secret.owner;
            switches.push(("type", "secret".to_owned()));
            switches.push(("required", secret.required.to_string()));
        }
        Mount::Ssh(ssh) => {
            add("id", ssh.id.as_ref());
            add("target", ssh.target.as_ref());
            owner = ssh.owner;
            switches.push(("type", "ssh".to_owned()));
            switches.push(("required", ssh.required.to_string()));
        }
    }
    let MountFileOwner { mode, uid, gid } = owner;
    found.extend(switches);
    found.extend(mode.map(|mode| ("mode", format!("{mode:o}"))));
    found.extend(uid.map(|uid| ("uid", uid.to_string())));
    found.extend(gid.map(|gid| ("gid", gid.to_string())));
    found
}
