//! A registry's token service: gives tokens for a password or an identity token, in the words of the registry's specification.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{CertificateParams, KeyPair};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::json;

/// The name under which the registry and its token service know each other.
pub const NAME: &str = "longshore-test";

/// The service. It ends with the test's process.
pub struct TokenService {
    /// Where it is asked.
    pub realm: String,
    /// The certificate by which the registry knows its tokens, in PEM.
    pub certificate: String,
    signer: Arc<Signer>,
}

/// What is taken for a token.
pub struct Keys {
    /// The header `Authorization` of a user with a password.
    pub basic: String,
    /// An identity token.
    pub identity: String,
}

struct Signer {
    key: EcdsaKeyPair,
    certificate: String,
}

impl TokenService {
    /// Listens on a loopback port.
    pub fn start(keys: Keys) -> Self {
        let pair = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap().self_signed(&pair).unwrap();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der(), &SystemRandom::new());
        let signer = Arc::new(Signer { key: key.unwrap(), certificate: STANDARD.encode(certificate.der()) });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let realm = format!("http://{}/token", listener.local_addr().unwrap());
        let signing = signer.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&stream.unwrap(), &keys, &signing);
            }
        });
        Self { realm, certificate: certificate.pem(), signer }
    }

    /// A token for a scope, such as `repository:org/app:pull`.
    pub fn token(&self, scope: &str) -> String {
        self.signer.token(&[scope])
    }
}

impl Signer {
    fn token(&self, scopes: &[&str]) -> String {
        let access = scopes.iter().filter_map(|scope| {
            let (kind, rest) = scope.split_once(':')?;
            let (name, actions) = rest.rsplit_once(':')?;
            Some(json!({ "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>() }))
        });
        let access: Vec<_> = access.collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [self.certificate] });
        let claims = json!({
            "iss": NAME, "aud": NAME, "sub": "", "jti": "1", "access": access,
            "iat": now, "nbf": now - 60, "exp": now + 600,
        });
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Answers one request: a user with a password asks with GET, one with an identity token with POST.
fn answer(mut stream: &TcpStream, keys: &Keys, signer: &Signer) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or_default() == 0 {
            return;
        }
    }
    let header = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let query = head.split(' ').nth(1).and_then(|target| target.split_once('?')).map_or("", |(_, query)| query);
    let fields: Vec<_> = form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(&body)).collect();
    let all = |name: &'static str| fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| &**value);
    let known =
        header("authorization") == Some(&keys.basic) || all("refresh_token").any(|token| token == keys.identity);
    let scopes: Vec<_> = all("scope").flat_map(|scopes| scopes.split(' ')).collect();
    let (status, answer) = if known {
        let token = signer.token(&scopes);
        ("200 OK", json!({ "token": token, "access_token": token, "expires_in": 300 }))
    } else {
        ("401 Unauthorized", json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "who is it?" }] }))
    };
    let answer = answer.to_string();
    let length = answer.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
    let _hung_up = stream.write_all(format!("{head}Connection: close\r\n\r\n{answer}").as_bytes());
}
