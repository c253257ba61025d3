//! Credentials for a registry: the task's own, the operator's `auth.config` file, the operator's helper, in this order.
//!
//! The first that has any, or fails, decides. No credential is ever part of an error or a log line.

mod file;
mod helper;

use std::path::PathBuf;

use super::reference::ImageReference;
use crate::{
    config::{Auth, PluginAuth},
    engine::Credentials,
};

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

/// Looks for the credentials of an image's registry; `None` is to pull without.
pub(super) async fn find(
    image: &ImageReference,
    task: Option<&Auth>,
    plugin: &PluginAuth,
) -> Result<Option<Credentials>, AuthError> {
    if let Some(Auth { username, password, server_address }) = task
        && !(username.is_empty() && password.is_empty() && server_address.is_empty())
    {
        return Ok(Some(Credentials { username: username.clone(), password: password.clone() }));
    }
    let registry = image.registry();
    if let Some(path) = &plugin.config {
        match file::AuthFile::read(path).await?.find(registry) {
            file::Found::Credentials(credentials) => return Ok(Some(credentials)),
            file::Found::Helper(name) => {
                if let Some(credentials) = helper::ask(&name, registry).await? {
                    return Ok(Some(credentials));
                }
            }
            file::Found::Nothing => {}
        }
    }
    match &plugin.helper {
        Some(name) if !name.is_empty() => helper::ask(name, registry).await,
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageReference {
        ImageReference::parse("registry.test:5000/app:1").unwrap()
    }

    #[tokio::test]
    async fn a_tasks_own_credentials_are_taken_before_any_file_is_read() {
        let own = Auth { username: "u".into(), password: "p".into(), server_address: String::new() };
        let plugin = PluginAuth { config: Some("/nonexistent".into()), helper: Some("none".into()) };

        let found = find(&image(), Some(&own), &plugin).await.unwrap().unwrap();

        assert_eq!((found.username.as_str(), found.password.as_str()), ("u", "p"));
    }

    #[tokio::test]
    async fn an_empty_auth_block_is_none_at_all() {
        let found = find(&image(), Some(&Auth::default()), &PluginAuth::default()).await;

        assert_eq!(found.map(|found| found.is_some()), Ok(false));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_an_error_though_a_helper_is_left() {
        let plugin = PluginAuth { config: Some("/nonexistent/config.json".into()), helper: Some("none".into()) };

        let error = find(&image(), None, &plugin).await.unwrap_err();

        let expected = "Failed to open auth config file: /nonexistent/config.json, error: ";
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}
