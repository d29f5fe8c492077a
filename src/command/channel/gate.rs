//! Whether a channel may be moved: facts are gathered, rules are asked, and a person may spell the
//! channel's name.

use std::io::IsTerminal as _;
use std::process::{Command, Stdio};

use policy::{
    Ancestry, ChannelFacts, ChannelName, Identity, Passage, Refusal, Rule, SourceFacts,
    TestOutcome, Unmet, admit,
};
use publish::channel::{ChannelOverride, KeptRecord, Who};
use registry::Client;

use super::ground::Ground;
use super::identity;
use super::signed::Signed;
use crate::error::{EXIT_PROTECTED, ProgramError};
use crate::render::Presentation;
use crate::settings::Settings;

/// Who wants to move a channel, to what.
pub(super) struct Wish<'w> {
    /// The channel.
    pub(super) channel: &'w ChannelName,
    /// What it has.
    pub(super) current: Option<&'w KeptRecord>,
    /// The sources of the images; `None` where they are not known.
    pub(super) source: Option<SourceFacts>,
    /// Images that are declared and do not go with the others.
    pub(super) left_out: Vec<String>,
    /// Where the images' signatures are.
    pub(super) signed: Signed<'w>,
    /// The name that was spelled to override the rules.
    pub(super) spelled: Option<&'w str>,
    /// Whether the channel is meant to go back, so that what it has need not be an ancestor.
    pub(super) goes_back: bool,
}

/// Somebody who may move the channel.
pub(super) struct Admitted {
    /// Who.
    pub(super) who: Who,
    /// What was overridden.
    pub(super) overridden: Option<ChannelOverride>,
}

/// Asks the rules.
pub(super) async fn pass(
    wish: Wish<'_>,
    ground: &Ground,
    client: &Client,
    settings: &Settings,
    presentation: Presentation,
) -> Result<Admitted, ProgramError> {
    let (is_protected, rules) = ground.rules(wish.channel)?;
    // A name that is not this channel's ends it before anything is asked or run.
    if let Some(spelled) = wish.spelled
        && spelled != wish.channel.as_str()
    {
        let nothing = ChannelFacts::default();
        admit(wish.channel, false, &[], &nothing, Some(spelled)).map_err(refused)?;
    }
    let rules: Vec<Rule> = rules
        .into_iter()
        .filter(|rule| !(wish.goes_back && *rule == Rule::NotOlder))
        .collect();
    let source = settings.identity_token_source();
    let needs_identity = |rule: &Rule| matches!(rule, Rule::Ci { .. } | Rule::Identity(_));
    let is_wanted = source.is_some() || (is_protected && rules.iter().any(needs_identity));
    let identity = match is_wanted {
        true => identity::verified(client, source.as_ref(), &rules).await,
        false => Err("nobody asked".to_owned()),
    };
    let mut facts = ChannelFacts {
        ancestry: ancestry(&wish, ground),
        source: wish.source,
        identity_missing: identity.as_ref().err().cloned(),
        identity: identity.ok(),
        left_out: wish.left_out,
        ..ChannelFacts::default()
    };
    if is_protected {
        for rule in &rules {
            if *rule == Rule::Signed {
                facts.signatures = wish.signed.look(ground, client, settings).await?;
            }
            if let Rule::Tests(command) = rule {
                presentation.note(&format!("running `{command}`"));
                facts.tests.insert(command.clone(), test(command, ground));
            }
        }
    }
    let outcome = admit(wish.channel, is_protected, &rules, &facts, wish.spelled);
    let outcome = match outcome {
        Err(Refusal::Rules { unmet, .. }) if wish.spelled.is_none() && may_ask() => {
            let typed = ask(wish.channel, &unmet, presentation);
            admit(wish.channel, is_protected, &rules, &facts, Some(&typed))
        }
        outcome => outcome,
    };
    let overridden = match outcome.map_err(refused)? {
        Passage::Open => None,
        Passage::Forced { unmet } => {
            let rules: Vec<String> = unmet.into_iter().map(|unmet| unmet.rule).collect();
            presentation.warn(&format!(
                "the rules of the protected channel `{}` are overridden, and its record will say so: \
                 {}",
                wish.channel,
                rules.join(", ")
            ));
            Some(ChannelOverride { rules })
        }
    };
    Ok(Admitted {
        who: who(facts.identity, ground),
        overridden,
    })
}

/// Who it was, for the record.
fn who(identity: Option<Identity>, ground: &Ground) -> Who {
    match identity {
        Some(identity) => Who {
            name: identity.subject,
            verified: true,
            issuer: Some(identity.issuer),
        },
        None => Who {
            name: match ground.user() {
                Ok(user) => user.name.to_string(),
                Err(_) => "somebody".to_owned(),
            },
            verified: false,
            issuer: None,
        },
    }
}

fn ancestry(wish: &Wish<'_>, ground: &Ground) -> Ancestry {
    let current = wish.current.map(|kept| kept.record.commit.as_deref());
    let commit = wish.source.as_ref().map(|source| source.commit.as_str());
    match (current, commit) {
        (None, _) => Ancestry::First,
        (Some(Some(current)), Some(commit)) => ground.git.ancestry(commit, current),
        (Some(None), _) => Ancestry::Unknown {
            reason: "the channel's record does not say which commit it has".to_owned(),
        },
        (Some(_), None) => Ancestry::Unknown {
            reason: "it is not known which commit this is".to_owned(),
        },
    }
}

/// Runs a command of the declaration, as the user, beside the declaration. What it prints is part of
/// the conversation.
fn test(command: &str, ground: &Ground) -> TestOutcome {
    let directory = ground
        .loaded
        .as_ref()
        .map(|loaded| loaded.directory.as_path());
    let directory = directory.filter(|directory| !directory.as_os_str().is_empty());
    let outcome = Command::new("/bin/sh")
        .args(["-c", command])
        .current_dir(directory.unwrap_or(".".as_ref()))
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status();
    let failed = |reason: String| TestOutcome::Failed { reason };
    match outcome {
        Ok(status) if status.success() => TestOutcome::Passed,
        Ok(status) => failed(format!("it ended with {status}")),
        Err(error) => failed(format!("it could not be started: {error}")),
    }
}

/// Whether somebody sits there.
fn may_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Has somebody type the name of the channel.
fn ask(channel: &ChannelName, unmet: &[Unmet], presentation: Presentation) -> String {
    let mut text = format!("The channel `{channel}` is protected, and does not allow this:\n");
    for unmet in unmet {
        text += &format!("  {}: {}\n", unmet.rule, unmet.found);
    }
    text += "To move it all the same, type the name of the channel: ";
    presentation.ask(&text)
}

/// A refusal as users see it.
fn refused(refusal: Refusal) -> ProgramError {
    let mut error = ProgramError::failed(refusal.to_string()).code(EXIT_PROTECTED);
    match refusal {
        Refusal::Rules { channel, unmet } => {
            for unmet in unmet {
                error
                    .causes
                    .push(format!("{}: {}", unmet.rule, unmet.found));
                error = error.hint(format!("{}: {}", unmet.rule, unmet.remedy));
            }
            error.hint(format!(
                "a CI job of the right commit may do it, as `kiln channel promote` from another \
                 channel; to override the rules, spell the name: --force-protected={channel}"
            ))
        }
        Refusal::Misspelled { channel, .. } => error.hint(format!(
            "nothing was done; to override the rules of this channel: --force-protected={channel}"
        )),
    }
}
