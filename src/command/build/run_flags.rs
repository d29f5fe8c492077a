//! What `kiln build` is told about every RUN: secrets, agents, limits, and what is allowed.

use std::collections::BTreeSet;

use clap::Args;
use dockerfile::size;
use dockerfile::suggest::nearest;
use engine::BuildRequest;
use graph::{Entitlement, Ulimit};
use sandbox::Resource;

use super::{secret, ssh};
use crate::error::ProgramError;
use crate::settings::Settings;

/// What can be allowed.
const ENTITLEMENTS: [(&str, Entitlement); 2] = [
    ("network.host", Entitlement::NetworkHost),
    ("security.insecure", Entitlement::SecurityInsecure),
];

/// The longest path of a control group, in bytes (`PATH_MAX`, limits.h).
const CONTROL_GROUP_BYTES_MAX: usize = 4096;

/// The flags.
#[derive(Args, Debug)]
pub(crate) struct RunFlags {
    /// Secret for RUN --mount=type=secret: id=ID with src=FILE or env=NAME; id=ID alone is the
    /// variable of that name, or the file
    #[arg(long = "secret", value_name = "id=ID[,src=FILE|,env=NAME]")]
    secrets: Vec<String>,

    /// SSH agent for RUN --mount=type=ssh: `default`, or ID=PATH of a socket or of private keys
    #[arg(long = "ssh", value_name = "ID[=PATH[,PATH]]")]
    ssh: Vec<String>,

    /// Size of /dev/shm of RUN, such as 128m [default: 64m]
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,

    /// Limit of RUN's processes, such as nofile=1024:2048
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    ulimits: Vec<String>,

    /// Control group in which one is made for each RUN
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,

    /// Something that the Dockerfile may do: network.host, security.insecure
    #[arg(long = "allow", value_name = "ENTITLEMENT")]
    allowed: Vec<String>,
}

impl RunFlags {
    /// Puts all of it into a request.
    pub(super) fn apply(
        &self,
        request: &mut BuildRequest,
        settings: &Settings,
    ) -> Result<(), ProgramError> {
        let Self {
            secrets,
            ssh: agents,
            shm_size,
            ulimits,
            cgroup_parent,
            allowed,
        } = self;
        request.secrets = secret::read(secrets, &|name| settings.variable_bytes(name))?;
        request.ssh = ssh::read(agents, settings.ssh_auth_sock())?;
        request.graph.secrets = request.secrets.keys().cloned().collect();
        request.graph.ssh = request.ssh.keys().cloned().collect();
        request.graph.shm_bytes = shm_size.as_deref().map(shared_memory).transpose()?;
        request.graph.ulimits = limits(ulimits)?;
        request.graph.cgroup_parent = cgroup_parent.as_deref().map(control_group).transpose()?;
        request.graph.allowed = entitlements(allowed)?;
        Ok(())
    }
}

fn shared_memory(text: &str) -> Result<u64, ProgramError> {
    match size::parse(text) {
        // To the kernel, 0 is no limit at all.
        Ok(0) => Err(ProgramError::input("--shm-size 0: /dev/shm needs a size")),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(ProgramError::input(format!("--shm-size: {error}"))),
    }
}

/// Of one name the last counts, as with docker.
fn limits(texts: &[String]) -> Result<Vec<Ulimit>, ProgramError> {
    let mut limits: Vec<Ulimit> = Vec::new();
    for text in texts {
        let limit = limit(text)?;
        limits.retain(|known| known.name != limit.name);
        limits.push(limit);
    }
    limits.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(limits)
}

fn limit(text: &str) -> Result<Ulimit, ProgramError> {
    let wrong = |reason: &str| ProgramError::input(format!("--ulimit {text}: {reason}"));
    let Some((name, values)) = text.split_once('=') else {
        return Err(wrong("expected NAME=SOFT or NAME=SOFT:HARD"));
    };
    let names = || Resource::ALL.into_iter().map(Resource::name);
    if !names().any(|known| known == name) {
        let error = wrong(&format!("`{name}` is not a limit"));
        return Err(match nearest(name, names()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!(
                "limits are {}",
                names().collect::<Vec<_>>().join(", ")
            )),
        });
    }
    let number = |text: &str| match text {
        "-1" => Ok(u64::MAX),
        digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_err(|_| wrong("the number is too large"))
        }
        _ => Err(wrong("expected a number, or -1 for no limit")),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(wrong("the soft limit is above the hard one"));
    }
    Ok(Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}

fn control_group(text: &str) -> Result<String, ProgramError> {
    let inside = text
        .trim_matches('/')
        .split('/')
        .all(|name| !matches!(name, "" | "." | "..") && !name.contains('\0'));
    if !inside || text.len() > CONTROL_GROUP_BYTES_MAX {
        return Err(ProgramError::input(format!(
            "--cgroup-parent {text}: expected the path of a control group, such as /builds"
        )));
    }
    Ok(text.to_owned())
}

fn entitlements(texts: &[String]) -> Result<BTreeSet<Entitlement>, ProgramError> {
    let mut allowed = BTreeSet::new();
    for text in texts {
        let known = ENTITLEMENTS.iter().find(|(name, _)| name == text);
        let Some((_, entitlement)) = known else {
            let error = ProgramError::input(format!(
                "--allow {text}: kiln knows network.host and security.insecure"
            ));
            let near = nearest(text, ENTITLEMENTS.iter().map(|(name, _)| *name));
            return Err(match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            });
        };
        allowed.insert(*entitlement);
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: std::fmt::Debug>(found: Result<T, ProgramError>, expected: &str) {
        let found = match found {
            Ok(value) => format!("{value:?}"),
            Err(error) => [vec![error.headline], error.hints].concat().join("; "),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn limits_have_a_name_and_numbers() {
        let pair = |text: &str| limit(text).map(|limit| (limit.name, limit.soft, limit.hard));
        check(pair("nofile=1024:2048"), r#"("nofile", 1024, 2048)"#);
        check(pair("nofile=1024"), r#"("nofile", 1024, 1024)"#);
        check(pair("core=0:-1"), r#"("core", 0, 18446744073709551615)"#);
        check(
            pair("nofile"),
            "--ulimit nofile: expected NAME=SOFT or NAME=SOFT:HARD",
        );
        check(
            pair("nofiel=1"),
            "--ulimit nofiel=1: `nofiel` is not a limit; did you mean `nofile`?",
        );
        check(
            pair("nofile=2:1"),
            "--ulimit nofile=2:1: the soft limit is above the hard one",
        );
        check(
            pair("nofile=-1:5"),
            "--ulimit nofile=-1:5: the soft limit is above the hard one",
        );
        for wrong in [
            "nofile=",
            "nofile=1:",
            "nofile=+1",
            "nofile=1:2:3",
            "nofile=a",
        ] {
            let expected = format!("--ulimit {wrong}: expected a number, or -1 for no limit");
            check(pair(wrong), &expected);
        }
        let texts = [
            "nofile=1".to_owned(),
            "core=0".to_owned(),
            "nofile=3".to_owned(),
        ];
        let names = limits(&texts).map(|limits| {
            let names = limits.into_iter().map(|limit| (limit.name, limit.soft));
            names.collect::<Vec<_>>()
        });
        check(names, r#"[("core", 0), ("nofile", 3)]"#);
    }

    #[test]
    fn sizes_groups_and_entitlements_are_checked() {
        check(shared_memory("128m"), "134217728");
        check(shared_memory("0"), "--shm-size 0: /dev/shm needs a size");
        check(control_group("/a/b"), r#""/a/b""#);
        for wrong in ["", "/", "a/../b", "a//b"] {
            let expected = format!(
                "--cgroup-parent {wrong}: expected the path of a control group, such as /builds"
            );
            check(control_group(wrong), &expected);
        }
        let allow = |text: &str| entitlements(&[text.to_owned()]);
        check(allow("security.insecure"), "{SecurityInsecure}");
        check(
            allow("security.insecrue"),
            "--allow security.insecrue: kiln knows network.host and security.insecure; did you \
             mean `security.insecure`?",
        );
        check(
            allow("device"),
            "--allow device: kiln knows network.host and security.insecure",
        );
    }
}
