//! The stream of what a plugin prints; ours prints nothing, so that it is open and silent.

use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::proto::plugin::{StdioData, grpc_stdio_server::GrpcStdio};

/// Never prints.
pub(super) struct Silent;

#[tonic::async_trait]
impl GrpcStdio for Silent {
    type StreamStdioStream = std::pin::Pin<Box<dyn Stream<Item = Result<StdioData, Status>> + Send>>;

    async fn stream_stdio(&self, _request: Request<()>) -> Result<Response<Self::StreamStdioStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }
}
