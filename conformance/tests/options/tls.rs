//! An engine that listens on TCP and asks for a client's certificate.

use std::{path::Path, sync::Arc};

use conformance::{Fixture, docker::inspect};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, UnixStream},
};
use tokio_rustls::TlsAcceptor;

/// The machine's engine behind TLS, as dockerd with `--tlsverify`; with the files that a client needs.
struct TlsEngine {
    address: String,
    files: tempfile::TempDir,
}

impl TlsEngine {
    async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(params, ca_key);
        let issue = || {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let ((server, server_key), (client, client_key)) = (issue(), issue());
        for (name, pem) in [("ca.pem", ca.pem()), ("cert.pem", client.pem()), ("key.pem", client_key.serialize_pem())] {
            std::fs::write(files.path().join(name), pem).unwrap();
        }

        let mut trusted = RootCertStore::empty();
        trusted.add(ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(trusted.into(), provider.clone()).build().unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![server.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config))));
        Self { address, files }
    }

    fn config(&self, files: &Path) -> String {
        let [ca, cert, key] = ["ca", "cert", "key"].map(|name| files.join(format!("{name}.pem")).display().to_string());
        let address = &self.address;
        format!("endpoint = {address:?}\ntls {{\n  ca = {ca:?}\n  cert = {cert:?}\n  key = {key:?}\n}}")
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((client, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move {
            let Ok(mut client) = acceptor.accept(client).await else { return };
            let mut engine = UnixStream::connect("/var/run/docker.sock").await.unwrap();
            let _either_side_ended = copy_bidirectional(&mut client, &mut engine).await;
        });
    }
}

// The engine's side continues while the test waits for the task's output.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_behind_tls_is_reached_with_the_operators_certificates() {
    let (engine, other) = (TlsEngine::start().await, TlsEngine::start().await);
    let fixture = Fixture::configured(&engine.config(engine.files.path())).await;
    let stranger = Fixture::configured(&engine.config(other.files.path())).await;
    let mistyped = Fixture::configured(&engine.config(engine.files.path()).replace("cert.pem", "crt.pem")).await;
    let task = fixture.job("web", "echo hello; exec sleep 1000", "").await;

    fixture.run(&task).await;
    let rejection = stranger.refused(&stranger.job("web", "", "").await).await.message;

    let unreadable = mistyped.refused(&mistyped.job("web", "", "").await).await.message;

    task.pipes.stdout.wait_for_text("hello\n");
    assert_eq!(inspect(&task.container())["State"]["Running"], true);
    assert!(rejection.starts_with("failed to fetch docker daemon info: "), "{rejection}");
    assert!(unreadable.contains("crt.pem"), "{unreadable}");
    fixture.end().await;
    stranger.end().await;
    mistyped.end().await;
}
