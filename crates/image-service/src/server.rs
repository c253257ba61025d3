//! The driver's end.

use std::{path::PathBuf, pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::{
    Listed, Prefetched, Pull,
    proto::{self as wire, images_server},
};

/// The configurations of a job's tasks may be larger than gRPC's usual 4 MiB.
const MAX_MESSAGE: usize = 256 << 20;

/// A stream of answers.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// What a driver reports and does of its images. An error is a text for people.
pub trait ImageService: Send + Sync + 'static {
    /// The images that tasks use, that the driver pulled, or that are pinned; those as well that were pulled
    /// by drivers that do not run, and keep their state in `state_dirs`.
    fn list(&self, state_dirs: Vec<PathBuf>) -> impl Future<Output = Result<Vec<Listed>, String>> + Send;

    /// Removes no image from now on that has one of these names. Each call replaces the names of the last one.
    fn pin(&self, names: Vec<String>) -> impl Future<Output = ()> + Send;

    /// Gets the images of tasks, by the tasks' configurations in msgpack. The stream ends when each has its outcome;
    /// dropping it gives up what is under way.
    fn prefetch(&self, configs: Vec<Vec<u8>>) -> Result<BoxStream<Prefetched>, String>;

    /// All pulls that are under way, again at each change.
    fn watch(&self) -> BoxStream<Vec<Pull>>;
}

/// The gRPC service.
pub fn service<S: ImageService>(images: S) -> images_server::ImagesServer<impl images_server::Images> {
    images_server::ImagesServer::new(Served(Arc::new(images))).max_decoding_message_size(MAX_MESSAGE)
}

struct Served<S>(Arc<S>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl<S: ImageService> images_server::Images for Served<S> {
    async fn list(&self, request: Request<wire::ListRequest>) -> Answer<wire::ListResponse> {
        let state_dirs = request.into_inner().state_dirs.into_iter().map(PathBuf::from).collect();
        let images = self.0.list(state_dirs).await.map_err(Status::unknown)?;
        Ok(Response::new(wire::ListResponse { images: images.into_iter().map(Into::into).collect() }))
    }

    async fn keep(&self, request: Request<wire::KeepRequest>) -> Answer<wire::KeepResponse> {
        self.0.pin(request.into_inner().names).await;
        Ok(Response::new(wire::KeepResponse {}))
    }

    type PrefetchStream = BoxStream<Result<wire::PrefetchResponse, Status>>;

    async fn prefetch(&self, request: Request<wire::PrefetchRequest>) -> Answer<Self::PrefetchStream> {
        let steps = self.0.prefetch(request.into_inner().configs).map_err(Status::invalid_argument)?;
        Ok(Response::new(Box::pin(steps.map(|step| Ok(step.into())))))
    }

    type WatchStream = BoxStream<Result<wire::WatchResponse, Status>>;

    async fn watch(&self, _: Request<wire::WatchRequest>) -> Answer<Self::WatchStream> {
        let answer = |pulls: Vec<Pull>| Ok(wire::WatchResponse { pulls: pulls.into_iter().map(Into::into).collect() });
        Ok(Response::new(Box::pin(self.0.watch().map(answer))))
    }
}
