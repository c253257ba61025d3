//! An image as the engine reports it, parsed once.

use bollard::models;
use serde::Deserialize;

/// An inspected image. Texts are empty if the engine gives none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InspectedImage {
    /// Its id.
    pub id: String,
    /// Its names.
    pub tags: Vec<String>,
    /// Its repository digests.
    pub digests: Vec<String>,
    /// In bytes.
    pub size: u64,
    /// The digests of its unpacked layers, from the base up.
    pub layers: Vec<String>,
    /// The defaults for containers created from it; `None` if the engine does not say.
    pub config: Option<ImageConfig>,
}

/// An image's defaults for containers created from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// The arguments, or the program if there is no entrypoint.
    pub cmd: Vec<String>,
    /// Variables, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Triggers for builds on top of it.
    pub on_build: Vec<String>,
    /// The shell for build commands.
    pub shell: Vec<String>,
    /// Paths that get an anonymous volume.
    pub volumes: Vec<String>,
    /// The user.
    pub user: String,
    /// The working directory.
    pub working_dir: String,
    /// Whether the engine runs a health check in them.
    pub has_healthcheck: bool,
}

impl From<models::ImageInspect> for InspectedImage {
    fn from(image: models::ImageInspect) -> Self {
        Self {
            id: image.id.unwrap_or_default(),
            tags: image.repo_tags.unwrap_or_default(),
            digests: image.repo_digests.unwrap_or_default(),
            size: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            layers: image.root_fs.and_then(|root| root.layers).unwrap_or_default(),
            config: image.config.map(ImageConfig::from),
        }
    }
}

impl From<models::ImageConfig> for ImageConfig {
    fn from(config: models::ImageConfig) -> Self {
        Self {
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
            env: config.env.unwrap_or_default(),
            on_build: config.on_build.unwrap_or_default(),
            shell: config.shell.unwrap_or_default(),
            volumes: config.volumes.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            working_dir: config.working_dir.unwrap_or_default(),
            has_healthcheck: config.healthcheck.is_some(),
        }
    }
}

/// An image of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Listed")]
pub struct ListedImage {
    /// Its id.
    pub id: String,
    /// Its names.
    pub tags: Vec<String>,
    /// Its repository digests.
    pub digests: Vec<String>,
    pub(super) size: u64,
}

/// As the engine writes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
    size: Option<i64>,
}

impl From<Listed> for ListedImage {
    fn from(listed: Listed) -> Self {
        Self {
            id: listed.id,
            tags: listed.repo_tags.unwrap_or_default(),
            digests: listed.repo_digests.unwrap_or_default(),
            size: listed.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        }
    }
}
