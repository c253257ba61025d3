//! The operator's credentials in the form of docker's `config.json`.

use std::{collections::BTreeMap, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{super::reference::HUB, AuthError};
use crate::engine::Credentials;

/// The key of Docker Hub, by which alone it is looked up.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The parts of a `config.json` that say something of credentials.
#[derive(Default, Deserialize)]
pub(super) struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: String,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

/// What the file says of a registry.
pub(super) enum Found {
    Credentials(Credentials),
    /// The suffix of the program to ask.
    Helper(String),
    Nothing,
}

impl AuthFile {
    pub(super) async fn read(path: &Path) -> Result<Self, AuthError> {
        let bytes = tokio::fs::read(path)
            .await
            .map_err(|error| AuthError::Open { path: path.to_owned(), reason: error.to_string() })?;
        Self::parse(&bytes).map_err(|reason| AuthError::Parse { path: path.to_owned(), reason })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        // The parser's words may quote the file, so that only the place is told.
        let file: Self = serde_json::from_slice(bytes)
            .map_err(|error| format!("invalid JSON at line {} column {}", error.line(), error.column()))?;
        for (registry, entry) in &file.auths {
            entry.credentials().map_err(|()| format!("invalid auth of {registry}"))?;
        }
        Ok(file)
    }

    pub(super) fn find(&self, registry: &str) -> Found {
        let key = if registry == HUB { HUB_KEY } else { registry };
        let by_host = || {
            let same_host = |(other, _): &(&String, &Entry)| registry != HUB && host(other) == registry;
            self.auths.iter().find(same_host).map(|(_, entry)| entry)
        };
        let entry = self.auths.get(key).or_else(by_host);
        if let Some(Ok(Some(credentials))) = entry.map(Entry::credentials) {
            return Found::Credentials(credentials);
        }
        match self.helpers.get(key) {
            Some(helper) if !helper.is_empty() => Found::Helper(helper.clone()),
            _ if !self.store.is_empty() => Found::Helper(self.store.clone()),
            _ => Found::Nothing,
        }
    }
}

impl Entry {
    /// `auth` is base64 of `username:password`; docker leaves an entry empty whose secret is in a store.
    fn credentials(&self) -> Result<Option<Credentials>, ()> {
        if self.auth.is_empty() {
            let Self { username, password, .. } = self;
            let given = !(username.is_empty() && password.is_empty());
            return Ok(given.then(|| Credentials { username: username.clone(), password: password.clone() }));
        }
        let decoded = STANDARD.decode(&self.auth).map_err(|_| ())?;
        let decoded = String::from_utf8(decoded).map_err(|_| ())?;
        let (username, password) = decoded.split_once(':').ok_or(())?;
        // docker's own reader cuts NULs that old versions wrote.
        let password = password.trim_matches('\0');
        Ok(Some(Credentials { username: username.to_owned(), password: password.to_owned() }))
    }
}

/// `https://host/path` to `host`.
fn host(key: &str) -> &str {
    let rest = key.strip_prefix("http://").or_else(|| key.strip_prefix("https://")).unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, registry: &str) -> String {
        match AuthFile::parse(file.as_bytes()).map(|file| file.find(registry)) {
            Ok(Found::Credentials(credentials)) => format!("{} {}", credentials.username, credentials.password),
            Ok(Found::Helper(name)) => format!("ask {name}"),
            Ok(Found::Nothing) => "nothing".to_owned(),
            Err(error) => error,
        }
    }

    #[test]
    fn an_entry_is_found_by_host_whatever_the_url_around_it() {
        // user:pa:ss
        let auth = r#"{ "auth": "dXNlcjpwYTpzcw==" }"#;
        for key in ["r.test:5000", "https://r.test:5000/v1/", "http://r.test:5000"] {
            assert_eq!(
                found(&format!(r#"{{ "auths": {{ "{key}": {auth} }} }}"#), "r.test:5000"),
                "user pa:ss",
                "{key}"
            );
        }
        assert_eq!(found(&format!(r#"{{ "auths": {{ "r.test": {auth} }} }}"#), "r.test:5000"), "nothing");
    }

    #[test]
    fn the_hub_is_found_by_its_one_key_only() {
        let entry = r#"{ "username": "u", "password": "p" }"#;

        assert_eq!(found(&format!(r#"{{ "auths": {{ "{HUB_KEY}": {entry} }} }}"#), HUB), "u p");
        assert_eq!(found(&format!(r#"{{ "auths": {{ "docker.io": {entry} }} }}"#), HUB), "nothing");
    }

    #[test]
    fn a_helper_of_its_own_goes_before_the_store_and_an_entry_before_both() {
        let file = r#"{
            "auths": { "a": { "username": "u", "password": "p" }, "b": {} },
            "credHelpers": { "a": "one", "b": "one" },
            "credsStore": "all"
        }"#;

        assert_eq!(found(file, "a"), "u p");
        assert_eq!(found(file, "b"), "ask one");
        assert_eq!(found(file, "c"), "ask all");
    }

    #[test]
    fn a_broken_file_is_told_by_place_and_not_by_content() {
        assert_eq!(found("{ \"auths\": \"hunter2\" }", "a"), "invalid JSON at line 1 column 20");
        assert_eq!(found(r#"{ "auths": { "a": { "auth": "aHVudGVyMg==" } } }"#, "a"), "invalid auth of a");
    }
}
