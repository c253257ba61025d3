//! Both ends of the service that lists and removes what nobody owns.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tonic::{Request, Response, Status, transport::Channel};

use crate::{
    Collect, ImageError, Leftover,
    garbage_proto::{self as wire, garbage_client::GarbageClient as Client, garbage_server},
};

/// Lists and removes what nobody owns. An error is a text for people.
pub trait GarbageService: Send + Sync + 'static {
    /// What belongs to the node of the request and has no owner, after its removal if that is requested.
    fn collect(&self, request: Collect) -> impl Future<Output = Result<Vec<Leftover>, String>> + Send;

    /// The ids of nodes that containers name, of those that are paths directly below a directory.
    fn nodes(&self, below: PathBuf) -> impl Future<Output = Result<Vec<String>, String>> + Send;
}

/// The gRPC service.
pub fn garbage_service<S: GarbageService>(garbage: S) -> garbage_server::GarbageServer<impl garbage_server::Garbage> {
    garbage_server::GarbageServer::new(Served(Arc::new(garbage)))
}

struct Served<S>(Arc<S>);

#[tonic::async_trait]
impl<S: GarbageService> garbage_server::Garbage for Served<S> {
    async fn collect(&self, request: Request<wire::CollectRequest>) -> Result<Response<wire::CollectResponse>, Status> {
        let request = Collect::try_from(request.into_inner()).map_err(Status::invalid_argument)?;
        let leftovers = self.0.collect(request).await.map_err(Status::unknown)?;
        Ok(Response::new(wire::CollectResponse { leftovers: leftovers.into_iter().map(Into::into).collect() }))
    }

    async fn nodes(&self, request: Request<wire::NodesRequest>) -> Result<Response<wire::NodesResponse>, Status> {
        let nodes = self.0.nodes(request.into_inner().below.into()).await.map_err(Status::unknown)?;
        Ok(Response::new(wire::NodesResponse { nodes }))
    }
}

/// What nobody owns, by a driver in another process. See [`GarbageService`] for what each call does.
#[derive(Clone, Debug)]
pub struct GarbageClient(Client<Channel>);

impl GarbageClient {
    /// Over the channel of a plugin.
    pub fn new(channel: Channel) -> Self {
        Self(Client::new(channel))
    }

    /// See [`GarbageService::collect`].
    pub async fn collect(&mut self, request: Collect) -> Result<Vec<Leftover>, ImageError> {
        let answer = self.0.collect(wire::CollectRequest::from(request)).await?.into_inner();
        let leftovers = answer.leftovers.into_iter().map(Leftover::try_from).collect::<Result<_, _>>();
        leftovers.map_err(|error| ImageError::Failed(error.to_owned()))
    }

    /// See [`GarbageService::nodes`].
    pub async fn nodes(&mut self, below: &Path) -> Result<Vec<String>, ImageError> {
        let below = below.display().to_string();
        Ok(self.0.nodes(wire::NodesRequest { below }).await?.into_inner().nodes)
    }
}
