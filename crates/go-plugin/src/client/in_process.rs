//! A plugin in this process, over a pipe in memory: for tests of a host, whose clock may then be paused.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{copy_bidirectional, duplex},
    sync::watch,
    task::JoinSet,
};
use tonic::{
    service::Routes,
    transport::{Endpoint, Server},
};

use super::{ClientError, Plugin, Reattach};
use crate::{proto::plugin::grpc_controller_server::GrpcControllerServer, server::Controller};

/// How much may be under way in one direction, in bytes.
const PIPE: usize = 1 << 16;

/// The plugin's end. Dropping it is the plugin's death: calls break off as those to a process that is killed.
pub struct InProcess {
    _server: JoinSet<()>,
}

impl Plugin {
    /// Serves `services` in this process. No other host finds it again.
    pub async fn in_process(services: Routes) -> Result<(Self, InProcess), ClientError> {
        let ((ours, mut near), (mut far, theirs)) = (duplex(PIPE), duplex(PIPE));
        let (exited, watched) = watch::channel(false);
        let (shutdown, mut asked) = watch::channel(false);
        let mut server = JoinSet::new();
        #[expect(clippy::disallowed_methods, reason = "the plugin's end holds the set, and the plugin ends with it")]
        server.spawn(async move {
            let services = services.add_service(GrpcControllerServer::new(Controller::new(shutdown)));
            let connections = stream::iter([Ok::<_, io::Error>(theirs)]).chain(stream::pending());
            tokio::select! {
                _ = Server::builder().add_routes(services).serve_with_incoming(connections) => {}
                // A connection outlives its server; without this nothing passes through it any more.
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = asked.wait_for(|asked| *asked) => {}
            }
            exited.send_replace(true);
        });
        let ours = Arc::new(Mutex::new(Some(ours)));
        let connector = tower::service_fn(move |_| {
            let pipe = ours.lock().unwrap_or_else(PoisonError::into_inner).take();
            async move { pipe.map(TokioIo::new).ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused)) }
        });
        let reattach = Reattach { pid: 0, address: PathBuf::new(), app_version: 0 };
        let channel = Endpoint::from_static("http://unused")
            .connect_with_connector(connector)
            .await
            .map_err(|source| ClientError::Connect { address: PathBuf::new(), source })?;
        Ok((Self { channel, reattach, exited: watched, _readers: JoinSet::new() }, InProcess { _server: server }))
    }
}
