//! A task's state, end and events.

use std::time::SystemTime;

use go_plugin::text::short;

use super::{Mirror, mirror, mirror_enum, short_map, time, time_or_never};
use crate::{
    driver::{ExitResult, InspectedTask, NetworkOverride, StartedTask, TaskEvent, TaskHandle, TaskState, WaitResult},
    proto::drivers,
};

mirror_enum! {
    TaskState = drivers::TaskState { Unknown = Unknown, Running = Running, Exited = Exited } else Unknown
}

mirror! {
    ExitResult = drivers::ExitResult { exit_code: exit_code, signal: signal, oom_killed: oom_killed }
}

impl Mirror<drivers::WaitTaskResponse> for WaitResult {
    fn into_wire(self) -> drivers::WaitTaskResponse {
        drivers::WaitTaskResponse { result: Some(self.result.into_wire()), err: short(&self.error) }
    }

    fn from_wire(message: drivers::WaitTaskResponse) -> Self {
        Self { result: ExitResult::from_wire(message.result.unwrap_or_default()), error: message.err }
    }
}

impl Mirror<drivers::StartTaskResponse> for StartedTask {
    fn into_wire(self) -> drivers::StartTaskResponse {
        drivers::StartTaskResponse {
            result: drivers::start_task_response::Result::Success.into(),
            driver_error_msg: String::new(),
            handle: Some(self.handle.into_wire()),
            network_override: Some(self.network.into_wire()),
        }
    }

    fn from_wire(message: drivers::StartTaskResponse) -> Self {
        Self {
            handle: TaskHandle::from_wire(message.handle.unwrap_or_default()),
            network: NetworkOverride::from_wire(message.network_override.unwrap_or_default()),
        }
    }
}

impl Mirror<drivers::InspectTaskResponse> for InspectedTask {
    fn into_wire(self) -> drivers::InspectTaskResponse {
        drivers::InspectTaskResponse {
            task: Some(drivers::TaskStatus {
                id: self.id.into_wire(),
                name: self.name,
                state: self.state.into_wire(),
                started_at: Some(time_or_never(self.started_at)),
                completed_at: Some(time_or_never(self.completed_at)),
                result: Some(self.result.into_wire()),
            }),
            driver: Some(drivers::TaskDriverStatus { attributes: short_map(self.attributes) }),
            network_override: Some(self.network.into_wire()),
        }
    }

    fn from_wire(message: drivers::InspectTaskResponse) -> Self {
        let task = message.task.unwrap_or_default();
        Self {
            id: task.id.into(),
            name: task.name,
            state: Mirror::from_wire(task.state),
            started_at: time(task.started_at),
            completed_at: time(task.completed_at),
            result: ExitResult::from_wire(task.result.unwrap_or_default()),
            attributes: message.driver.unwrap_or_default().attributes,
            network: NetworkOverride::from_wire(message.network_override.unwrap_or_default()),
        }
    }
}

impl Mirror<drivers::DriverTaskEvent> for TaskEvent {
    fn into_wire(self) -> drivers::DriverTaskEvent {
        drivers::DriverTaskEvent {
            task_id: self.task_id.into_wire(),
            alloc_id: self.alloc_id.into_wire(),
            task_name: self.task_name,
            timestamp: Some(self.at.into()),
            message: short(&self.message),
            annotations: short_map(self.annotations),
        }
    }

    fn from_wire(message: drivers::DriverTaskEvent) -> Self {
        Self {
            task_id: message.task_id.into(),
            alloc_id: message.alloc_id.into(),
            task_name: message.task_name,
            at: time(message.timestamp).unwrap_or(SystemTime::UNIX_EPOCH),
            message: message.message,
            annotations: message.annotations,
        }
    }
}
