//! The driver service: each call in domain types to the driver, and its answer back.

use std::sync::Arc;

use futures_util::{StreamExt, future, stream};
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, Span, info_span};

use crate::{
    driver::{BoxStream, Driver, Force, NetworkIsolation, TaskConfig, TaskHandle},
    proto::drivers::{self as wire, driver_server},
    wire::{Mirror, duration, inputs},
};

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = BoxStream<Result<T, Status>>;

pub(super) struct Service<D>(pub(super) Arc<D>);

/// The span of a call about a task: each log line of it names both.
fn about_task(call: &'static str, task: &str) -> Span {
    info_span!("call", call, task)
}

/// The span of a call about an allocation.
fn about_alloc(call: &'static str, alloc: &str) -> Span {
    info_span!("call", call, alloc)
}

#[tonic::async_trait]
impl<D: Driver> driver_server::Driver for Service<D> {
    async fn init(&self, _: Request<wire::InitRequest>) -> Answer<wire::InitResponse> {
        self.0.init().await?;
        Ok(Response::new(wire::InitResponse {}))
    }

    async fn task_config_schema(
        &self,
        _: Request<wire::TaskConfigSchemaRequest>,
    ) -> Answer<wire::TaskConfigSchemaResponse> {
        Ok(Response::new(wire::TaskConfigSchemaResponse { spec: Some(self.0.task_config_schema().into()) }))
    }

    async fn capabilities(&self, _: Request<wire::CapabilitiesRequest>) -> Answer<wire::CapabilitiesResponse> {
        let capabilities = self.0.capabilities().await?;
        Ok(Response::new(wire::CapabilitiesResponse { capabilities: Some(capabilities.into_wire()) }))
    }

    type FingerprintStream = Answers<wire::FingerprintResponse>;

    async fn fingerprint(&self, _: Request<wire::FingerprintRequest>) -> Answer<Self::FingerprintStream> {
        let fingerprints = self.0.fingerprint().await?;
        Ok(Response::new(Box::pin(fingerprints.map(|fingerprint| Ok(fingerprint.into_wire())))))
    }

    async fn recover_task(&self, request: Request<wire::RecoverTaskRequest>) -> Answer<wire::RecoverTaskResponse> {
        // The request has an id of its own as well, which agents leave empty.
        let handle = request.into_inner().handle;
        let handle = handle.ok_or_else(|| Status::unknown("the handle to recover from is missing"))?;
        let handle = TaskHandle::from_wire(handle);
        if handle.config.id.as_str().is_empty() {
            return Err(Status::unknown("the handle to recover from has no task id"));
        }
        let span = about_task("RecoverTask", handle.config.id.as_str());
        self.0.recover_task(handle).instrument(span).await?;
        Ok(Response::new(wire::RecoverTaskResponse {}))
    }

    async fn start_task(&self, request: Request<wire::StartTaskRequest>) -> Answer<wire::StartTaskResponse> {
        let task = request.into_inner().task.ok_or_else(|| Status::unknown("the task to start is missing"))?;
        let span = about_task("StartTask", &task.id);
        Ok(Response::new(self.0.start_task(TaskConfig::from_wire(task)).instrument(span).await?.into_wire()))
    }

    async fn wait_task(&self, request: Request<wire::WaitTaskRequest>) -> Answer<wire::WaitTaskResponse> {
        let task = request.into_inner().task_id;
        let span = about_task("WaitTask", &task);
        Ok(Response::new(self.0.wait_task(task.into()).instrument(span).await?.into_wire()))
    }

    async fn stop_task(&self, request: Request<wire::StopTaskRequest>) -> Answer<wire::StopTaskResponse> {
        let request = request.into_inner();
        let span = about_task("StopTask", &request.task_id);
        let stopped = self.0.stop_task(request.task_id.into(), duration(request.timeout), request.signal);
        stopped.instrument(span).await?;
        Ok(Response::new(wire::StopTaskResponse {}))
    }

    async fn destroy_task(&self, request: Request<wire::DestroyTaskRequest>) -> Answer<wire::DestroyTaskResponse> {
        let request = request.into_inner();
        let force = if request.force { Force::Yes } else { Force::No };
        let span = about_task("DestroyTask", &request.task_id);
        self.0.destroy_task(request.task_id.into(), force).instrument(span).await?;
        Ok(Response::new(wire::DestroyTaskResponse {}))
    }

    async fn inspect_task(&self, request: Request<wire::InspectTaskRequest>) -> Answer<wire::InspectTaskResponse> {
        let task = request.into_inner().task_id;
        let span = about_task("InspectTask", &task);
        Ok(Response::new(self.0.inspect_task(task.into()).instrument(span).await?.into_wire()))
    }

    type TaskStatsStream = Answers<wire::TaskStatsResponse>;

    async fn task_stats(&self, request: Request<wire::TaskStatsRequest>) -> Answer<Self::TaskStatsStream> {
        let request = request.into_inner();
        let span = about_task("TaskStats", &request.task_id);
        let usages = self.0.task_stats(request.task_id.into(), duration(request.collection_interval));
        let usages = usages.instrument(span).await?;
        Ok(Response::new(Box::pin(usages.map(|usage| Ok(wire::TaskStatsResponse { stats: Some(usage?.into_wire()) })))))
    }

    type TaskEventsStream = Answers<wire::DriverTaskEvent>;

    async fn task_events(&self, _: Request<wire::TaskEventsRequest>) -> Answer<Self::TaskEventsStream> {
        let events = self.0.task_events().await?;
        Ok(Response::new(Box::pin(events.map(|event| Ok(event.into_wire())))))
    }

    async fn shutdown(&self, _: Request<wire::ShutdownRequest>) -> Answer<wire::ShutdownResponse> {
        self.0.shutdown().await?;
        Ok(Response::new(wire::ShutdownResponse {}))
    }

    async fn signal_task(&self, request: Request<wire::SignalTaskRequest>) -> Answer<wire::SignalTaskResponse> {
        let request = request.into_inner();
        let span = about_task("SignalTask", &request.task_id);
        self.0.signal_task(request.task_id.into(), request.signal).instrument(span).await?;
        Ok(Response::new(wire::SignalTaskResponse {}))
    }

    async fn exec_task(&self, request: Request<wire::ExecTaskRequest>) -> Answer<wire::ExecTaskResponse> {
        let request = request.into_inner();
        let span = about_task("ExecTask", &request.task_id);
        let output = self.0.exec_task(request.task_id.into(), request.command, duration(request.timeout));
        let output = output.instrument(span).await?;
        Ok(Response::new(output.into_wire()))
    }

    type ExecTaskStreamingStream = Answers<wire::ExecTaskStreamingResponse>;

    async fn exec_task_streaming(
        &self,
        request: Request<Streaming<wire::ExecTaskStreamingRequest>>,
    ) -> Answer<Self::ExecTaskStreamingStream> {
        let mut requests = request.into_inner();
        let setup = requests.message().await?.and_then(|first| first.setup);
        let setup = setup.ok_or_else(|| Status::unknown("first message should always be setup"))?;
        // A caller that hangs up ends the input; the command's own end is what ends the call.
        let input = requests
            .take_while(|message| future::ready(message.is_ok()))
            .flat_map(|message| stream::iter(message.map(inputs).unwrap_or_default()));
        let span = about_task("ExecTaskStreaming", &setup.task_id);
        let events = self.0.exec_task_streaming(setup.into(), Box::pin(input)).instrument(span).await?;
        Ok(Response::new(Box::pin(events.map(|event| Ok(event?.into())))))
    }

    async fn create_network(
        &self,
        request: Request<wire::CreateNetworkRequest>,
    ) -> Answer<wire::CreateNetworkResponse> {
        let request = request.into_inner();
        let span = about_alloc("CreateNetwork", &request.alloc_id);
        let network = self.0.create_network(request.alloc_id.into(), request.hostname).instrument(span).await?;
        Ok(Response::new(network.into_wire()))
    }

    async fn destroy_network(
        &self,
        request: Request<wire::DestroyNetworkRequest>,
    ) -> Answer<wire::DestroyNetworkResponse> {
        let request = request.into_inner();
        let spec = request.isolation_spec.map(NetworkIsolation::from_wire);
        let span = about_alloc("DestroyNetwork", &request.alloc_id);
        self.0.destroy_network(request.alloc_id.into(), spec).instrument(span).await?;
        Ok(Response::new(wire::DestroyNetworkResponse {}))
    }
}
