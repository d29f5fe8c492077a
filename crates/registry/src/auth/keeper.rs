//! Where a new account is kept and an old one forgotten: in docker's `config.json`, or with the
//! helper that it names.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::config_file::DOCKER_HUB_KEY;
use super::edit::{Edit, EditError, HelperPlan};
use super::helper::{HelperError, HelperName, HelperSettings};
use super::store::{CredentialSources, HELPER_TIME_MAX, server_key};
use super::{Credential, Secret};

/// Changes docker's `config.json`.
#[derive(Clone, Debug)]
pub struct AccountKeeper {
    path: PathBuf,
    helpers: HelperSettings,
}

/// Where an account is now, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the file, in a form that anybody who can read the file can read.
    File(PathBuf),
    /// With a helper.
    Helper {
        /// The program.
        program: String,
        /// The key that names it.
        key: String,
    },
}

/// Why nothing was kept or forgotten.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The file cannot be changed.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The file names a helper whose name is none.
    #[error("{path}: {key}: {reason}")]
    Name {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The helper did not do it.
    #[error("the credential helper that {path} names ({key}) did not do it")]
    Helper {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What went wrong.
        source: HelperError,
    },
    /// The account cannot be kept.
    #[error("{0}")]
    Account(&'static str),
}

impl AccountKeeper {
    /// The keeper for the file of `sources`, which may be missing; `None` when there is no place for
    /// one.
    pub fn new(sources: &CredentialSources) -> Option<Self> {
        Some(Self {
            path: sources.docker_config.clone()?,
            helpers: HelperSettings {
                search_path: sources.search_path.clone(),
                environment: sources.helper_environment.clone(),
                time_max: HELPER_TIME_MAX,
            },
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where an account for `host` would go.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or names an impossible helper.
    pub fn place(&self, host: &str) -> Result<Kept, KeepError> {
        let edit = Edit::open(&self.path)?;
        Ok(match self.helper(&edit, server_key(host))? {
            Some((helper, key)) => Kept::Helper {
                program: helper.program(),
                key,
            },
            None => Kept::File(edit.path().to_owned()),
        })
    }

    /// Keeps an account.
    ///
    /// # Errors
    ///
    /// When the file or the helper cannot take it; what was there before is unchanged then.
    pub async fn keep(&self, host: &str, credential: &Credential) -> Result<Kept, KeepError> {
        let server = server_key(host);
        let mut edit = Edit::open(&self.path)?;
        let helper = self.helper(&edit, server)?;
        let (user, secret) = match credential {
            Credential::Password { username, password } => (username.as_str(), password.expose()),
            Credential::IdentityToken(token) => ("<token>", token.expose()),
            Credential::RegistryToken(_) => {
                return Err(KeepError::Account("a registry's own token is not kept"));
            }
        };
        if let Some((helper, key)) = helper {
            self.helpers
                .store(&helper, server, user, secret)
                .await
                .map_err(self.helper_failed(&edit, &key))?;
            // Docker leaves an empty entry, by which it knows where to log out.
            edit.set_account(server, &[])?;
            edit.save()?;
            return Ok(Kept::Helper {
                program: helper.program(),
                key,
            });
        }
        // One that is spelled otherwise would win by chance.
        for key in same_registry(&edit, server) {
            edit.remove("auths", &key);
        }
        match credential {
            Credential::IdentityToken(_) => {
                edit.set_account(server, &[("identitytoken", secret)])?;
            }
            Credential::Password { .. } | Credential::RegistryToken(_) => {
                if user.is_empty() || user.contains(':') {
                    return Err(KeepError::Account(
                        "the user's name is empty or holds a colon",
                    ));
                }
                let auth = Secret::new(STANDARD.encode(format!("{user}:{secret}")));
                edit.set_account(server, &[("auth", auth.expose())])?;
            }
        }
        edit.save()?;
        Ok(Kept::File(edit.path().to_owned()))
    }

    /// Forgets an account; where it was. The list is empty when there was none.
    ///
    /// # Errors
    ///
    /// When the file or the helper cannot forget it.
    pub async fn forget(&self, host: &str) -> Result<Vec<Kept>, KeepError> {
        let server = server_key(host);
        let mut edit = Edit::open(&self.path)?;
        let mut forgotten = Vec::new();
        let keys = same_registry(&edit, server);
        if let Some((helper, key)) = self.helper(&edit, server)? {
            let known = self
                .helpers
                .get(&helper, server)
                .await
                .map_err(self.helper_failed(&edit, &key))?;
            if known.is_some() {
                self.helpers
                    .erase(&helper, server)
                    .await
                    .map_err(self.helper_failed(&edit, &key))?;
                forgotten.push(Kept::Helper {
                    program: helper.program(),
                    key,
                });
            }
        } else if !keys.is_empty() {
            forgotten.push(Kept::File(edit.path().to_owned()));
        }
        if !keys.is_empty() {
            for key in keys {
                edit.remove("auths", &key);
            }
            edit.save()?;
        }
        Ok(forgotten)
    }

    /// What naming `helper` for `hosts` would change.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or the name is none.
    pub fn plan_helpers(&self, hosts: &[&str], helper: &str) -> Result<HelperPlan, KeepError> {
        let mut edit = Edit::open(&self.path)?;
        self.named(&edit, "--helper", helper)?;
        Ok(edit.set_helpers(hosts, helper)?)
    }

    /// Names `helper` for `hosts`.
    ///
    /// # Errors
    ///
    /// When the file cannot be changed, or the name is none.
    pub fn name_helpers(&self, hosts: &[&str], helper: &str) -> Result<HelperPlan, KeepError> {
        let mut edit = Edit::open(&self.path)?;
        self.named(&edit, "--helper", helper)?;
        let plan = edit.set_helpers(hosts, helper)?;
        if plan.changes {
            edit.save()?;
        }
        Ok(plan)
    }

    /// The helper that is responsible for a registry, with the key that names it.
    fn helper(&self, edit: &Edit, server: &str) -> Result<Option<(HelperName, String)>, KeepError> {
        let (name, key) = match edit.text("credHelpers", server) {
            Some(name) => (name, format!("credHelpers[\"{server}\"]")),
            None => match edit.top("credsStore") {
                Some(name) => (name, "credsStore".to_owned()),
                None => return Ok(None),
            },
        };
        let helper = self.named(edit, &key, name)?;
        Ok(helper.map(|helper| (helper, key)))
    }

    fn named(&self, edit: &Edit, key: &str, name: &str) -> Result<Option<HelperName>, KeepError> {
        HelperName::parse(name).map_err(|reason| KeepError::Name {
            path: edit.path().to_owned(),
            key: key.to_owned(),
            reason,
        })
    }

    fn helper_failed(&self, edit: &Edit, key: &str) -> impl Fn(HelperError) -> KeepError {
        let (path, key) = (edit.path().to_owned(), key.to_owned());
        move |source| KeepError::Helper {
            path: path.clone(),
            key: key.clone(),
            source,
        }
    }
}

/// The keys of `auths` that mean this registry as a whole, however they are spelled.
fn same_registry(edit: &Edit, server: &str) -> Vec<String> {
    let bare = |key: &str| -> String {
        let had_scheme = key.contains("://");
        let key = key.trim_start_matches("https://");
        let key = key.trim_start_matches("http://");
        match key.split_once('/') {
            Some((host, _)) if had_scheme => host.to_owned(),
            Some((host, "" | "v1" | "v2" | "v1/" | "v2/")) => host.to_owned(),
            _ => key.to_owned(),
        }
    };
    let same = |key: &String| {
        *key == server
            || bare(key) == bare(server)
            || (server == DOCKER_HUB_KEY && server_key(&bare(key)) == DOCKER_HUB_KEY)
    };
    edit.keys("auths").into_iter().filter(same).collect()
}
