//! The names of labels: those of containers, and those of a group's network.

/// What the names of Nomad's labels begin with.
pub(crate) const NOMAD: &str = "com.hashicorp.nomad.";

/// The label that says to which node a container belongs.
pub(crate) const NODE_ID: &str = "com.hashicorp.nomad.node_id";

/// The label by which Nomad's containers are known: their allocation's id.
pub(crate) const ALLOC_ID: &str = "com.hashicorp.nomad.alloc_id";

/// The label that names the task, where the operator wants that.
pub(crate) const TASK_NAME: &str = "com.hashicorp.nomad.task_name";

/// The label of a group's network that names its pause container; Nomad reads it as well.
pub(crate) const SANDBOX_CONTAINER: &str = "docker_sandbox_container_id";
