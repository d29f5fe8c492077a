//! Whether a protected channel may be moved.
//!
//! This is a guard rail, not a lock: it runs on the machine of whoever pushes. What a registry
//! allows is decided by the registry's own permissions.

use std::collections::BTreeMap;

use super::{ChannelName, Rule};

/// Names that are listed before "and N more".
const NAMES_SHOWN_MAX: usize = 6;

/// What is known when a channel is to be moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelFacts {
    /// The sources; `None` where they are not known.
    pub source: Option<SourceFacts>,
    /// Who moves it, where that was verified.
    pub identity: Option<Identity>,
    /// Why nobody was verified.
    pub identity_missing: Option<String>,
    /// Images and variants that are declared and are not moved with the others.
    pub left_out: Vec<String>,
    /// Whether the images are signed.
    pub signatures: Signatures,
    /// How the commit is related to the one that the channel has now.
    pub ancestry: Ancestry,
    /// What became of the commands of `tests:`.
    pub tests: BTreeMap<String, TestOutcome>,
}

/// The sources of the images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFacts {
    /// The commit.
    pub commit: String,
    /// Whether there is more than was committed.
    pub dirty: bool,
    /// The branch that is checked out; `None` when HEAD is detached.
    pub branch: Option<String>,
    /// Branches of remotes that the commit is in, without the remote's name.
    pub remote_branches: Vec<String>,
}

/// Somebody whose token was verified: its signature, its issuer, its time, and whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who signed the token.
    pub issuer: String,
    /// Who it says this is.
    pub subject: String,
    /// The commit that it was made for, where it says one.
    pub commit: Option<String>,
    /// Whether the issuer is a CI system that kiln knows by itself.
    pub is_known_ci: bool,
}

/// What is known of the signatures of the images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Signatures {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// Nothing says whose signatures count, so none does.
    NobodyTrusted,
    /// They were looked at.
    Checked {
        /// Images without a signature that counts.
        unsigned: Vec<String>,
    },
}

/// How a commit is related to the one that the channel has now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ancestry {
    /// The channel has nothing yet.
    #[default]
    First,
    /// It is the same commit, or a descendant.
    Descendant,
    /// It is not a descendant.
    NotDescendant {
        /// What the channel has.
        current: String,
    },
    /// It cannot be found out.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestOutcome {
    /// It succeeded.
    Passed,
    /// It did not.
    Failed {
        /// How it ended.
        reason: String,
    },
}

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The rule, as it is written.
    pub rule: String,
    /// What is the case instead.
    pub found: String,
    /// What would satisfy it.
    pub remedy: String,
}

/// Why the channel may be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It is not protected, or all of its rules hold.
    Open,
    /// Somebody spelled its name to move it all the same.
    Forced {
        /// The rules that do not hold.
        unmet: Vec<Unmet>,
    },
}

/// Why the channel may not be moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Rules that do not hold.
    #[error("the channel `{channel}` is protected, and does not allow this")]
    Rules {
        /// The channel.
        channel: ChannelName,
        /// The rules.
        unmet: Vec<Unmet>,
    },
    /// The name that was spelled is not this channel's.
    #[error(
        "the name `{spelled}` was given to override the rules of a channel, but the channel is `{channel}`"
    )]
    Misspelled {
        /// The channel.
        channel: ChannelName,
        /// What was spelled.
        spelled: String,
    },
}

/// Whether a channel may be moved. `spelled` is the name that somebody gave in order to override
/// its rules: a script that was made for another channel does not get through.
///
/// # Errors
///
/// Rules that do not hold, or a name that is not this channel's.
pub fn admit(
    channel: &ChannelName,
    is_protected: bool,
    rules: &[Rule],
    facts: &ChannelFacts,
    spelled: Option<&str>,
) -> Result<Passage, Refusal> {
    if let Some(spelled) = spelled
        && spelled != channel.as_str()
    {
        return Err(Refusal::Misspelled {
            channel: channel.clone(),
            spelled: spelled.chars().take(super::CHANNEL_BYTES_MAX).collect(),
        });
    }
    if !is_protected {
        return Ok(Passage::Open);
    }
    let mut unmet: Vec<Unmet> = Vec::new();
    // The whole set goes together in a protected channel, whether a rule says so or not.
    if !rules.contains(&Rule::AllImages) {
        unmet.extend(failing(&Rule::AllImages, facts));
    }
    unmet.extend(rules.iter().filter_map(|rule| failing(rule, facts)));
    match (unmet.is_empty(), spelled) {
        (true, _) => Ok(Passage::Open),
        (false, Some(_)) => Ok(Passage::Forced { unmet }),
        (false, None) => Err(Refusal::Rules {
            channel: channel.clone(),
            unmet,
        }),
    }
}

/// What is wrong, and what would be right; `None` when the rule holds.
fn failing(rule: &Rule, facts: &ChannelFacts) -> Option<Unmet> {
    let (found, remedy) = match rule {
        Rule::Clean => clean(facts)?,
        Rule::Branch(pattern) => branch(pattern, facts)?,
        Rule::AllImages => {
            if facts.left_out.is_empty() {
                return None;
            }
            (
                format!("left out: {}", listed(&facts.left_out)),
                "name no images and no `--variant`: all of them go together".to_owned(),
            )
        }
        Rule::Ci { issuer } => ci(issuer.as_deref(), facts)?,
        Rule::Signed => signed(&facts.signatures)?,
        Rule::NotOlder => not_older(&facts.ancestry)?,
        Rule::Identity(pattern) => match &facts.identity {
            Some(identity) if pattern.fits(&identity.subject) => return None,
            Some(identity) => (
                format!("the verified identity is `{}`", identity.subject),
                format!("move it as `{pattern}`"),
            ),
            None => (
                nobody(facts),
                format!("move it as `{pattern}`, with an identity token"),
            ),
        },
        Rule::Tests(command) => match facts.tests.get(command) {
            Some(TestOutcome::Passed) => return None,
            Some(TestOutcome::Failed { reason }) => {
                (reason.clone(), format!("make `{command}` succeed"))
            }
            None => (
                "the command was not run".to_owned(),
                format!("make `{command}` succeed"),
            ),
        },
    };
    Some(Unmet {
        rule: rule.to_string(),
        found,
        remedy,
    })
}

fn signed(signatures: &Signatures) -> Option<(String, String)> {
    match signatures {
        Signatures::Checked { unsigned } if unsigned.is_empty() => None,
        Signatures::Checked { unsigned } => Some((
            format!("not signed by anybody who is trusted: {}", listed(unsigned)),
            "have them signed by somebody whom `verify` of kiln.yaml believes: `--sign` of `kiln \
             channel push`, or `kiln sign`"
                .to_owned(),
        )),
        Signatures::NobodyTrusted => Some((
            "nothing says whose signatures count".to_owned(),
            "declare whom to believe in kiln.yaml: `verify:` with `keys` for cosign signatures, or \
             `roots` for Notary signatures"
                .to_owned(),
        )),
        Signatures::Unknown => Some((
            "nobody has looked for signatures".to_owned(),
            "push or promote the images again".to_owned(),
        )),
    }
}

fn clean(facts: &ChannelFacts) -> Option<(String, String)> {
    match &facts.source {
        Some(source) if !source.dirty => None,
        Some(_) => Some((
            "there are changes that are not committed".to_owned(),
            "commit them, or put them aside with `git stash -u`".to_owned(),
        )),
        None => Some(no_sources()),
    }
}

fn no_sources() -> (String, String) {
    (
        "it is not known which commit this is".to_owned(),
        "run kiln in the git repository of the sources".to_owned(),
    )
}

fn branch(pattern: &super::Pattern, facts: &ChannelFacts) -> Option<(String, String)> {
    let Some(source) = &facts.source else {
        return Some(no_sources());
    };
    // A CI system checks out a commit and no branch: then it is enough that the remote has the
    // commit in such a branch.
    let wanted = |name: &String| pattern.fits(name);
    match &source.branch {
        Some(branch) if !pattern.fits(branch) => Some((
            format!("the branch is `{branch}`"),
            format!("check out `{pattern}`"),
        )),
        Some(branch) if source.remote_branches.contains(branch) => None,
        Some(branch) => Some((
            format!("the commit is not in the remote's `{branch}`, as far as was fetched"),
            format!(
                "`git push` it, or `git fetch` when it is there already; the branch is `{branch}`"
            ),
        )),
        None if source.remote_branches.iter().any(wanted) => None,
        None => Some((
            "HEAD is detached, and its commit is in no such branch of a remote".to_owned(),
            format!("check out a commit of `{pattern}` that was pushed"),
        )),
    }
}

fn ci(issuer: Option<&str>, facts: &ChannelFacts) -> Option<(String, String)> {
    let remedy = match issuer {
        Some(issuer) => format!("run it in a job whose identity tokens `{issuer}` signs"),
        None => {
            "run it in GitHub Actions with `permissions: id-token: write`, or in GitLab CI with \
                 an `id_tokens` entry `KILN_ID_TOKEN` for the audience `kiln`"
                .to_owned()
        }
    };
    let Some(identity) = &facts.identity else {
        return Some((nobody(facts), remedy));
    };
    let is_issuer = match issuer {
        Some(issuer) => identity.issuer == issuer,
        None => identity.is_known_ci,
    };
    if !is_issuer {
        return Some((
            format!("the identity token is of `{}`", identity.issuer),
            remedy,
        ));
    }
    let commit = facts.source.as_ref().map(|source| source.commit.as_str());
    if identity.commit.as_deref() == commit && commit.is_some() {
        return None;
    }
    Some((
        format!(
            "the identity token is for the commit {}, the sources are of {}",
            identity.commit.as_deref().unwrap_or("(none)"),
            commit.unwrap_or("(unknown)")
        ),
        "run it in a job of that very commit".to_owned(),
    ))
}

fn nobody(facts: &ChannelFacts) -> String {
    match &facts.identity_missing {
        Some(reason) => format!("nobody's identity is verified: {reason}"),
        None => "nobody's identity is verified".to_owned(),
    }
}

fn not_older(ancestry: &Ancestry) -> Option<(String, String)> {
    match ancestry {
        Ancestry::First | Ancestry::Descendant => None,
        Ancestry::NotDescendant { current } => Some((
            format!("the channel has {current}, which is not an ancestor"),
            "take in what the channel has: merge or rebase; to go back on purpose, `kiln channel \
             rollback`"
                .to_owned(),
        )),
        Ancestry::Unknown { reason } => Some((
            reason.clone(),
            "`git fetch --unshallow`, so that the history is there".to_owned(),
        )),
    }
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN_MAX);
    let mut text = shown.cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_SHOWN_MAX {
        text += &format!(" and {} more", names.len() - NAMES_SHOWN_MAX);
    }
    text
}

#[cfg(test)]
mod tests;
