//! The image: its name, registry credentials and pull timeout.

use std::time::Duration;

use nomad_plugin::duration::parse_go_duration;

use super::Reader;
use crate::reference::ImageReference;

/// Credentials for a registry. Never displayed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Auth {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: String,
    /// The registry.
    pub server_address: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(..)")
    }
}

pub(super) fn image(reader: &Reader<'_>) -> ImageReference {
    let image = reader.text("image").unwrap_or_default();
    if image.is_empty() {
        reader.problem("image name required for docker driver");
        return ImageReference::default();
    }
    ImageReference::of_person(&image).unwrap_or_else(|invalid| {
        reader.problem(invalid.to_string());
        ImageReference::default()
    })
}

pub(super) fn auth(reader: &Reader<'_>) -> Option<Auth> {
    let auth = reader.block("auth")?;
    let [username, password, server_address] =
        ["username", "password", "server_address"].map(|name| auth.text(name).unwrap_or_default());
    Some(Auth { username, password, server_address })
}

pub(super) fn pull_timeout(reader: &Reader<'_>) -> Option<Duration> {
    let text = reader.text("image_pull_timeout")?;
    parse_go_duration(&text)
        .map_err(|error| reader.problem(format!("Failed to parse image_pull_timeout: {error}")))
        .ok()
}
