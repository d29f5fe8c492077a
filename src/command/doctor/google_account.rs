//! Our account at Google: where it comes from, and whether it gives tokens.

use google::{GoogleErrorKind, SCOPE_CLOUD_PLATFORM};

use super::bounded;
use super::finding::{Finding, Level};
use crate::accounts;
use crate::settings::Settings;

const CHECK: &str = "google";

/// What can be said without asking anybody: whether a job may prove who it is, and by whom.
pub(super) fn check_settings(settings: &Settings) -> Vec<Finding> {
    let federation = &settings.google.ambient.federation;
    let declared = settings.declared_google();
    let provider = federation
        .provider
        .as_deref()
        .or_else(|| declared.and_then(|declared| declared.provider.as_deref()));
    let mut findings = Vec::new();
    let Some(provider) = provider else {
        return findings;
    };
    let project = provider
        .split_once("projects/")
        .and_then(|(_, rest)| rest.split('/').next());
    if let Some(project) = project
        && !project.is_empty()
        && !project.bytes().all(|byte| byte.is_ascii_digit())
    {
        findings.push(
            Finding::problem(
                CHECK,
                format!(
                    "the workload identity provider has `{project}`, and needs the project's number"
                ),
            )
            .fix(format!(
                "gcloud projects describe {project} --format='value(projectNumber)'"
            )),
        );
    }
    let ambient = &settings.google.ambient;
    if ambient.is_github && ambient.github.is_none() && federation.subject.is_none() {
        findings.push(
            Finding::problem(
                CHECK,
                "this job of GitHub Actions is to prove its identity, and may not ask for a token",
            )
            .fix("`permissions: {id-token: write}` in the workflow"),
        );
    }
    findings
}

/// Whether there is anything of Google's to look at.
pub(super) fn is_around(settings: &Settings) -> bool {
    let ambient = &settings.google.ambient;
    let file = ambient.gcloud_file.as_ref();
    ambient.credentials_file.is_some()
        || ambient.federation.provider.is_some()
        || ambient.federation.subject.is_some()
        || file.is_some_and(|path| path.exists())
}

/// Has a token made, and forgets it.
pub(super) async fn check_token(settings: &Settings, is_needed: bool) -> Finding {
    let google = accounts::google(settings);
    let asked = bounded(async {
        let identity = google.identity().await?;
        let token = google.access_token(&[SCOPE_CLOUD_PLATFORM]).await?;
        Ok::<_, google::GoogleError>((identity, token.time_left()))
    });
    match asked.await {
        None => Finding::warning(CHECK, "no answer in time: nothing is known of the account")
            .fix("check the network and the proxy settings"),
        Some(Ok((identity, left))) => {
            let who = identity.account.as_deref().unwrap_or("an account");
            Finding::ok(
                CHECK,
                format!(
                    "{who}: {}, {}; tokens can be had, this one for {} min",
                    identity.kind,
                    identity.place,
                    left.as_secs() / 60
                ),
            )
        }
        Some(Err(error)) => {
            let level = match (error.kind(), is_needed) {
                (GoogleErrorKind::NoAccount, false) => Level::Ok,
                (GoogleErrorKind::NoAccount, true) => Level::Warning,
                (GoogleErrorKind::Unreachable, _) => Level::Warning,
                (GoogleErrorKind::Unusable | GoogleErrorKind::Denied, _) => Level::Problem,
            };
            let error = accounts::google_error("no token can be had", &error);
            Finding::of_error(level, CHECK, &error)
        }
    }
}
