//! The mounts of a RUN: words to paths, names and numbers, with every default applied.

use dockerfile::mount::{
    BindMount, CacheMount, CacheSharing, Mount, MountFileOwner, SecretMount, SshMount, TmpfsMount,
};
use dockerfile::{Diagnostic, Span, Spanned, expand, mount};

use super::{Line, Lowerer, State};
use crate::stage::expand_error;
use crate::{ContextName, FileSource, MountOwner, RunMount, RunMountKind, Sharing, paths};

/// The build argument that keeps the caches of one build apart from those of others.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// Where secrets are files unless the Dockerfile says otherwise (R9).
const SECRETS_DIRECTORY: &str = "/run/secrets";

/// What `--ssh` and a mount both mean when neither says which (R10).
const SSH_ID_DEFAULT: &str = "default";

/// The longest name of a cache, a secret or an agent, in bytes.
const ID_BYTES_MAX: usize = 4096;

impl Lowerer<'_> {
    /// The mounts of a RUN in the order of the line.
    pub(super) fn mounts(
        &mut self,
        state: &State,
        line: Line<'_>,
        words: &[Spanned<String>],
    ) -> Option<Vec<RunMount>> {
        let mut files = line.planned.files_of.iter();
        let mut lowered = Some(Vec::new());
        for word in words {
            // One for each word that has a `from`, whatever else is wrong with it.
            let from = mount::from_word(word)
                .and_then(|_| files.next())
                .map(|&from| self.file_source(from, line));
            match self.mount(state, line, word, from) {
                Some(kind) => {
                    if let Some(lowered) = &mut lowered {
                        let span = line.planned.place(word.span);
                        lowered.push(RunMount { kind, span });
                    }
                }
                None => lowered = None,
            }
        }
        lowered
    }

    fn mount(
        &mut self,
        state: &State,
        line: Line<'_>,
        word: &Spanned<String>,
        from: Option<FileSource>,
    ) -> Option<RunMountKind> {
        let escape = self.set.source.escape;
        let mut unset = Vec::new();
        let mut replace = |word: &Spanned<String>| -> Result<String, Diagnostic> {
            let expansion = expand(&word.value, escape, &state.scope)
                .map_err(|error| expand_error(word, &error))?;
            unset.push((word.span, expansion.unset));
            Ok(expansion.value)
        };
        let read = mount::parse(word, &mut replace);
        for (span, names) in unset {
            self.warn_of_unset(state, line, span, &names);
        }
        let (mount, findings) = match read {
            Ok((mount, warnings)) => (Some(mount), warnings),
            Err(findings) => (None, findings),
        };
        let findings = findings.into_iter();
        self.findings
            .extend(findings.map(|finding| line.planned.put(finding)));
        match mount? {
            Mount::Bind(bind) => self.bind(state, line, bind, from),
            Mount::Cache(cache) => self.cache(state, line, cache, from),
            Mount::Tmpfs(tmpfs) => {
                let TmpfsMount { target, bytes_max } = tmpfs;
                let target = self.mount_target(state, line, &target)?;
                Some(RunMountKind::Tmpfs { target, bytes_max })
            }
            Mount::Secret(secret) => self.secret(state, line, secret, word.span),
            Mount::Ssh(ssh) => self.ssh(state, line, ssh, word.span),
        }
    }

    fn bind(
        &mut self,
        state: &State,
        line: Line<'_>,
        bind: BindMount,
        from: Option<FileSource>,
    ) -> Option<RunMountKind> {
        let BindMount {
            target,
            source,
            from: _,
            writable,
        } = bind;
        Some(RunMountKind::Bind {
            target: self.mount_target(state, line, &target)?,
            from: from.unwrap_or(FileSource::Context(ContextName::Main(self.request.image))),
            path: source_path(source.as_ref()),
            writable,
        })
    }

    fn cache(
        &mut self,
        state: &State,
        line: Line<'_>,
        cache: CacheMount,
        from: Option<FileSource>,
    ) -> Option<RunMountKind> {
        let CacheMount {
            target: written,
            id,
            sharing,
            source,
            from: _,
            owner,
            read_only,
        } = cache;
        let target = self.mount_target(state, line, &written)?;
        let id = match id {
            Some(id) => self.checked_id(line, id)?,
            // The target as it is written, so that a relative one is the same in every directory.
            None if written.value.starts_with('/') => target.clone(),
            None => paths::relative(&written.value),
        };
        let id = match self.request.build_args.get(CACHE_NAMESPACE) {
            Some(namespace) if !namespace.is_empty() => format!("{namespace}/{id}"),
            Some(_) | None => id,
        };
        Some(RunMountKind::Cache {
            target,
            id,
            sharing: match sharing {
                CacheSharing::Shared => Sharing::Shared,
                CacheSharing::Private => Sharing::Private,
                CacheSharing::Locked => Sharing::Locked,
            },
            seed: from.map(|from| (from, source_path(source.as_ref()))),
            owner: owner_or(owner, 0o755),
            read_only,
        })
    }

    fn secret(
        &mut self,
        state: &State,
        line: Line<'_>,
        secret: SecretMount,
        whole: Span,
    ) -> Option<RunMountKind> {
        let SecretMount {
            id,
            target,
            variable,
            owner,
            required,
        } = secret;
        let path = match &target {
            Some(target) => Some(self.mount_target(state, line, target)?),
            None => None,
        };
        let id = match (id, &target, &path) {
            (Some(id), _, _) => {
                let span = id.span;
                Spanned::new(self.checked_id(line, id)?, span)
            }
            (None, Some(target), Some(path)) => {
                Spanned::new(last_component(path).to_owned(), target.span)
            }
            (None, _, _) => unreachable!("a secret has an id or a target"),
        };
        // A variable alone asks for no file.
        let target = match (path, &variable) {
            (Some(path), _) => Some(path),
            (None, Some(_)) => None,
            (None, None) => Some(self.secret_target(line, &id)?),
        };
        if required && self.request.runs && !self.request.secrets.contains(&id.value) {
            let id = &id.value;
            let message = format!("the secret `{id}` is required here and was not given");
            let help =
                format!("give it with --secret id={id},src=FILE or --secret id={id},env=NAME");
            return self.missing(line, whole, message, help);
        }
        Some(RunMountKind::Secret {
            id: id.value,
            target,
            variable: variable.map(|variable| variable.value),
            owner: owner_or(owner, 0o400),
            required,
        })
    }

    /// A file of the id's last part: `id=../x` is `/run/secrets/x`.
    fn secret_target(&mut self, line: Line<'_>, id: &Spanned<String>) -> Option<String> {
        let name = id.value.trim_end_matches('/');
        let name = name.rsplit('/').next().unwrap_or(name);
        if matches!(name, "" | "." | "..") {
            let message = format!(
                "the secret `{}` has no name that a file could have",
                id.value
            );
            let help = "say with target=PATH where it is to be".to_owned();
            return self.missing(line, id.span, message, help);
        }
        Some(format!("{SECRETS_DIRECTORY}/{name}"))
    }

    fn ssh(
        &mut self,
        state: &State,
        line: Line<'_>,
        ssh: SshMount,
        whole: Span,
    ) -> Option<RunMountKind> {
        let SshMount {
            id,
            target,
            owner,
            required,
        } = ssh;
        let id = match id {
            Some(id) => self.checked_id(line, id)?,
            None => SSH_ID_DEFAULT.to_owned(),
        };
        let target = match &target {
            Some(target) => Some(self.mount_target(state, line, target)?),
            None => None,
        };
        if required && self.request.runs && !self.request.ssh.contains(&id) {
            let message = format!("the SSH agent `{id}` is required here and was not given");
            let help = if id == SSH_ID_DEFAULT {
                "give it with --ssh default, or --ssh default=PATH of a socket or a key".to_owned()
            } else {
                format!("give it with --ssh {id}=PATH of a socket or a key")
            };
            return self.missing(line, whole, message, help);
        }
        Some(RunMountKind::Ssh {
            id,
            target,
            owner: owner_or(owner, 0o600),
            required,
        })
    }

    fn missing<T>(
        &mut self,
        line: Line<'_>,
        span: Span,
        message: String,
        help: String,
    ) -> Option<T> {
        let finding = Diagnostic::error(span, message, "needed here").with_help(help);
        self.findings.push(line.planned.put(finding));
        None
    }

    fn mount_target(
        &mut self,
        state: &State,
        line: Line<'_>,
        target: &Spanned<String>,
    ) -> Option<String> {
        if target.value.contains('\0') {
            return self.error(
                line,
                target.span,
                "a path cannot contain NUL",
                "contains one",
            );
        }
        let path = paths::absolute(&state.working_directory(), &target.value);
        if path == "/" {
            let message = "nothing can be mounted on the root";
            if target.value.is_empty() {
                let message = format!("{message}, which is the working directory here");
                let finding = Diagnostic::error(target.span, message, "no target")
                    .with_help("write target=/where/it/is/to/be");
                self.findings.push(line.planned.put(finding));
                return None;
            }
            return self.error(line, target.span, message, "the root");
        }
        Some(path)
    }

    fn checked_id(&mut self, line: Line<'_>, id: Spanned<String>) -> Option<String> {
        let Spanned { value, span } = id;
        if value.len() > ID_BYTES_MAX || value.contains('\0') {
            let message = format!("an id has at most {ID_BYTES_MAX} bytes and no NUL");
            return self.error(line, span, message, "not an id");
        }
        Some(value)
    }
}

fn source_path(source: Option<&Spanned<String>>) -> String {
    source.map_or_else(String::new, |source| paths::relative(&source.value))
}

fn last_component(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn owner_or(owner: MountFileOwner, mode_default: u32) -> MountOwner {
    let MountFileOwner { mode, uid, gid } = owner;
    MountOwner {
        mode: mode.unwrap_or(mode_default),
        uid: uid.unwrap_or(0),
        gid: gid.unwrap_or(0),
    }
}
