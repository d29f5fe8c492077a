//! What of a RUN's surroundings is in its key (R18): whatever the command can see and nothing that
//! it cannot.

use std::collections::HashSet;

use graph::{Entitlement, KeyKind, Request, Ulimit};
use oci::ImageConfig;

use crate::machine::Machine;
use crate::support;

/// The key of a lone RUN with these flags.
fn key(flags: &str, request: &Request) -> String {
    let text = format!("FROM alpine AS one\nFROM alpine AS two\nFROM alpine\nRUN {flags} make\n");
    let look_up = |name: &graph::ImageName, _: &oci::Platform| {
        support::image(name, ImageConfig::default(), "alpine")
    };
    let (lowered, _) = support::lowered(&text, request, look_up).expect("a graph");
    let mut machine = Machine::default();
    machine.context.insert("a".to_owned(), "1".to_owned());
    machine.context.insert("b".to_owned(), "2".to_owned());
    let solver = machine.build(&lowered.graph);
    let last = lowered.graph.ids().last().expect("there are steps");
    let key = solver.key(last, KeyKind::Definition).expect("it is known");
    format!("{key}")
}

/// Rows: R18
#[test]
fn whatever_a_command_can_see_of_its_surroundings_is_in_its_key() {
    let mut request = support::request();
    request.allowed.insert(Entitlement::SecurityInsecure);
    let flags = [
        "",
        "--network=none",
        "--security=insecure",
        "--mount=target=/x",
        "--mount=target=/y",
        "--mount=target=/x,source=a",
        "--mount=target=/x,source=b",
        "--mount=target=/x,rw",
        "--mount=target=/x,from=one",
        "--mount=target=/x,from=one,source=a",
        "--mount=type=tmpfs,target=/x",
        "--mount=type=tmpfs,target=/x,size=1m",
        "--mount=type=cache,target=/x",
        "--mount=type=cache,target=/x,id=y",
        "--mount=type=cache,target=/x,sharing=locked",
        "--mount=type=cache,target=/x,sharing=private",
        "--mount=type=cache,target=/x,mode=0700",
        "--mount=type=cache,target=/x,uid=1",
        "--mount=type=cache,target=/x,gid=1",
        "--mount=type=cache,target=/x,ro",
        "--mount=type=cache,target=/x,from=one",
        "--mount=type=cache,target=/x,from=one,source=a",
        "--mount=type=secret,id=x",
        "--mount=type=secret,id=y",
        "--mount=type=secret,id=x,target=/x",
        "--mount=type=secret,id=x,env=X",
        "--mount=type=secret,id=x,env=X,target=/x",
        "--mount=type=secret,id=x,mode=0440",
        "--mount=type=ssh",
        "--mount=type=ssh,id=x",
        "--mount=type=ssh,target=/x",
        "--mount=type=ssh,mode=0666",
        "--mount=type=tmpfs,target=/x --mount=type=tmpfs,target=/y",
        "--mount=type=tmpfs,target=/y --mount=type=tmpfs,target=/x",
    ];
    let mut keys: HashSet<String> = flags.iter().map(|flags| key(flags, &request)).collect();
    assert_eq!(keys.len(), flags.len(), "two of them have the same key");

    let edits: [fn(&mut Request); 8] = [
        |request| request.shm_bytes = Some(1),
        |request| request.shm_bytes = Some(2),
        |request| request.cgroup_parent = Some("/a".to_owned()),
        |request| request.cgroup_parent = Some("/b".to_owned()),
        |request| request.ulimits = vec![limit("nofile", 1, 2)],
        |request| request.ulimits = vec![limit("nofile", 2, 2)],
        |request| request.ulimits = vec![limit("nproc", 1, 2)],
        |request| {
            let name = "BUILDKIT_SANDBOX_HOSTNAME".to_owned();
            request.build_args.insert(name, "here".to_owned());
        },
    ];
    for (number, edit) in edits.iter().enumerate() {
        let mut edited = request.clone();
        edit(&mut edited);
        assert!(keys.insert(key("", &edited)), "edit {number}");
    }
}

/// Rows: R18, R19
#[test]
fn what_a_command_cannot_see_of_its_surroundings_is_not_in_its_key() {
    let request = support::request();
    let same = |one: &str, other: &str| {
        assert_eq!(
            key(one, &request),
            key(other, &request),
            "{one} and {other}"
        );
    };
    same("--network=default", "");
    same("--security=sandbox", "");
    same("--mount=target=/x", "--mount=type=bind,dst=/x,ro,source=.");
    same(
        "--mount=type=cache,target=/x",
        "--mount=type=cache,target=/x/,id=/x,sharing=shared",
    );
    same(
        "--mount=type=cache,target=/x",
        "--mount=type=cache,target=/x,mode=755,uid=0",
    );
    same("--mount=target=/x,from=one", "--mount=target=/x,from=two");
    same("--mount=type=ssh", "--mount=type=ssh,id=default,mode=600");
    same(
        "--mount=type=secret,id=x",
        "--mount=type=secret,id=x,mode=0400",
    );
    let mut given = request.clone();
    given.secrets.insert("x".to_owned());
    given.ssh.insert("default".to_owned());
    for flags in ["--mount=type=secret,id=x", "--mount=type=ssh"] {
        assert_eq!(key(flags, &request), key(flags, &given), "{flags}");
    }
    given.allowed.insert(Entitlement::SecurityInsecure);
    assert_eq!(key("", &request), key("", &given));
}

fn limit(name: &str, soft: u64, hard: u64) -> Ulimit {
    Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    }
}
