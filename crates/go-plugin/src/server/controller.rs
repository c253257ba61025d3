//! The call by which the host ends the plugin.

use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::proto::plugin::{Empty, grpc_controller_server::GrpcController};

/// Passes the host's wish on to the server.
pub(crate) struct Controller {
    shutdown: watch::Sender<bool>,
}

impl Controller {
    pub(crate) fn new(shutdown: watch::Sender<bool>) -> Self {
        Self { shutdown }
    }
}

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.shutdown.send_replace(true);
        Ok(Response::new(Empty {}))
    }
}
