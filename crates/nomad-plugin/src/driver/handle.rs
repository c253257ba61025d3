//! What a host keeps of a running task, and gives back after a restart.

use prost::Message;

use super::{NetworkOverride, TaskConfig, TaskState};
use crate::wire::Mirror;

/// What a host keeps of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskHandle {
    /// The handle format's version; 1.
    pub version: i32,
    /// The task as it was started.
    pub config: TaskConfig,
    /// The task's state when the handle was made; hosts do not read it.
    pub state: TaskState,
    /// The driver's own state, opaque to the host.
    pub driver_state: Vec<u8>,
}

/// A task that was started.
#[derive(Clone, Debug, PartialEq)]
pub struct StartedTask {
    /// What the host must keep.
    pub handle: TaskHandle,
    /// The task's address.
    pub network: NetworkOverride,
}

impl TaskHandle {
    /// The handle as bytes, for a host's own state: its protobuf message.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.clone().into_wire().encode_to_vec()
    }

    /// A handle from bytes; `None` where they are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_wire(crate::proto::drivers::TaskHandle::decode(bytes).ok()?))
    }
}
