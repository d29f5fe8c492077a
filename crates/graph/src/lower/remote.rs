//! Sources of ADD that are not on this machine (C24, C25), and the flags that only they have.

use dockerfile::remote::{GitAddress, HttpAddress, Remote, Written, without_credentials};
use dockerfile::{AddInstruction, Diagnostic, Spanned};
use oci::Digest;

use super::copy::flag_span;
use super::{Line, Lowerer, State};
use crate::{CopySource, GitSource, UrlSource};

/// What ADD says of sources from elsewhere.
pub(super) struct RemoteFlags {
    /// `--checksum`, variables replaced.
    checksum: Option<Spanned<String>>,
    /// `--keep-git-dir`, where it was given.
    keep_git_dir: Option<bool>,
}

impl Lowerer<'_> {
    /// Reads the flags, and refuses a checksum that no source can have.
    pub(super) fn remote_flags(
        &mut self,
        state: &State,
        line: Line<'_>,
        add: &AddInstruction,
    ) -> Option<RemoteFlags> {
        let mut checksum = None;
        if let Some(word) = &add.checksum {
            let text = self.expand(state, line, word)?;
            // An empty variable means that nothing was asked for.
            if !text.is_empty() {
                checksum = Some(Spanned {
                    value: text,
                    span: word.span,
                });
            }
        }
        if let Some(word) = checksum.as_ref().filter(|_| add.sources.len() > 1) {
            let message = "--checksum is for one source, and there are several";
            return self.error(line, word.span, message, "of which of them?");
        }
        Some(RemoteFlags {
            checksum,
            keep_git_dir: add.keep_git_dir,
        })
    }

    /// The source that a word names if it is not a path. `flags` are those of ADD; COPY has none.
    pub(super) fn remote_source(
        &mut self,
        line: Line<'_>,
        flags: Option<&RemoteFlags>,
        word: &Spanned<String>,
        text: &str,
    ) -> Option<Option<(CopySource, String)>> {
        let remote = match Remote::parse(text, Written::InDockerfile) {
            Ok(remote) => remote,
            Err(error) => {
                let mut finding = Diagnostic::error(word.span, error.to_string(), "not usable");
                if let dockerfile::remote::RemoteError::Key {
                    near: Some(near), ..
                } = error
                {
                    finding = finding.with_help(format!("did you mean `{near}`?"));
                }
                self.findings.push(line.planned.put(finding));
                return None;
            }
        };
        let span = line.planned.place(word.span);
        let Some(flags) = flags else {
            // COPY takes files of contexts and stages only (C26).
            return match remote {
                None => Some(None),
                Some(Remote::Http(_) | Remote::Git(_)) => {
                    let message = "COPY takes files, not addresses";
                    let finding = Diagnostic::error(word.span, message, "an address")
                        .with_help("ADD fetches files and repositories");
                    self.findings.push(line.planned.put(finding));
                    None
                }
            };
        };
        match remote {
            None => match &flags.checksum {
                Some(checksum) => {
                    let message = "--checksum is for what is fetched, and this is a file of the \
                                   context";
                    self.error(line, checksum.span, message, "not for files")
                }
                None => {
                    self.warn_of_kept_git_dir(line, flags);
                    Some(None)
                }
            },
            Some(Remote::Http(address)) => {
                let HttpAddress { url, file_name } = address;
                let checksum = match &flags.checksum {
                    None => None,
                    Some(word) => Some(self.digest(line, word)?),
                };
                if flags.keep_git_dir == Some(true) {
                    let at = flag_span(line, "--keep-git-dir");
                    let message = "--keep-git-dir is for repositories, and this is the address of \
                                   a file";
                    let help = "the address of a repository ends with `.git`";
                    let finding = Diagnostic::error(at, message, "no repository").with_help(help);
                    self.findings.push(line.planned.put(finding));
                    return None;
                }
                let shown = without_credentials(&url);
                let source = CopySource::Url(UrlSource {
                    url,
                    file_name,
                    checksum,
                    span,
                });
                Some(Some((source, shown)))
            }
            Some(Remote::Git(address)) => {
                let shown = without_credentials(text);
                let source = self.git_source(line, flags, word, address)?;
                Some(Some((CopySource::Git(source), shown)))
            }
        }
    }

    /// BuildKit builds this and says nothing.
    fn warn_of_kept_git_dir(&mut self, line: Line<'_>, flags: &RemoteFlags) {
        if flags.keep_git_dir != Some(true) {
            return;
        }
        let at = flag_span(line, "--keep-git-dir");
        let message = "--keep-git-dir does nothing for files of the context";
        let help = "`.git` of the context is copied unless .dockerignore names it";
        let finding = Diagnostic::warning(at, message, "no repository").with_help(help);
        self.findings.push(line.planned.put(finding));
    }

    fn digest(&mut self, line: Line<'_>, word: &Spanned<String>) -> Option<Digest> {
        match word.value.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(error) => self.error(line, word.span, error.to_string(), "not a digest"),
        }
    }

    /// Puts what the flags say together with what the address says; they must not disagree (C25).
    fn git_source(
        &mut self,
        line: Line<'_>,
        flags: &RemoteFlags,
        word: &Spanned<String>,
        address: GitAddress,
    ) -> Option<GitSource> {
        let GitAddress {
            repository,
            transport: _,
            reference,
            subdirectory,
            mut checksum,
            submodules,
            keep_git_dir,
        } = address;
        if let Some(flag) = &flags.checksum {
            let by_flag = match GitAddress::checksum(&flag.value) {
                Ok(by_flag) => by_flag,
                Err(error) => {
                    return self.error(line, flag.span, error.to_string(), "not a commit");
                }
            };
            if let Some(by_query) = checksum.filter(|by_query| *by_query != by_flag) {
                let message = format!(
                    "--checksum says `{by_flag}`, and the address says `{by_query}`: give one of \
                     them"
                );
                return self.error(line, flag.span, message, "contradicts the address");
            }
            checksum = Some(by_flag);
        }
        let keep_git_dir = match (flags.keep_git_dir, keep_git_dir) {
            (Some(flag), Some(query)) if flag != query => {
                let message = "--keep-git-dir and `keep-git-dir` in the address contradict each \
                               other";
                return self.error(line, word.span, message, "says the opposite of the flag");
            }
            (flag, query) => flag.or(query).unwrap_or(false),
        };
        if keep_git_dir && !subdirectory.is_empty() {
            let message = "`.git` is not below a subdirectory: there is nothing to keep";
            let place = flag_span(line, "--keep-git-dir");
            let finding = Diagnostic::warning(place, message, "does nothing");
            self.findings.push(line.planned.put(finding));
        }
        Some(GitSource {
            repository,
            reference,
            subdirectory,
            submodules: submodules.unwrap_or(true),
            keep_git_dir,
            checksum,
            span: line.planned.place(word.span),
        })
    }
}
