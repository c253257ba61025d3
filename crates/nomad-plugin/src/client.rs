//! A driver in another process, as a host sees it: the calls of [`crate::driver::Driver`] over the plugin protocol.

use std::{convert::Infallible, ffi::OsString, path::PathBuf, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use go_plugin::client::{AutoMtls, ClientError as ConnectError, LaunchConfig, Plugin};
pub use go_plugin::{
    client::{InProcess, LogSink, Reattach},
    hclog::Line as LogLine,
};
use tokio::sync::oneshot;
use tonic::{Status, transport::Channel};

use crate::{
    driver::{
        BoxStream, Capabilities, CreatedNetwork, Driver, DriverError, ExecEvent, ExecInput, ExecOutput, ExecSetup,
        Fingerprint, Force, InspectedTask, NetworkIsolation, PluginInfo, SetConfig, StartedTask, TaskConfig, TaskEvent,
        TaskHandle, TaskUsage, WaitResult,
    },
    hclspec::{SchemaError, Spec},
    id::{AllocId, TaskId},
    proto::{base as base_wire, base::base_plugin_client::BasePluginClient, drivers as wire, drivers::driver_client},
    server::{APP_VERSION, HANDSHAKE, MAX_MESSAGE, routes},
    wire::{Mirror, driver_error, events, to_duration},
};

/// How long a driver may take to let go.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// How to start a driver.
#[derive(Clone)]
pub struct LaunchOptions {
    /// The driver's program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Additions to its environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where it puts its socket; the temporary directory where `None`.
    pub socket_dir: Option<PathBuf>,
    /// How long it may take to its handshake; Nomad gives 60 s.
    pub start_timeout: Duration,
    /// Receives what it writes to standard error.
    pub log: LogSink,
}

/// Why a call had no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The driver said no.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The driver did not answer: its process ended, or the connection broke.
    #[error("the driver does not answer: {}", .0.message())]
    Transport(Box<Status>),
    /// The driver is there no more, or could not be started.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The driver's schema cannot be used.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl ClientError {
    /// Whether the driver does not know the task that it was asked for.
    pub fn is_task_not_found(&self) -> bool {
        matches!(self, Self::Driver(error) if error.message == DriverError::TASK_NOT_FOUND)
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        match driver_error(&status) {
            Some(error) => Self::Driver(error),
            None => Self::Transport(Box::new(status)),
        }
    }
}

type ClientResult<T> = Result<T, ClientError>;

/// A driver in another process. Dropping it leaves the process alone: only [`DriverClient::kill`] ends it.
pub struct DriverClient {
    plugin: Plugin,
}

impl DriverClient {
    /// Starts the driver's process.
    pub async fn launch(options: LaunchOptions) -> ClientResult<Self> {
        let plugin = Plugin::launch(LaunchConfig {
            program: options.program,
            args: options.args,
            env: options.env,
            handshake: HANDSHAKE,
            app_versions: vec![APP_VERSION],
            start_timeout: options.start_timeout,
            socket_dir: options.socket_dir,
            // Nomad launches its plugins without.
            auto_mtls: AutoMtls::No,
            log: options.log,
        })
        .await?;
        Ok(Self { plugin })
    }

    /// Connects to a driver that an earlier host started.
    pub async fn reattach(reattach: Reattach) -> ClientResult<Self> {
        Ok(Self { plugin: Plugin::reattach(reattach).await? })
    }

    /// Serves a driver in this process, and connects to it as to any other: for tests of a host.
    pub async fn in_process(driver: impl Driver) -> ClientResult<(Self, InProcess)> {
        let (plugin, process) = Plugin::in_process(routes(driver)).await?;
        Ok((Self { plugin }, process))
    }

    /// What finds this driver again from another host process.
    pub fn reattach_config(&self) -> &Reattach {
        self.plugin.reattach_config()
    }

    /// Waits until the driver's process has ended.
    pub async fn exited(&self) {
        self.plugin.exited().await;
    }

    /// Ends the driver's process; its tasks go on.
    pub async fn kill(&self) {
        self.plugin.kill().await;
    }

    /// The channel to the driver's process, for services that it serves beside those of the protocol.
    pub fn channel(&self) -> Channel {
        self.plugin.channel()
    }

    fn base(&self) -> BasePluginClient<Channel> {
        BasePluginClient::new(self.plugin.channel()).max_decoding_message_size(MAX_MESSAGE)
    }

    fn driver(&self) -> driver_client::DriverClient<Channel> {
        driver_client::DriverClient::new(self.plugin.channel()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// See [`crate::driver::Driver::info`].
    pub async fn info(&self) -> ClientResult<PluginInfo> {
        let answer = self.base().plugin_info(base_wire::PluginInfoRequest {}).await?;
        Ok(PluginInfo::from_wire(answer.into_inner()))
    }

    /// See [`crate::driver::Driver::config_schema`].
    pub async fn config_schema(&self) -> ClientResult<Spec> {
        let answer = self.base().config_schema(base_wire::ConfigSchemaRequest {}).await?;
        Ok(answer.into_inner().spec.ok_or(SchemaError::Kind)?.try_into()?)
    }

    /// See [`crate::driver::Driver::set_config`].
    pub async fn set_config(&self, config: SetConfig) -> ClientResult<()> {
        self.base().set_config(config.into_wire()).await?;
        Ok(())
    }

    /// See [`crate::driver::Driver::task_config_schema`].
    pub async fn task_config_schema(&self) -> ClientResult<Spec> {
        let answer = self.driver().task_config_schema(wire::TaskConfigSchemaRequest {}).await?;
        Ok(answer.into_inner().spec.ok_or(SchemaError::Kind)?.try_into()?)
    }

    /// See [`crate::driver::Driver::capabilities`].
    pub async fn capabilities(&self) -> ClientResult<Capabilities> {
        let answer = self.driver().capabilities(wire::CapabilitiesRequest {}).await?;
        Ok(Capabilities::from_wire(answer.into_inner().capabilities.unwrap_or_default()))
    }

    /// See [`crate::driver::Driver::init`]. A driver that does not know the call is fine.
    pub async fn init(&self) -> ClientResult<()> {
        match self.driver().init(wire::InitRequest {}).await {
            Err(status) if status.code() != tonic::Code::Unimplemented => Err(status.into()),
            _ => Ok(()),
        }
    }

    /// See [`crate::driver::Driver::fingerprint`].
    pub async fn fingerprint(&self) -> ClientResult<BoxStream<ClientResult<Fingerprint>>> {
        let answers = self.driver().fingerprint(wire::FingerprintRequest {}).await?.into_inner();
        Ok(Box::pin(answers.map(|answer| Ok(Fingerprint::from_wire(answer?)))))
    }

    /// See [`crate::driver::Driver::recover_task`]. As from a Nomad agent, the id is in the handle alone.
    pub async fn recover_task(&self, handle: TaskHandle) -> ClientResult<()> {
        let request = wire::RecoverTaskRequest { handle: Some(handle.into_wire()), ..Default::default() };
        self.driver().recover_task(request).await?;
        Ok(())
    }

    /// See [`crate::driver::Driver::start_task`].
    pub async fn start_task(&self, task: TaskConfig) -> ClientResult<StartedTask> {
        let answer = self.driver().start_task(wire::StartTaskRequest { task: Some(task.into_wire()) }).await?;
        Ok(StartedTask::from_wire(answer.into_inner()))
    }

    /// See [`crate::driver::Driver::wait_task`].
    pub async fn wait_task(&self, id: TaskId) -> ClientResult<WaitResult> {
        let answer = self.driver().wait_task(wire::WaitTaskRequest { task_id: id.into() }).await?;
        Ok(WaitResult::from_wire(answer.into_inner()))
    }

    /// See [`crate::driver::Driver::stop_task`].
    pub async fn stop_task(&self, id: TaskId, timeout: Duration, signal: String) -> ClientResult<()> {
        let request = wire::StopTaskRequest { task_id: id.into(), timeout: Some(to_duration(timeout)), signal };
        self.driver().stop_task(request).await?;
        Ok(())
    }

    /// See [`crate::driver::Driver::destroy_task`].
    pub async fn destroy_task(&self, id: TaskId, force: Force) -> ClientResult<()> {
        let request = wire::DestroyTaskRequest { task_id: id.into(), force: force == Force::Yes };
        self.driver().destroy_task(request).await?;
        Ok(())
    }

    /// See [`crate::driver::Driver::inspect_task`].
    pub async fn inspect_task(&self, id: TaskId) -> ClientResult<InspectedTask> {
        let answer = self.driver().inspect_task(wire::InspectTaskRequest { task_id: id.into() }).await?;
        Ok(InspectedTask::from_wire(answer.into_inner()))
    }

    /// See [`crate::driver::Driver::task_stats`].
    pub async fn task_stats(&self, id: TaskId, interval: Duration) -> ClientResult<BoxStream<ClientResult<TaskUsage>>> {
        let request = wire::TaskStatsRequest { task_id: id.into(), collection_interval: Some(to_duration(interval)) };
        let answers = self.driver().task_stats(request).await?.into_inner();
        Ok(Box::pin(answers.map(|answer| Ok(TaskUsage::from_wire(answer?.stats.unwrap_or_default())))))
    }

    /// See [`crate::driver::Driver::task_events`].
    pub async fn task_events(&self) -> ClientResult<BoxStream<ClientResult<TaskEvent>>> {
        let answers = self.driver().task_events(wire::TaskEventsRequest {}).await?.into_inner();
        Ok(Box::pin(answers.map(|answer| Ok(TaskEvent::from_wire(answer?)))))
    }

    /// See [`crate::driver::Driver::signal_task`].
    pub async fn signal_task(&self, id: TaskId, signal: String) -> ClientResult<()> {
        self.driver().signal_task(wire::SignalTaskRequest { task_id: id.into(), signal }).await?;
        Ok(())
    }

    /// See [`crate::driver::Driver::exec_task`].
    pub async fn exec_task(&self, id: TaskId, command: Vec<String>, timeout: Duration) -> ClientResult<ExecOutput> {
        let request = wire::ExecTaskRequest { task_id: id.into(), command, timeout: Some(to_duration(timeout)) };
        Ok(ExecOutput::from_wire(self.driver().exec_task(request).await?.into_inner()))
    }

    /// See [`crate::driver::Driver::exec_task_streaming`]. As from a Nomad agent, the request stream is open when
    /// `input` ends, and dropping the answer cancels the call.
    pub async fn exec_task_streaming(
        &self,
        setup: ExecSetup,
        input: impl Stream<Item = ExecInput> + Send + 'static,
    ) -> ClientResult<BoxStream<ClientResult<ExecEvent>>> {
        // A call is cancelled once neither side of it is held, and the transport holds requests until their end.
        let (held, dropped) = oneshot::channel::<Infallible>();
        let requests = stream::iter([setup.into()]).chain(input.map(Into::into)).chain(stream::pending());
        let answers = self.driver().exec_task_streaming(requests.take_until(dropped)).await?.into_inner();
        Ok(Box::pin(answers.flat_map(move |answer| {
            let _until_dropped = &held;
            stream::iter(match answer {
                Ok(message) => events(message).into_iter().map(Ok).collect(),
                Err(status) => vec![Err(status.into())],
            })
        })))
    }

    /// See [`crate::driver::Driver::create_network`].
    pub async fn create_network(&self, alloc: AllocId, hostname: String) -> ClientResult<CreatedNetwork> {
        let request = wire::CreateNetworkRequest { alloc_id: alloc.into(), hostname };
        Ok(CreatedNetwork::from_wire(self.driver().create_network(request).await?.into_inner()))
    }

    /// See [`crate::driver::Driver::destroy_network`].
    pub async fn destroy_network(&self, alloc: AllocId, spec: Option<NetworkIsolation>) -> ClientResult<()> {
        let request = wire::DestroyNetworkRequest { alloc_id: alloc.into(), isolation_spec: spec.into_wire() };
        self.driver().destroy_network(request).await?;
        Ok(())
    }

    /// See [`crate::driver::Driver::shutdown`]. A driver that does not know the call is fine. As from a Nomad agent, this
    /// call alone has a deadline.
    pub async fn shutdown(&self) -> ClientResult<()> {
        let mut request = tonic::Request::new(wire::ShutdownRequest {});
        request.set_timeout(SHUTDOWN);
        match self.driver().shutdown(request).await {
            Err(status) if status.code() != tonic::Code::Unimplemented => Err(status.into()),
            _ => Ok(()),
        }
    }
}
