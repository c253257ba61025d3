//! Label names of containers and of a group's network.

/// The prefix of Nomad's labels.
pub(crate) const NOMAD: &str = "com.hashicorp.nomad.";

/// The label with the id of the node that a container belongs to.
pub(crate) const NODE_ID: &str = "com.hashicorp.nomad.node_id";

/// The label that identifies Nomad's containers: their allocation's id.
pub(crate) const ALLOC_ID: &str = "com.hashicorp.nomad.alloc_id";

/// The label with the task's name, if the operator enables it.
pub(crate) const TASK_NAME: &str = "com.hashicorp.nomad.task_name";

/// The label of a group's network that names its pause container; Nomad reads it, too.
pub(crate) const SANDBOX_CONTAINER: &str = "docker_sandbox_container_id";
