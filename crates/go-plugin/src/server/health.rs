//! The standard health service; the plugin is healthy as long as it answers.

use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::proto::health::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

/// Serving, under the name by which go-plugin asks.
pub(super) struct Serving;

const NAME: &str = "plugin";

fn answer(request: &HealthCheckRequest) -> Result<HealthCheckResponse, Status> {
    match request.service.as_str() {
        "" | NAME => Ok(HealthCheckResponse { status: ServingStatus::Serving.into() }),
        other => Err(Status::not_found(format!("no service {other:?}"))),
    }
}

#[tonic::async_trait]
impl Health for Serving {
    type WatchStream = std::pin::Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        answer(request.get_ref()).map(Response::new)
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let now = tokio_stream::once(Ok(answer(request.get_ref())?));
        Ok(Response::new(Box::pin(now.chain(tokio_stream::pending()))))
    }
}
