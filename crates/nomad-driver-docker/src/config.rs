//! Configuration: what the operator and the job's author wrote, parsed once into domain types.
//!
//! All errors are reported at once, each with its path. Code behind this module has no text left to check.

mod allowlists;
#[cfg(test)]
pub(crate) mod arbitrary;
mod bounds;
mod defaults;
mod garbage_collection;
mod plugin;
mod reader;
mod schema;
mod task;

pub use allowlists::Allowlists;
pub use bounds::check_environment;
pub(crate) use defaults::go_arch;
pub use garbage_collection::{DanglingContainers, GarbageCollection};
pub use plugin::{AllowedModes, Logging, PluginAuth, PluginConfig, Volumes};
pub use reader::{ConfigError, ConfigErrors};
pub use schema::{plugin_schema, task_schema};
pub use task::{
    Auth, BindOptions, CgroupNamespace, Device, MountKind, MountOptions, Propagation, TaskLogging, TaskNetwork,
    TaskOptions, TmpfsOptions, Ulimit, Volume, VolumeOptions,
};
