//! The host's end: starts a plugin process or finds one again, and speaks to it over one channel.
//!
//! ```text
//! launch -> handshake -> connected -> kill (asked, then forced) -> exited
//! reattach ------------> connected
//! ```

mod in_process;
mod process;
mod stderr;

use std::{ffi::OsString, io, path::PathBuf, sync::Arc, time::Duration};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::UnixStream,
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

pub use self::in_process::InProcess;
use crate::{
    Handshake, HandshakeError, HandshakeLine, TlsError,
    auto_mtls::{self, Identity},
    hclog::Line,
    proto::plugin::{Empty, grpc_controller_client::GrpcControllerClient},
};

/// How long a plugin may take to end when it is asked to.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// How long a killed plugin is waited for.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// Receives each line of the plugin's standard error.
pub type LogSink = Arc<dyn Fn(Line) + Send + Sync>;

/// Whether the connection is encrypted, each side with a certificate made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoMtls {
    /// The socket's permissions are what protects it. Nomad does it so.
    No,
    /// Each side proves itself. Such a plugin can't be found again by another host process: the certificates are nowhere else.
    Yes,
}

/// How to start a plugin.
#[derive(Clone)]
pub struct LaunchConfig {
    /// The plugin's program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Additions to its environment.
    pub env: Vec<(OsString, OsString)>,
    /// The cookie by which it knows that a host started it.
    pub handshake: Handshake,
    /// The versions of its services that the host speaks.
    pub app_versions: Vec<u32>,
    /// How long it may take to its handshake.
    pub start_timeout: Duration,
    /// Where it puts its socket; the temporary directory where `None`.
    pub socket_dir: Option<PathBuf>,
    /// Whether the connection is encrypted.
    pub auto_mtls: AutoMtls,
    /// Receives what it writes to standard error.
    pub log: LogSink,
}

/// What finds a running plugin again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reattach {
    /// Its process id.
    pub pid: i32,
    /// Its socket.
    pub address: PathBuf,
    /// The version of its services.
    pub app_version: u32,
}

/// Why there is no plugin to speak to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The program cannot be started.
    #[error("failed to start the plugin {}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It ended before its handshake.
    #[error("the plugin {} ended before its handshake{}", program.display(), said(stderr))]
    Ended {
        /// The program.
        program: PathBuf,
        /// The end of its standard error.
        stderr: String,
    },
    /// It sent no handshake in time.
    #[error("the plugin {} sent no handshake within {} s{}", program.display(), timeout.as_secs_f64(), said(stderr))]
    Late {
        /// The program.
        program: PathBuf,
        /// How long it had.
        timeout: Duration,
        /// The end of its standard error.
        stderr: String,
    },
    /// Its first line is no handshake.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// It chose a version that was not offered.
    #[error("the plugin serves version {0}, which this host does not speak")]
    Version(u32),
    /// The process to find again has exited.
    #[error("no plugin process {0}")]
    NoProcess(i32),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It was to speak TLS, and offers none.
    #[error("the plugin {} does not support AutoMTLS", .0.display())]
    NoTls(PathBuf),
    /// Its socket does not answer.
    #[error("failed to connect to the plugin at {}", address.display())]
    Connect {
        /// The socket.
        address: PathBuf,
        /// What the transport says.
        source: tonic::transport::Error,
    },
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it said:\n{stderr}") }
}

/// A running plugin. Dropping it leaves the process alone: only [`Plugin::kill`] ends it.
pub struct Plugin {
    channel: Channel,
    reattach: Reattach,
    exited: watch::Receiver<bool>,
    /// Stops watching the process and reading its output when dropped.
    _readers: JoinSet<()>,
}

impl Plugin {
    /// Starts the program in a process group of its own and waits for its handshake.
    pub async fn launch(config: LaunchConfig) -> Result<Self, ClientError> {
        let mut readers = JoinSet::new();
        let identity = match config.auto_mtls {
            AutoMtls::Yes => Some(Identity::make()?),
            AutoMtls::No => None,
        };
        let mut child = process::spawn(&config, identity.as_ref())
            .map_err(|source| ClientError::Spawn { program: config.program.clone(), source })?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or_default();
        let tail = stderr::LastLines::default();
        if let Some(pipe) = child.stderr.take() {
            #[expect(clippy::disallowed_methods, reason = "the plugin holds the set, and it ends with it")]
            readers.spawn(stderr::read(pipe, config.log.clone(), tail.clone()));
        }
        let stdout = child.stdout.take();
        let exited = process::watch_child(child, &mut readers);

        let connected = async {
            let mut stdout = BufReader::new(stdout.ok_or_else(|| ended(&config, &tail))?);
            let mut line = String::new();
            let read =
                timeout(config.start_timeout, stdout.read_line(&mut line)).await.map_err(|_| ClientError::Late {
                    program: config.program.clone(),
                    timeout: config.start_timeout,
                    stderr: tail.text(),
                })?;
            if !read.is_ok_and(|bytes| bytes > 0) {
                tail.closed(Duration::from_secs(1)).await;
                return Err(ended(&config, &tail));
            }
            let line: HandshakeLine = line.parse()?;
            if !config.app_versions.contains(&line.app_version) {
                return Err(ClientError::Version(line.app_version));
            }
            // A plugin must never block on a full pipe.
            #[expect(clippy::disallowed_methods, reason = "the plugin holds the set, and it ends with it")]
            readers.spawn(async move {
                let _until_its_end = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
            });
            let reattach = Reattach { pid, address: line.address, app_version: line.app_version };
            let tls = match identity {
                Some(_) if line.certificate.is_empty() => return Err(ClientError::NoTls(config.program.clone())),
                Some(identity) => Some(identity.connector(&line.certificate)?),
                None => None,
            };
            Ok((connect(&reattach, tls).await?, reattach))
        }
        .await;
        match connected {
            Ok((channel, reattach)) => Ok(Self { channel, reattach, exited, _readers: readers }),
            Err(error) => {
                process::kill(pid);
                Err(error)
            }
        }
    }

    /// Connects to a plugin that an earlier host started.
    pub async fn reattach(reattach: Reattach) -> Result<Self, ClientError> {
        let mut readers = JoinSet::new();
        let exited = process::watch_stranger(reattach.pid, &mut readers).ok_or(ClientError::NoProcess(reattach.pid))?;
        let channel = connect(&reattach, None).await?;
        Ok(Self { channel, reattach, exited, _readers: readers })
    }

    /// The channel to the plugin's services; clones share one connection.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// What finds this plugin again from another host process.
    pub fn reattach_config(&self) -> &Reattach {
        &self.reattach
    }

    /// Calls a method of which neither the request nor the answer has a field that matters, by its full path.
    pub async fn call_empty(&self, path: &'static str) -> Result<(), Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel());
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<Empty, Empty>::default();
        grpc.unary(Request::new(Empty {}), PathAndQuery::from_static(path), codec).await.map(|_answer| ())
    }

    /// Waits until the process has ended.
    pub async fn exited(&self) {
        let mut exited = self.exited.clone();
        let _closed_is_the_end_too = exited.wait_for(|exited| *exited).await;
    }

    /// Asks the plugin to end, and forces it after 2 s. Its socket file is removed. One that hangs in the kernel is
    /// waited for no longer than 5 s.
    pub async fn kill(&self) {
        let mut controller = GrpcControllerClient::new(self.channel());
        let graceful = async {
            // The plugin may end before its answer is sent; what counts is that it ends.
            let _answer = controller.shutdown(Empty {}).await;
            self.exited().await;
        };
        if timeout(SHUTDOWN_GRACE, graceful).await.is_err() {
            process::kill(self.reattach.pid);
            if timeout(KILL_GRACE, self.exited()).await.is_err() {
                // It is about to end, whenever the kernel lets it: in the midst of what it waits for it cannot.
                tracing::warn!(pid = self.reattach.pid, "a plugin does not end though it was killed");
            }
            let address = &self.reattach.address;
            let _removed_by_the_plugin_as_a_rule = std::fs::remove_file(address);
            // Plugins of this crate have a directory of their own for it, named for the process.
            let named = format!("plugin{}-", self.reattach.pid);
            let is_own = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.starts_with(&named));
            if let Some(own) = address.parent().filter(|parent| parent.file_name().is_some_and(is_own)) {
                let _removed_by_the_plugin_as_a_rule = std::fs::remove_dir(own);
            }
        }
    }
}

fn ended(config: &LaunchConfig, tail: &stderr::LastLines) -> ClientError {
    ClientError::Ended { program: config.program.clone(), stderr: tail.text() }
}

async fn connect(reattach: &Reattach, tls: Option<TlsConnector>) -> Result<Channel, ClientError> {
    let path = reattach.address.clone();
    let connector = tower::service_fn(move |_| {
        let (path, tls) = (path.clone(), tls.clone());
        async move {
            let stream = UnixStream::connect(path).await?;
            let stream = match tls {
                Some(tls) => Either::Left(tls.connect(auto_mtls::server_name(), stream).await?),
                None => Either::Right(stream),
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://unused")
        .connect_with_connector(connector)
        .await
        .map_err(|source| ClientError::Connect { address: reattach.address.clone(), source })
}
