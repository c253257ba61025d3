//! Requests for images: a task's, or a pause container's.

use nomad_plugin::driver::TaskConfig;

use super::{Archive, Limits, Puller, Reserved};
use crate::{
    config::{Auth, PluginAuth, PluginConfig, TaskOptions},
    events::EventSubject,
    reference::{ImageReference, InvalidReference},
};

/// Whether a local image is acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is, unless its tag is `latest`.
    Local,
    /// It is not.
    Pulled,
}

/// An image request.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRequest {
    /// Its name.
    pub image: ImageReference,
    /// Whether a local image is acceptable.
    pub freshness: Freshness,
    /// Where to load it from instead of pulling it.
    pub archive: Option<Archive>,
    /// The task's own credentials.
    pub auth: Option<Auth>,
    /// The operator's sources of credentials.
    pub plugin_auth: PluginAuth,
    /// Whether to continue without credentials if looking them up fails.
    pub auth_soft_fail: bool,
    /// Whether the registry must permit the use of a local image.
    pub verify_access: bool,
    /// Whether pause containers are created from it, so that no job may provide it.
    pub reserved: Reserved,
    /// How many bytes an archive may take; `None` is limited by the engine's disk.
    pub load_max: Option<u64>,
    /// How long a pull may take.
    pub limits: Limits,
    /// Who it is pulled for.
    pub puller: Puller,
    /// Who is notified of a pull, if anybody.
    pub owner: Option<EventSubject>,
}

impl ImageRequest {
    /// The image of a task.
    pub fn of_task(task: &TaskConfig, options: &TaskOptions, plugin: &PluginConfig) -> Self {
        Self {
            image: options.image.clone(),
            freshness: if options.force_pull { Freshness::Pulled } else { Freshness::Local },
            archive: options.load.as_ref().map(|path| Archive::of_task(task, path, &plugin.load_dirs)),
            auth: options.auth.clone(),
            plugin_auth: plugin.auth.clone(),
            auth_soft_fail: options.auth_soft_fail,
            verify_access: plugin.verify_cached_image_access,
            reserved: Reserved::of(&options.image, plugin.infra_image.as_ref().ok()),
            load_max: plugin.load_max,
            limits: Limits {
                whole: options
                    .image_pull_timeout
                    .map_or(plugin.image_pull_timeout, |own| own.min(plugin.image_pull_timeout_max)),
                silence: plugin.pull_activity_timeout,
            },
            puller: Puller::Job(format!("{}/{}", task.namespace, task.job_id)),
            owner: Some(EventSubject::from(task)),
        }
    }

    /// The image of pause containers, unless its name is invalid.
    pub fn of_pause_container(plugin: &PluginConfig) -> Result<Self, InvalidReference> {
        Ok(Self {
            image: plugin.infra_image.clone()?,
            freshness: Freshness::Local,
            archive: None,
            auth: None,
            plugin_auth: plugin.auth.clone(),
            auth_soft_fail: true,
            // It is the operator's.
            verify_access: false,
            reserved: Reserved::No,
            load_max: None,
            limits: Limits { whole: plugin.infra_image_pull_timeout, silence: plugin.pull_activity_timeout },
            puller: Puller::PauseContainers,
            owner: None,
        })
    }
}
