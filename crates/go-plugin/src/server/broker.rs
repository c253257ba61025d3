//! The broker through which both sides could open additional streams; a task driver needs none, hosts open it all the same.

use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::proto::plugin::{ConnInfo, grpc_broker_server::GrpcBroker};

/// Takes offers and makes none; ends when the host does.
pub(super) struct Idle;

#[tonic::async_trait]
impl GrpcBroker for Idle {
    type StartStreamStream = std::pin::Pin<Box<dyn Stream<Item = Result<ConnInfo, Status>> + Send>>;

    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        let silent = request.into_inner().filter_map(|offer| offer.err().map(Err));
        Ok(Response::new(Box::pin(silent)))
    }
}
