//! AutoMTLS: both ends make a certificate for one connection, and each trusts exactly the other's.
//!
//! The host hands its certificate over in `PLUGIN_CLIENT_CERT` (PEM), the plugin its own in the handshake line (base64 of DER).

mod p521;
mod pinned;

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::{
    ClientConfig, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject},
    version::TLS13,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use self::pinned::Pinned;

/// The environment variable by which the host asks for AutoMTLS.
pub(crate) const CLIENT_CERTIFICATE: &str = "PLUGIN_CLIENT_CERT";

/// The name in both certificates; go-plugin's hosts check for it.
const NAME: &str = "localhost";

/// Why there is no mutual TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate cannot be made.
    #[error("failed to make a certificate")]
    Make(#[from] rcgen::Error),
    /// The other side's certificate cannot be read.
    #[error("failed to read the other side's certificate")]
    Certificate,
    /// TLS cannot be set up.
    #[error("failed to set up TLS")]
    Setup(#[from] rustls::Error),
}

/// A certificate and its key, made for one connection and never written down.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    pem: String,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    /// Makes a self-signed one, that serves as authority and as leaf alike: hosts written in Go want both.
    pub(crate) fn make() -> Result<Self, TlsError> {
        let mut params = CertificateParams::new([NAME.to_owned()])?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, NAME);
        params.distinguished_name = name;
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyAgreement,
            KeyUsagePurpose::KeyCertSign,
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            pem: certificate.pem(),
            certificate: certificate.into(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }

    /// The certificate for the environment.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate for the handshake line.
    pub(crate) fn field(&self) -> String {
        STANDARD_NO_PAD.encode(&self.certificate)
    }

    /// The plugin's end, for the host that has `host`, a certificate in PEM.
    pub(crate) fn acceptor(self, host: &str) -> Result<TlsAcceptor, TlsError> {
        let host = CertificateDer::from_pem_slice(host.as_bytes()).map_err(|_| TlsError::Certificate)?;
        let provider = provider();
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(Pinned::new(host, &provider)))
            .with_single_cert(vec![self.certificate], PrivateKeyDer::Pkcs8(self.key))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// The host's end, for the plugin that has `plugin`, a certificate as it stands in a handshake line.
    pub(crate) fn connector(self, plugin: &str) -> Result<TlsConnector, TlsError> {
        // Some implementations pad.
        let plugin = STANDARD_NO_PAD.decode(plugin.trim_end_matches('=')).map_err(|_| TlsError::Certificate)?;
        let provider = provider();
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned::new(plugin.into(), &provider)))
            .with_client_auth_cert(vec![self.certificate], PrivateKeyDer::Pkcs8(self.key))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// The name to connect to.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::DnsName(
        rustls::pki_types::DnsName::try_from_str(NAME).expect("a constant that is a DNS name").to_owned(),
    )
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_field_is_base64_of_the_certificate_without_padding() {
        let identity = Identity::make().unwrap();

        let field = identity.field();

        assert!(!field.contains('=') && !field.contains('\n'), "{field}");
        assert_eq!(STANDARD_NO_PAD.decode(&field).unwrap(), identity.certificate.as_ref());
        assert_eq!(CertificateDer::from_pem_slice(identity.pem().as_bytes()).unwrap(), identity.certificate);
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(matches!(Identity::make().unwrap().acceptor("no PEM"), Err(TlsError::Certificate)));
        assert!(matches!(Identity::make().unwrap().connector("no base64!"), Err(TlsError::Certificate)));
    }
}
