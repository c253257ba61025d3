//! The operator's credentials in the form of docker's `config.json`.

use std::{collections::BTreeMap, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{AuthError, HUB_KEY, host, server_address};
use crate::reference::HUB;
use engine::Credentials;

/// The credential sections of a `config.json`.
#[derive(Default, Deserialize)]
pub(super) struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl AuthFile {
    pub(super) async fn read(path: &Path) -> Result<Self, AuthError> {
        let bytes = tokio::fs::read(path)
            .await
            .map_err(|error| AuthError::Open { path: path.to_owned(), reason: error.to_string() })?;
        Self::parse(&bytes).map_err(|reason| AuthError::Parse { path: path.to_owned(), reason })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        // The parser's message may quote the file, so only the position is reported.
        let file: Self = serde_json::from_slice(bytes)
            .map_err(|error| format!("invalid JSON at line {} column {}", error.line(), error.column()))?;
        for (registry, entry) in &file.auths {
            entry.credentials().map_err(|()| format!("invalid auth of {registry}"))?;
        }
        Ok(file)
    }

    /// The first entry of a registry that has credentials: by its name, or else by the host in a URL.
    pub(super) fn credentials(&self, registry: &str) -> Option<Credentials> {
        let by_name = names(registry).into_iter().filter_map(|name| self.auths.get_key_value(name));
        let by_host = self.auths.iter().filter(|(key, _)| registry != HUB && host(key) == registry);
        by_name.chain(by_host).find_map(|(key, entry)| {
            let credentials = entry.credentials().ok()??;
            Some(Credentials { server_address: server_address(key, registry), ..credentials })
        })
    }

    /// The suffixes of the programs to ask, in this order.
    pub(super) fn helpers(&self, registry: &str) -> impl Iterator<Item = &str> {
        let own = names(registry).into_iter().filter_map(|name| self.helpers.get(name)).find(|name| !name.is_empty());
        let store = Some(&self.store).filter(|store| !store.is_empty() && own != Some(store));
        own.into_iter().chain(store).map(String::as_str)
    }
}

/// The keys of a registry.
fn names(registry: &str) -> Vec<&str> {
    if registry == HUB { vec![HUB_KEY, HUB] } else { vec![registry] }
}

impl AuthEntry {
    /// `auth` is base64 of `username:password`; docker leaves an entry empty if its secret is in a store.
    fn credentials(&self) -> Result<Option<Credentials>, ()> {
        let (username, password) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            let decoded = String::from_utf8(STANDARD.decode(&self.auth).map_err(|_| ())?).map_err(|_| ())?;
            let (username, password) = decoded.split_once(':').ok_or(())?;
            // docker's own reader strips NULs that old versions wrote.
            (username.to_owned(), password.trim_matches('\0').to_owned())
        };
        let credentials = Credentials {
            username,
            password,
            identity_token: self.identitytoken.clone(),
            registry_token: self.registrytoken.clone(),
            server_address: String::new(),
        };
        Ok((credentials != Credentials::default()).then_some(credentials))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The credentials as the engine gets them, or the helpers to ask.
    fn found(file: &str, registry: &str) -> String {
        match AuthFile::parse(file.as_bytes()) {
            Ok(file) => file.credentials(registry).map_or_else(
                || format!("ask {:?}", file.helpers(registry).collect::<Vec<_>>()),
                |credentials| serde_json::to_string(&credentials).unwrap(),
            ),
            Err(error) => error,
        }
    }

    fn entry(key: &str, entry: &str, registry: &str) -> String {
        found(&format!(r#"{{ "auths": {{ "{key}": {entry} }} }}"#), registry)
    }

    #[test]
    fn an_entry_is_found_by_host_whatever_the_url_that_has_it() {
        // user:pa:ss
        let auth = r#"{ "auth": "dXNlcjpwYTpzcw==" }"#;
        for key in ["r.test:5000", "https://r.test:5000/v1/", "http://r.test:5000"] {
            let expected = format!(r#"{{"username":"user","password":"pa:ss","serveraddress":"{key}"}}"#);
            assert_eq!(entry(key, auth, "r.test:5000"), expected);
        }
        assert_eq!(entry("r.test", auth, "r.test:5000"), "ask []");
    }

    #[test]
    fn the_hub_is_found_by_both_of_its_keys_and_by_the_first_with_credentials() {
        let with = |user: &str| format!(r#"{{ "username": "{user}", "password": "p" }}"#);
        let both = |index: &str, short: &str| {
            found(&format!(r#"{{ "auths": {{ "{HUB_KEY}": {index}, "docker.io": {short} }} }}"#), HUB)
        };
        let expected = |user: &str| format!(r#"{{"username":"{user}","password":"p","serveraddress":"{HUB_KEY}"}}"#);

        assert_eq!(both(&with("index"), &with("short")), expected("index"));
        assert_eq!(both("{}", &with("short")), expected("short"));
        assert_eq!(entry("docker.io", &with("short"), HUB), expected("short"));
        // Newer versions of docker store tokens next to the Hub's credentials that are not for registries.
        assert_eq!(entry("https://index.docker.io/v1/access-token", &with("u"), HUB), "ask []");
    }

    #[test]
    fn tokens_are_credentials_with_and_without_a_password() {
        assert_eq!(entry("r", r#"{ "identitytoken": "it" }"#, "r"), r#"{"identitytoken":"it","serveraddress":"r"}"#);
        // 00000000-0000-0000-0000-000000000000 without a password, as a cloud's login leaves it.
        assert_eq!(
            entry(
                "r",
                r#"{ "auth": "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==", "identitytoken": "it" }"#,
                "r"
            ),
            r#"{"username":"00000000-0000-0000-0000-000000000000","identitytoken":"it","serveraddress":"r"}"#
        );
        assert_eq!(entry("r", r#"{ "registrytoken": "rt" }"#, "r"), r#"{"registrytoken":"rt","serveraddress":"r"}"#);
    }

    #[test]
    fn an_entry_precedes_a_helper_and_a_helper_of_its_own_before_the_store() {
        let file = r#"{
            "auths": { "a": { "username": "u", "password": "p" }, "b": {} },
            "credHelpers": { "a": "one", "b": "one", "docker.io": "hubs", "d": "", "e": "all" },
            "credsStore": "all"
        }"#;

        assert_eq!(found(file, "a"), r#"{"username":"u","password":"p","serveraddress":"a"}"#);
        assert_eq!(found(file, "b"), r#"ask ["one", "all"]"#);
        for registry in ["c", "d", "e"] {
            assert_eq!(found(file, registry), r#"ask ["all"]"#, "{registry}");
        }
        assert_eq!(found(file, HUB), r#"ask ["hubs", "all"]"#);
    }

    #[test]
    fn an_empty_entry_hides_neither_another_nor_a_helper() {
        let file = r#"{
            "auths": { "r.test": {}, "https://r.test/v1/": { "username": "u" }, "s.test": { "auth": "" } },
            "credsStore": "all"
        }"#;

        assert_eq!(found(file, "r.test"), r#"{"username":"u","serveraddress":"https://r.test/v1/"}"#);
        assert_eq!(found(file, "s.test"), r#"ask ["all"]"#);
    }

    #[test]
    fn a_broken_file_is_reported_by_place_and_not_by_content() {
        assert_eq!(found("{ \"auths\": \"hunter2\" }", "a"), "invalid JSON at line 1 column 20");
        assert_eq!(found(r#"{ "auths": { "a": { "auth": "aHVudGVyMg==" } } }"#, "a"), "invalid auth of a");
    }
}
