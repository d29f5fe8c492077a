//! What the environment and the flags say of our account at Google, in the names that Google's own
//! tools and libraries use; and where its services are, for those who have them elsewhere.

use google::{Ambient, Endpoints, Federation, GithubIdentity, MetadataUse, Secret, SubjectToken};

use super::Environment;
use crate::args::GoogleOptions;

/// Our account at Google, as far as it is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct GoogleSettings {
    /// Where services are.
    pub(crate) endpoints: Endpoints,
    /// What was found.
    pub(crate) ambient: Ambient,
    /// Where Artifact Registry is, if not where Google has it.
    pub(crate) artifact_registry: Option<String>,
    /// Registries beside Google's own that take its tokens, such as a proxy in front of one.
    pub(crate) hosts: Vec<String>,
}

impl GoogleSettings {
    /// Puts flags and environment together.
    pub(super) fn new(environment: &Environment, options: Option<&GoogleOptions>) -> Self {
        let (metadata, metadata_use) = metadata(environment, product().as_deref());
        let text = |name: &str| environment.text(name);
        let endpoints = Endpoints {
            universe: text("GOOGLE_CLOUD_UNIVERSE_DOMAIN")
                .or_else(|| text("CLOUDSDK_CORE_UNIVERSE_DOMAIN")),
            sts: text("KILN_ENDPOINT_STS"),
            iam_credentials: text("KILN_ENDPOINT_IAMCREDENTIALS"),
            oauth2: text("KILN_ENDPOINT_OAUTH2"),
            metadata,
        };
        let gcloud = environment.path("CLOUDSDK_CONFIG").or_else(|| {
            environment
                .path("HOME")
                .map(|home| home.join(".config/gcloud"))
        });
        let request_url = text("ACTIONS_ID_TOKEN_REQUEST_URL");
        let request_token = text("ACTIONS_ID_TOKEN_REQUEST_TOKEN");
        let ambient = Ambient {
            credentials_file: environment
                .path("GOOGLE_APPLICATION_CREDENTIALS")
                .or_else(|| environment.path("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE")),
            gcloud_file: gcloud.map(|path| path.join("application_default_credentials.json")),
            federation: federation(environment, options),
            is_github: request_url.is_some() || text("GITHUB_ACTIONS").as_deref() == Some("true"),
            github: request_url
                .zip(request_token)
                .map(|(request_url, token)| GithubIdentity {
                    request_url,
                    request_token: Secret::new(token),
                }),
            allow_executables: text("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES").as_deref()
                == Some("1"),
            metadata: metadata_use,
            search_path: environment.get("PATH").map(ToOwned::to_owned),
        };
        let hosts = text("KILN_GOOGLE_HOSTS").unwrap_or_default();
        let hosts = hosts.split(',').map(str::trim);
        Self {
            endpoints,
            ambient,
            artifact_registry: text("KILN_ENDPOINT_ARTIFACTREGISTRY"),
            hosts: hosts
                .filter(|host| !host.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }
}

/// A provider of identities. A flag counts before a variable.
fn federation(environment: &Environment, options: Option<&GoogleOptions>) -> Federation {
    let said = |flag: fn(&GoogleOptions) -> &Option<String>, name: &str| {
        let flag = options.and_then(|options| flag(options).clone());
        flag.or_else(|| environment.text(name))
    };
    let provider = said(
        |options| &options.workload_identity_provider,
        "KILN_GCP_WORKLOAD_IDENTITY_PROVIDER",
    );
    let service_account = said(
        |options| &options.service_account,
        "KILN_GCP_SERVICE_ACCOUNT",
    );
    let file = options.and_then(|options| options.oidc_token_file.clone());
    let variable = options.and_then(|options| options.oidc_token_env.clone());
    let subject = match (file, variable) {
        (Some(path), _) => Some(SubjectToken::File(path)),
        (None, Some(name)) => Some(SubjectToken::Variable {
            token: environment.text(&name).map(Secret::new),
            name,
        }),
        (None, None) => environment
            .path("KILN_OIDC_TOKEN_FILE")
            .map(SubjectToken::File),
    };
    Federation {
        is_provider_demanded: provider.is_some(),
        is_account_demanded: service_account.is_some(),
        provider,
        service_account,
        subject,
    }
}

/// Where the metadata server is, and whether it is known to be there.
fn metadata(environment: &Environment, product: Option<&str>) -> (Option<String>, MetadataUse) {
    let text = |name: &str| environment.text(name);
    if let Some(url) = text("KILN_ENDPOINT_METADATA") {
        return (Some(url), MetadataUse::Present);
    }
    let host = text("GCE_METADATA_HOST").or_else(|| text("GCE_METADATA_ROOT"));
    if let Some(host) = host {
        return (Some(format!("http://{host}")), MetadataUse::Present);
    }
    let is_forbidden = text("NO_GCE_CHECK").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let address = text("GCE_METADATA_IP").map(|address| format!("http://{address}"));
    // A machine that says that somebody else made it is not asked: where nobody listens, the answer
    // would be waited for, for seconds, whenever a base image is one of Google's.
    let is_foreign = product.is_some_and(|product| !product.contains("Google"));
    match is_forbidden || (is_foreign && address.is_none()) {
        true => (address, MetadataUse::Never),
        false => (address, MetadataUse::Detect),
    }
}

/// What this machine says that it is; `None` where it says nothing, as in some sandboxes.
fn product() -> Option<String> {
    let text = std::fs::read_to_string("/sys/class/dmi/id/product_name").ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A declaration's words about our account; they count where flags and variables say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeclaredAccount {
    /// Who vouches for us.
    pub(crate) provider: Option<String>,
    /// The account to act as.
    pub(crate) service_account: Option<String>,
}

impl DeclaredAccount {
    /// Adds it to what is known.
    pub(crate) fn apply(&self, federation: &mut Federation) {
        let fill = |known: &mut Option<String>, said: &Option<String>| {
            if known.is_none() {
                known.clone_from(said);
            }
        };
        fill(&mut federation.provider, &self.provider);
        fill(&mut federation.service_account, &self.service_account);
    }
}

impl From<&project::GoogleAccount> for DeclaredAccount {
    fn from(account: &project::GoogleAccount) -> Self {
        Self {
            provider: account.workload_identity_provider.clone(),
            service_account: account.service_account.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(options: Option<&GoogleOptions>, variables: &[(&str, &str)]) -> GoogleSettings {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        GoogleSettings::new(&Environment(variables.collect()), options)
    }

    #[test]
    fn the_nearest_word_counts() {
        let flags = GoogleOptions {
            workload_identity_provider: Some("flag".to_owned()),
            oidc_token_env: Some("TOKEN".to_owned()),
            ..GoogleOptions::default()
        };
        let variables = [
            ("KILN_GCP_WORKLOAD_IDENTITY_PROVIDER", "variable"),
            ("KILN_GCP_SERVICE_ACCOUNT", "a@p"),
            ("TOKEN", "secret"),
        ];
        let mut federation = found(Some(&flags), &variables).ambient.federation;
        assert_eq!(federation.provider.as_deref(), Some("flag"));
        assert!(federation.is_provider_demanded && federation.is_account_demanded);
        let subject = format!("{:?}", federation.subject);
        assert!(
            subject.contains("TOKEN") && !subject.contains("secret"),
            "{subject}"
        );
        // A declaration fills what is missing, and asks for nothing.
        let declared = DeclaredAccount {
            provider: Some("declared".to_owned()),
            service_account: Some("b@p".to_owned()),
        };
        declared.apply(&mut federation);
        assert_eq!(federation.provider.as_deref(), Some("flag"));
        let mut federation = found(None, &[]).ambient.federation;
        declared.apply(&mut federation);
        assert_eq!(federation.provider.as_deref(), Some("declared"));
        assert!(!federation.is_provider_demanded && !federation.is_account_demanded);
    }

    #[test]
    fn the_metadata_server_is_where_the_environment_says() {
        let found = |variables: &[(&str, &str)], product: Option<&str>| {
            let variables = variables
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()));
            metadata(&Environment(variables.collect()), product)
        };
        let check = |variables: &[(&str, &str)], url: Option<&str>, usage: MetadataUse| {
            let expected = (url.map(str::to_owned), usage);
            assert_eq!(found(variables, None), expected, "{variables:?}");
        };
        assert_eq!(
            found(&[], Some("Google Compute Engine")).1,
            MetadataUse::Detect
        );
        assert_eq!(found(&[], Some("ThinkPad")).1, MetadataUse::Never);
        let present = found(&[("GCE_METADATA_HOST", "h")], Some("ThinkPad"));
        assert_eq!(present.1, MetadataUse::Present);
        check(&[], None, MetadataUse::Detect);
        check(&[("NO_GCE_CHECK", "True")], None, MetadataUse::Never);
        check(
            &[("GCE_METADATA_HOST", "h:1")],
            Some("http://h:1"),
            MetadataUse::Present,
        );
        check(
            &[("GCE_METADATA_ROOT", "h")],
            Some("http://h"),
            MetadataUse::Present,
        );
        check(
            &[("GCE_METADATA_IP", "1.2.3.4")],
            Some("http://1.2.3.4"),
            MetadataUse::Detect,
        );
    }
}
