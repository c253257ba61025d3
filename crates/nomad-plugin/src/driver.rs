//! The task driver interface over domain types: one method for each call that a Nomad host makes.

mod config;
mod error;
mod event;
mod exec;
mod fingerprint;
mod handle;
mod network;
mod stats;
mod status;

use std::{future::Future, pin::Pin, time::Duration};

pub use config::*;
pub use error::*;
pub use event::*;
pub use exec::*;
pub use fingerprint::*;
use futures_util::Stream;
pub use handle::*;
pub use network::*;
pub use nomad_values::signal::*;
pub use stats::*;
pub use status::*;

use crate::{
    hclspec::Spec,
    id::{AllocId, TaskId},
};

/// A stream of answers that ends when the driver or the caller ends it.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send + 'static>>;

/// A task driver: what runs behind the plugin's server.
///
/// Every method may be called at the same time as every other. A dropped future is a cancelled call.
pub trait Driver: Send + Sync + 'static {
    /// Name and versions.
    fn info(&self) -> PluginInfo;

    /// The schema of the plugin's own configuration block.
    fn config_schema(&self) -> Spec;

    /// Takes the configuration. Called more than once, sometimes without `nomad`, sometimes never.
    fn set_config(&self, config: SetConfig) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// The schema of a task's `config` block.
    fn task_config_schema(&self) -> Spec;

    /// What the driver can do.
    fn capabilities(&self) -> impl Future<Output = Result<Capabilities, DriverError>> + Send;

    /// Called once after [`Driver::set_config`]; after an agent's crash, called without it.
    fn init(&self) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// The node's attributes and health: one at once, then one whenever due. Must not end by itself.
    fn fingerprint(&self) -> impl Future<Output = Result<BoxStream<Fingerprint>, DriverError>> + Send;

    /// Takes a task back that an earlier process of the driver started. Its id is that of the handle's configuration,
    /// which is never empty.
    ///
    /// Hosts ask for every task that they know: one that this process knows already is no error, and one that was
    /// destroyed long ago is an error at once.
    fn recover_task(&self, handle: TaskHandle) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Starts a task. Returns once it runs.
    fn start_task(&self, task: TaskConfig) -> impl Future<Output = Result<StartedTask, DriverError>> + Send;

    /// Waits for a task's end; answers at once when it has ended.
    fn wait_task(&self, id: TaskId) -> impl Future<Output = Result<WaitResult, DriverError>> + Send;

    /// Stops a task: `signal` (empty: the driver's default), then a kill once `timeout` is over. 0 kills at once.
    fn stop_task(
        &self,
        id: TaskId,
        timeout: Duration,
        signal: String,
    ) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Removes what is left of a task. A running one only with [`Force::Yes`].
    fn destroy_task(&self, id: TaskId, force: Force) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// A task's status.
    fn inspect_task(&self, id: TaskId) -> impl Future<Output = Result<InspectedTask, DriverError>> + Send;

    /// A task's resource usage, one sample an interval, until it ends.
    fn task_stats(
        &self,
        id: TaskId,
        interval: Duration,
    ) -> impl Future<Output = Result<BoxStream<Result<TaskUsage, DriverError>>, DriverError>> + Send;

    /// Events of all tasks, from now on. Must not end by itself.
    fn task_events(&self) -> impl Future<Output = Result<BoxStream<TaskEvent>, DriverError>> + Send;

    /// Sends a signal to a task.
    fn signal_task(&self, id: TaskId, signal: String) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Runs a command inside a task and returns its output. A timeout of 0 is none.
    fn exec_task(
        &self,
        id: TaskId,
        command: Vec<String>,
        timeout: Duration,
    ) -> impl Future<Output = Result<ExecOutput, DriverError>> + Send;

    /// Runs a command inside a task with its streams attached.
    ///
    /// The answer's last item is [`ExecEvent::Exited`]; the input may be open for ever.
    fn exec_task_streaming(
        &self,
        setup: ExecSetup,
        input: BoxStream<ExecInput>,
    ) -> impl Future<Output = Result<BoxStream<Result<ExecEvent, DriverError>>, DriverError>> + Send;

    /// Makes the network that an allocation's tasks share.
    fn create_network(
        &self,
        alloc: AllocId,
        hostname: String,
    ) -> impl Future<Output = Result<CreatedNetwork, DriverError>> + Send;

    /// Removes an allocation's network.
    fn destroy_network(
        &self,
        alloc: AllocId,
        spec: Option<NetworkIsolation>,
    ) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// An orderly end of the host: let go, and never stop a task.
    fn shutdown(&self) -> impl Future<Output = Result<(), DriverError>> + Send;
}

/// Whether to go on where caution would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Go on.
    Yes,
    /// Refuse.
    No,
}
