//! Values of `--mount`, what they are read as, and where their mistakes are pointed at.

use super::*;

/// What a value is read as; a finding is shown with the text that it points at.
fn read(text: &str) -> String {
    let offset = 7;
    let spanned = Spanned::new(text.to_owned(), Span::new(offset, offset + text.len()));
    let mut expand = |word: &Spanned<String>| Ok(word.value.replace("$V", "value"));
    let shown = |finding: &Diagnostic| {
        let range = finding.span.start - offset..finding.span.end - offset;
        let help = finding.help.as_ref();
        let help = help.map(|help| format!("; {help}")).unwrap_or_default();
        format!("`{}`: {}{help}", &text[range], finding.message)
    };
    match parse(&spanned, &mut expand) {
        Ok((mount, warnings)) => {
            let lines = warnings.iter().map(shown);
            let lines = lines.chain([show(&mount)]);
            lines.collect::<Vec<_>>().join("\n")
        }
        Err(findings) => findings.iter().map(shown).collect::<Vec<_>>().join("\n"),
    }
}

fn show(mount: &Mount) -> String {
    let word = |name: &str, word: &Option<Spanned<String>>| {
        let word = word.as_ref().map(|word| format!(" {name}={}", word.value));
        word.unwrap_or_default()
    };
    let owner = |owner: &MountFileOwner| {
        let MountFileOwner { mode, uid, gid } = owner;
        let mode = mode.map(|mode| format!(" {mode:o}"));
        let uid = uid.map(|uid| format!(" u{uid}"));
        let gid = gid.map(|gid| format!(" g{gid}"));
        [mode, uid, gid].into_iter().flatten().collect::<String>()
    };
    let switch = |name: &str, on: bool| {
        if on {
            format!(" {name}")
        } else {
            String::new()
        }
    };
    match mount {
        Mount::Bind(bind) => format!(
            "bind {}{}{}{}",
            bind.target.value,
            word("source", &bind.source),
            word("from", &bind.from),
            switch("rw", bind.writable)
        ),
        Mount::Cache(cache) => format!(
            "cache {} {:?}{}{}{}{}{}",
            cache.target.value,
            cache.sharing,
            word("id", &cache.id),
            word("source", &cache.source),
            word("from", &cache.from),
            owner(&cache.owner),
            switch("ro", cache.read_only)
        ),
        Mount::Tmpfs(tmpfs) => format!("tmpfs {} {:?}", tmpfs.target.value, tmpfs.bytes_max),
        Mount::Secret(secret) => format!(
            "secret{}{}{}{}{}",
            word("id", &secret.id),
            word("target", &secret.target),
            word("env", &secret.variable),
            owner(&secret.owner),
            switch("required", secret.required)
        ),
        Mount::Ssh(ssh) => format!(
            "ssh{}{}{}{}",
            word("id", &ssh.id),
            word("target", &ssh.target),
            owner(&ssh.owner),
            switch("required", ssh.required)
        ),
    }
}

/// Rows: R7, R8, R9, R10, R11, V1, F8
#[test]
fn mounts_are_read() {
    let check = |text: &str, expected: &str| assert_eq!(read(text), expected, "{text}");
    check("target=/a", "bind /a");
    check("from=a,rw", "bind  from=a rw");
    check("type=tmpfs", "tmpfs  None");
    let ignored = "`id=x`: a mount of type bind has no field `id`; remove it\nbind /a";
    check("target=/a,id=x", ignored);
    check(
        "type=bind,dst=/a,src=b,from=c,rw",
        "bind /a source=b from=c rw",
    );
    check("TYPE=BIND,Destination=/a,readwrite=true", "bind /a rw");
    check("target=/a,ro=false", "bind /a rw");
    check("target=/a,rw=0,ro", "bind /a");
    check(
        "target=/$V,source=$V,from=0",
        "bind /value source=value from=0",
    );
    check(
        "\"target=/a,b\",\"source=\"\"q\"\"\"",
        "bind /a,b source=\"q\"",
    );
    check("type=cache,target=/c", "cache /c Shared");
    check(
        "type=cache,target=/c,id=x,sharing=locked,mode=0700,uid=1,gid=02,ro,from=s,source=/d",
        "cache /c Locked id=x source=/d from=s 700 u1 g2 ro",
    );
    check("type=cache,target=/c,sharing=Private", "cache /c Private");
    check(
        "type=tmpfs,target=/t,size=64m,rw",
        "tmpfs /t Some(67108864)",
    );
    check("type=tmpfs,target=/t", "tmpfs /t None");
    check("type=secret,id=a", "secret id=a");
    check("type=secret,src=a,required=1,ro", "secret id=a required");
    check("type=secret,target=/a/b", "secret target=/a/b");
    check(
        "type=secret,id=a,env=T,required",
        "secret id=a env=T required",
    );
    check(
        "type=secret,id=a,mode=440,uid=0,gid=5",
        "secret id=a 440 u0 g5",
    );
    check("type=ssh", "ssh");
    check(
        "type=ssh,id=a,target=/s,required,mode=0666",
        "ssh id=a target=/s 666 required",
    );
    check("target=/a=b", "bind /a=b");
    check("target=/a,source=", "bind /a");
    check("type=cache,target=/a,id=", "cache /a Shared");
    check("type=ssh,id=", "ssh");
    check("target=/é,source=ü", "bind /é source=ü");
}

#[test]
fn mistakes_are_pointed_at() {
    let check = |text: &str, expected: &str| assert_eq!(read(text), expected, "{text}");
    check(
        "type=bnid,target=/a",
        "`bnid`: `bnid` is not a type of mount: expected bind, cache, tmpfs, secret or ssh; \
         did you mean `bind`?",
    );
    check(
        "type=volume,traget=/a",
        "`traget=/a`: a mount has no field `traget`; did you mean `target`?\n\
         `volume`: `volume` is not a type of mount: expected bind, cache, tmpfs, secret or ssh",
    );
    check(
        "type=cache,traget=/a,sharing=lokced",
        "`traget=/a`: a mount has no field `traget`; did you mean `target`?\n\
         `lokced`: `lokced` is no way of sharing: expected shared, private or locked; did you \
         mean `locked`?",
    );
    check(
        "type=ssh,from=a",
        "`from=a`: a mount of type ssh has no field `from`; ssh has id, target, required, mode, uid, gid, ro, rw",
    );
    check("target=", "`target=`: the field `target` is empty");
    check(
        "target",
        "`target`: the field `target` needs a value; write target=value",
    );
    check("target=/a,from=", "`from=`: the field `from` is empty");
    check(
        "target=/a,target=/b",
        "`target=/b`: the field `target` stands there twice",
    );
    check(
        "dst=/a,target=/b",
        "`target=/b`: `dst` and `target` are the same field",
    );
    check(
        "target=/a,",
        "``: a mount has an empty field; fields are written name=value, with commas between \
         them",
    );
    check(
        "type=tmpfs,target=/a,mode=0700",
        "`mode=0700`: a mount of type tmpfs has no field `mode`; tmpfs has target, size, rw",
    );
    check(
        "type=ssh,env=X",
        "`env=X`: a mount of type ssh has no field `env`; ssh has id, target, required, mode, \
         uid, gid, ro, rw",
    );
    check(
        "target=/a,ro,rw",
        "`rw`: `ro` and `rw` contradict each other",
    );
    check(
        "target=/a,rw=yes",
        "`yes`: the field `rw` is true or false, not `yes`",
    );
    check(
        "type=cache,target=/a,mode=8,uid=-1,gid=4294967295",
        "`8`: `8` is not a mode: expected 0 to 7777\n\
         `-1`: `-1` is not the number of a user or group\n\
         `4294967295`: `4294967295` is not the number of a user or group",
    );
    check(
        "type=cache,target=/a,mode=10000",
        "`10000`: `10000` is not a mode: expected 0 to 7777",
    );
    check(
        "type=cache,target=/a,source=/b",
        "`source=/b`: `source` of a cache says which files of `from` a new one begins with, \
         and there is no `from`; add from=STAGE, or leave source out",
    );
    check(
        "type=tmpfs,target=/a,size=1z",
        "`1z`: `1z` is not a size: expected a number of bytes, or one with k, m or g behind it",
    );
    check(
        "type=tmpfs,target=/a,rw=false",
        "`rw=false`: a tmpfs begins empty: nobody could use one without writing",
    );
    check(
        "type=secret,id=a,ro=false",
        "`ro=false`: a secret can only be read",
    );
    check(
        "type=secret",
        "`type=secret`: a mount of type secret needs to say which; write id=NAME, and give it \
         with --secret id=NAME,src=FILE",
    );
    check(
        "type=secret,env=TOKEN",
        "`type=secret,env=TOKEN`: a mount of type secret needs to say which; write id=NAME, \
         and give it with --secret id=NAME,src=FILE",
    );
    check(
        "type=secret,id=a,src=b",
        "`src=b`: `id` and `source` of a secret mean the same: one is enough",
    );
    check(
        "type=secret,id=a,env=A=B",
        "`A=B`: `A=B` cannot be the name of a variable",
    );
    check("\"target=/a", "`\"target=/a`: the quote \" is not closed");
    check(
        "\"target=/a\"b,rw",
        "`b`: a field in quotes ends with its quote",
    );
    check(
        "target=\"/a\"",
        "`target=\"/a\"`: a quote stands in the middle of a field; put the whole field into \
         quotes: \"name=value\"",
    );
    assert!(read(&",".repeat(100)).contains("at most 64 fields"));
}

#[test]
fn from_is_found_without_the_rest() {
    let check = |text: &str, expected: Option<&str>| {
        let spanned = Spanned::new(text.to_owned(), Span::new(0, text.len()));
        let found = from_word(&spanned);
        assert_eq!(
            found.as_ref().map(|word| word.value.as_str()),
            expected,
            "{text}"
        );
        if let Some(word) = found {
            assert_eq!(word.span.of(text), word.value);
        }
    };
    check("type=$X,FROM=Base,target=/a", Some("Base"));
    check("target=/a", None);
    check("from", None);
    check("\"from", None);
}
