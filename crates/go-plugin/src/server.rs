//! The plugin's end: serves the caller's gRPC services to the host that started this process.
//!
//! ```text
//! cookie -> version -> socket -> handshake line -> serving -> (Shutdown called | SIGTERM) -> exit
//! ```

mod broker;
mod connection;
mod controller;
mod health;
mod socket;
mod stdio;

use std::{env, io::Write, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{service::Routes, transport::Server};

pub(crate) use self::controller::Controller;
pub use self::socket::SocketError;
use crate::{
    Handshake, HandshakeLine, Multiplex, TlsError,
    auto_mtls::{self, Identity},
    handshake::choose_version,
    proto::{
        health::health_server::HealthServer,
        plugin::{
            grpc_broker_server::GrpcBrokerServer, grpc_controller_server::GrpcControllerServer,
            grpc_stdio_server::GrpcStdioServer,
        },
    },
};

/// How long calls may go on after the host asked for the end; it kills after 2 s.
const GRACE: Duration = Duration::from_millis(500);

/// What a plugin serves as.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// The cookie that the host must have set.
    pub handshake: Handshake,
    /// The versions of the caller's services.
    pub app_versions: Vec<u32>,
}

/// Why a plugin could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A person started it.
    #[error(
        "this program is a plugin: it is started by its host, not by hand\nhint: put it into the host's plugin directory, where the host finds it"
    )]
    NoCookie,
    /// The host's versions and ours have nothing in common.
    #[error("no common protocol version: the host offers {offered}, this plugin has {ours:?}")]
    Version {
        /// What the host offers, as it wrote it.
        offered: String,
        /// What this plugin has.
        ours: Vec<u32>,
    },
    /// The host wants TLS, and there is none.
    #[error("failed to set up the TLS that the host asks for")]
    Tls(#[from] TlsError),
    /// The socket could not be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The host cannot be informed where the socket is.
    #[error("failed to write the handshake to standard output")]
    Handshake(#[source] std::io::Error),
    /// Signals cannot be taken.
    #[error("failed to take over SIGINT")]
    Signal(#[source] std::io::Error),
    /// The server broke.
    #[error("failed to serve")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until the host calls Shutdown, then returns within half a second whatever calls are open.
///
/// SIGINT is ignored: Ctrl-C at the host's terminal reaches the whole process group, and it is the host's to decide.
pub async fn serve(config: ServeConfig, services: Routes) -> Result<(), ServeError> {
    if env::var(config.handshake.cookie_key).as_deref() != Ok(config.handshake.cookie_value) {
        return Err(ServeError::NoCookie);
    }
    let offered = env::var("PLUGIN_PROTOCOL_VERSIONS").unwrap_or_default();
    let app_version = choose_version(&offered, &config.app_versions)
        .ok_or(ServeError::Version { offered, ours: config.app_versions })?;
    let _ignored_from_now_on = signal(SignalKind::interrupt()).map_err(ServeError::Signal)?;
    let socket = socket::Socket::bind_from_environment()?;
    let (tls, certificate) = match env::var(auto_mtls::CLIENT_CERTIFICATE) {
        Ok(host) if !host.is_empty() => {
            let identity = Identity::make()?;
            let certificate = identity.field();
            (Some(identity.acceptor(&host)?), certificate)
        }
        _ => (None, String::new()),
    };
    // HashiCorp's plugins look for its presence, not for its value.
    let multiplex = match env::var_os("PLUGIN_MULTIPLEX_GRPC") {
        Some(_) => Multiplex::Declined,
        None => Multiplex::Unasked,
    };
    let listener = UnixListenerStream::new(socket.listen()?);
    announce(&HandshakeLine { app_version, address: socket.path().to_owned(), certificate, multiplex })
        .map_err(ServeError::Handshake)?;

    let (shutdown, mut asked) = watch::channel(false);
    let mut asked_too = asked.clone();
    let until_asked = Server::builder()
        .add_routes(
            services
                .add_service(HealthServer::new(health::Serving))
                .add_service(GrpcControllerServer::new(Controller::new(shutdown)))
                .add_service(GrpcBrokerServer::new(broker::Idle))
                .add_service(GrpcStdioServer::new(stdio::Silent)),
        )
        .serve_with_incoming_shutdown(connection::accept(listener, tls), async move {
            let _closed_is_the_end_too = asked.wait_for(|asked| *asked).await;
        });
    tokio::select! {
        served = until_asked => Ok(served?),
        () = async {
            let _closed_is_the_end_too = asked_too.wait_for(|asked| *asked).await;
            tokio::time::sleep(GRACE).await;
        } => Ok(()),
    }
}

fn announce(line: &HandshakeLine) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
