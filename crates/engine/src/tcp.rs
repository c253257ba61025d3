//! Connections over TCP, with or without TLS, that break when the peer is gone.
//!
//! A middlebox may drop a connection silently, and then nothing ever arrives on it. The event subscription, a followed log and
//! an attached command can be silent for days, so the kernel probes the peer with keepalives.

use std::{io, path::Path, sync::Arc, time::Duration};

use bollard::errors::Error;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{endpoint::Tls, transport::Connector};

/// How long a connection is silent before it is probed, and how long the answer to each probe may take.
const PROBE: Duration = Duration::from_secs(15);
/// How many unanswered probes break it.
const PROBES: u32 = 3;

/// The connector to a host and port, with or without TLS.
pub(super) fn connector(tls: Option<&Tls>) -> Result<Connector, Error> {
    let mut tcp = HttpConnector::new();
    tcp.set_keepalive(Some(PROBE));
    tcp.set_keepalive_interval(Some(PROBE));
    tcp.set_keepalive_retries(Some(PROBES));
    // Sent data that is not acknowledged is not probed.
    tcp.set_tcp_user_timeout(Some(PROBE * (PROBES + 1)));
    match tls {
        None => Ok(Connector::Tcp(tcp)),
        Some(tls) => {
            tcp.enforce_http(false);
            Ok(Connector::Tls(HttpsConnector::from((tcp, config(tls)?))))
        }
    }
}

/// Trusts the system's authorities and the configured one. The files are read for each client; there is one client as long as
/// the engine answers.
fn config(Tls { cert, key, ca }: &Tls) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    for authority in rustls_native_certs::load_native_certs().certs {
        // An unusable authority does not invalidate the others.
        let _unusable = roots.add(authority);
    }
    if !ca.as_os_str().is_empty() {
        roots.add_parsable_certificates(certificates(ca)?);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?.with_root_certificates(roots);
    if cert.as_os_str().is_empty() {
        return Ok(config.with_no_client_auth());
    }
    let chain = certificates(cert)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|_| Error::CertPathError { path: key.clone() })?;
    config.with_client_auth_cert(chain, private).map_err(|_| Error::CertPathError { path: cert.clone() })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|_| Error::CertPathError { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use tokio::{
        net::TcpListener,
        time::{sleep, timeout},
    };

    use super::*;
    use crate::{Endpoint, Engine};

    /// The kernel's timer for a connection of this host: `02` is the keepalive timer.
    fn timer(local: u16, remote: u16) -> Option<String> {
        let connections = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        connections.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let is = |index: usize, port: u16| fields.get(index)?.ends_with(&format!(":{port:04X}")).then_some(());
            is(1, local)?;
            is(2, remote)?;
            Some(fields.get(5)?.split(':').next()?.to_owned())
        })
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_comes_is_probed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let engine = Engine::new(Endpoint { address: format!("tcp://127.0.0.1:{port}"), tls: None });

        let silent = async {
            let (_held, client) = listener.accept().await.unwrap();
            while timer(client.port(), port).as_deref() != Some("02") {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let probed = async {
            tokio::select! {
                answer = engine.answers() => panic!("it is answered: {answer:?}"),
                () = silent => {}
            }
        };

        timeout(Duration::from_secs(60), probed).await.unwrap();
    }
}
