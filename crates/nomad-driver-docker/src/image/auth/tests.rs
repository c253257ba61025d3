//! The sources of credentials, without a running helper: the end-to-end tests cover those.

use super::*;
use crate::reference::ImageReference;

fn image(name: &str) -> ImageReference {
    ImageReference::parse(name).unwrap()
}

#[tokio::test]
async fn a_tasks_own_credentials_are_taken_before_any_file_is_read() {
    let own = Auth { username: "u".into(), password: "p".into(), server_address: String::new() };
    let plugin = PluginAuth { config: Some("/nonexistent".into()), helper: Some("none".into()) };

    let found = find(&image("registry.test:5000/app:1"), Some(&own), &plugin).await.unwrap().unwrap();

    let Credentials { username, password, server_address, .. } = found.credentials;
    assert_eq!((username.as_str(), password.as_str(), server_address.as_str()), ("u", "p", "registry.test:5000"));
    assert_eq!(found.source, CredentialSource::Task);
}

#[tokio::test]
async fn an_empty_auth_block_is_none_at_all() {
    let found = find(&image("registry.test/app:1"), Some(&Auth::default()), &PluginAuth::default()).await;

    assert_eq!(found, Ok(None));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_an_error_though_a_helper_is_left() {
    let plugin = PluginAuth { config: Some("/nonexistent/config.json".into()), helper: Some("none".into()) };

    let error = find(&image("registry.test/app:1"), None, &plugin).await.unwrap_err();

    let expected = "Failed to open auth config file: /nonexistent/config.json, error: ";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn the_hubs_many_names_are_one_to_the_engine() {
    for given in ["", "docker.io", "https://index.docker.io/v1/", "hub.docker.com", "https://registry-1.docker.io"] {
        assert_eq!(server_address(given, HUB), HUB_KEY, "{given}");
    }
    assert_eq!(server_address("mirror.test", HUB), "mirror.test");
    assert_eq!(server_address("", "r.test:5000"), "r.test:5000");
    assert_eq!(server_address("https://r.test/v2/", "r.test"), "https://r.test/v2/");
}

#[test]
fn a_source_is_named_so_that_an_operator_finds_it() {
    let path = PathBuf::from("/etc/registries.json");
    let named = [
        CredentialSource::Task,
        CredentialSource::File(path.clone()),
        CredentialSource::Helper("docker-credential-x".into(), None),
        CredentialSource::Helper("docker-credential-x".into(), Some(path)),
    ];

    assert_eq!(
        named.map(|source| source.to_string()),
        [
            "the task's auth block",
            "the config file /etc/registries.json",
            "the credential helper docker-credential-x",
            "the credential helper docker-credential-x of the config file /etc/registries.json",
        ]
    );
}
