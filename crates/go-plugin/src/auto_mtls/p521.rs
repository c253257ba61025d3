//! Signatures by P-521 keys: HashiCorp's AutoMTLS certificates have such keys, and ring does not know the curve.

use p521::ecdsa::{Signature, VerifyingKey, signature::Verifier};
use rustls::{
    SignatureScheme,
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id},
};

/// What a Go host or plugin signs with.
pub(super) const P521: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[&EcdsaP521],
    mapping: &[(SignatureScheme::ECDSA_NISTP521_SHA512, &[&EcdsaP521])],
};

/// ECDSA with P-521 and SHA-512.
#[derive(Debug)]
struct EcdsaP521;

impl SignatureVerificationAlgorithm for EcdsaP521 {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA512
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by OpenSSL: `openssl dgst -sha512 -sign` with a secp521r1 key.
    const MESSAGE: &[u8] = b"signed in Go";
    const PUBLIC_KEY: &str = "\
        04017b28f9960db03ca0388b121d9cd27786a8007e4180a5ddd5394ecf18092b4c9924c37bddcdade703ea29fb0bfba2db27\
        5dc06390a3d43c41c1827f28138baf6aa70102dab4f7770cbbc71890ccf7cd323b8feeeb867fbbbdc9c52e5162664ea54e71\
        c8ba0938c2e6e81ac8c2ee1be2a319b42eb27e4d21cbe9e3b269d79376c5338af1";
    const SIGNATURE: &str = "\
        3081870242016c38ff1e223de263d794135f1f53a73f86b00203a60d8d8aabcca1808266d3e95e16f5e125143a84d6094964\
        aff34e7c08846f4e2e0061852d0856227de5908959024114c58ce9220355d0285b60edf821f2fab948685722ca849c3e3f52\
        15edd40f2d6838f293b016fd77c7c500285264f78ea40dc3c022682691824917e00a8cb13662";

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: Vec<u8> = hex.bytes().collect();
        hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn a_signature_by_another_implementation_is_verified() {
        assert!(EcdsaP521.verify_signature(&bytes(PUBLIC_KEY), MESSAGE, &bytes(SIGNATURE)).is_ok());
    }

    #[test]
    fn a_signature_of_something_else_is_refused() {
        let mut signature = bytes(SIGNATURE);

        assert!(EcdsaP521.verify_signature(&bytes(PUBLIC_KEY), b"signed in C", &signature).is_err());
        *signature.last_mut().unwrap() ^= 1;
        assert!(EcdsaP521.verify_signature(&bytes(PUBLIC_KEY), MESSAGE, &signature).is_err());
        assert!(EcdsaP521.verify_signature(&[], MESSAGE, &bytes(SIGNATURE)).is_err());
    }
}
