//! Credentials for a registry: the task's own, the operator's `auth.config` file, the operator's helper, in this order.
//!
//! The first source that has any, or fails, decides. No credential is ever part of an error or a log line.

mod file;
mod helper;

use std::{fmt, path::PathBuf};

use crate::config::{Auth, PluginAuth};
use crate::reference::{HUB, ImageReference};
use engine::Credentials;

/// The key of docker's Hub credentials. Other programs use [`HUB`].
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Why credentials could not be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AuthError {
    #[error("Failed to open auth config file: {}, error: {reason}", path.display())]
    Open { path: PathBuf, reason: String },
    #[error("Failed to parse auth config file: {}, error: {reason}", path.display())]
    Parse { path: PathBuf, reason: String },
    #[error("{program} with input {input:?} failed with stderr: {stderr}")]
    Helper { program: String, input: String, stderr: String },
    #[error("{program} with input {input:?} failed: {reason}")]
    HelperUnusable { program: String, input: String, reason: String },
}

/// Credentials and their source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundCredentials {
    pub(super) credentials: Credentials,
    pub(super) source: CredentialSource,
}

/// The source of credentials, as task events name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CredentialSource {
    Task,
    File(PathBuf),
    /// A program, and the file that names it; `None` for the plugin's own `auth.helper`.
    Helper(String, Option<PathBuf>),
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task => f.write_str("the task's auth block"),
            Self::File(path) => write!(f, "the config file {}", path.display()),
            Self::Helper(program, None) => write!(f, "the credential helper {program}"),
            Self::Helper(program, Some(path)) => {
                write!(f, "the credential helper {program} of the config file {}", path.display())
            }
        }
    }
}

/// Finds the credentials of an image's registry; `None` means to pull without.
pub(super) async fn find(
    image: &ImageReference,
    task: Option<&Auth>,
    plugin: &PluginAuth,
) -> Result<Option<FoundCredentials>, AuthError> {
    let registry = image.registry();
    if let Some(Auth { username, password, server_address: given }) = task
        && !(username.is_empty() && password.is_empty() && given.is_empty())
    {
        let credentials = Credentials {
            username: username.clone(),
            password: password.clone(),
            server_address: server_address(given, registry),
            ..Credentials::default()
        };
        return Ok(Some(FoundCredentials { credentials, source: CredentialSource::Task }));
    }
    if let Some(path) = &plugin.config {
        let file = file::AuthFile::read(path).await?;
        if let Some(credentials) = file.credentials(registry) {
            return Ok(Some(FoundCredentials { credentials, source: CredentialSource::File(path.clone()) }));
        }
        for name in file.helpers(registry) {
            let program = helper::program(name);
            if let Some(credentials) = helper::ask(&program, registry).await? {
                return Ok(Some(FoundCredentials {
                    credentials,
                    source: CredentialSource::Helper(program, Some(path.clone())),
                }));
            }
        }
    }
    let Some(name) = plugin.helper.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
    let program = helper::program(name);
    let credentials = helper::ask(&program, registry).await?;
    Ok(credentials.map(|credentials| FoundCredentials { credentials, source: CredentialSource::Helper(program, None) }))
}

/// The server address in the engine's form: the one that the source gives, or else the image's registry. The Hub has a single
/// name there, whichever of its aliases is given.
fn server_address(given: &str, registry: &str) -> String {
    let is_hubs = |host: &str| host == HUB || host.ends_with(".docker.io") || host.ends_with(".docker.com");
    match (registry, given) {
        (HUB, given) if given.is_empty() || is_hubs(host(given)) => HUB_KEY.to_owned(),
        (registry, "") => registry.to_owned(),
        (_, given) => given.to_owned(),
    }
}

/// `https://host/path` to `host`.
fn host(address: &str) -> &str {
    let rest = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://")).unwrap_or(address);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests;
