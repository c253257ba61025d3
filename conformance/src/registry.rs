//! A registry of the test's own on a loopback port, with its images; all is gone when it is dropped.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::{
    docker::docker,
    image,
    token_service::{self, Keys, TokenService},
};

/// The one user of a registry that asks.
pub const USERNAME: &str = "sailor";
/// The user's password. Wherever it stands in a text, the text's base64 has a letter in which the two alphabets differ.
pub const PASSWORD: &str = "swordfish???";

/// What its token service takes in place of the password, where it has one.
pub const IDENTITY_TOKEN: &str = "identity-of-a-swordfish???";

/// `htpasswd -nbB sailor 'swordfish???'`.
const HTPASSWD: &str = "sailor:$2y$05$abcdefghijklmnopqrstuuc0vEGoYbHtuTN9/f7Dbg/vXLxKdURSy\n";
/// `sailor:swordfish???` in base64.
const AUTH: &str = "c2FpbG9yOnN3b3JkZmlzaD8/Pw==";

/// Whom a registry answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Anonymous,
    /// [`USERNAME`] with [`PASSWORD`].
    Password,
    /// Whoever has a token of its token service, which gives them for [`PASSWORD`] or [`IDENTITY_TOKEN`].
    Token,
}

/// A running registry.
pub struct Registry {
    process: Child,
    /// Its host and port.
    pub address: String,
    directory: tempfile::TempDir,
    tokens: Option<TokenService>,
    images: Vec<String>,
}

impl Registry {
    /// Starts Debian's `docker-registry`.
    pub fn start(access: Access) -> Self {
        let directory = tempfile::Builder::new().prefix("longshore-test-").tempdir().unwrap();
        let root = directory.path().display();
        let mut tokens = None;
        let auth = match access {
            Access::Anonymous => String::new(),
            Access::Password => format!("auth: {{ htpasswd: {{ realm: test, path: {root}/htpasswd }} }}\n"),
            Access::Token => {
                let keys = Keys { basic: format!("Basic {AUTH}"), identity: IDENTITY_TOKEN.to_owned() };
                let TokenService { realm, certificate, .. } = tokens.insert(TokenService::start(keys));
                fs::write(directory.path().join("token.pem"), certificate).unwrap();
                let names = format!("service: {0}, issuer: {0}", token_service::NAME);
                format!("auth: {{ token: {{ realm: '{realm}', {names}, rootcertbundle: {root}/token.pem }} }}\n")
            }
        };
        let config = format!(
            "version: 0.1\nlog: {{ accesslog: {{ disabled: true }} }}\nstorage: {{ filesystem: {{ rootdirectory: {root}/data }} }}\nhttp: {{ addr: '127.0.0.1:0' }}\n{auth}"
        );
        fs::write(directory.path().join("registry.yml"), config).unwrap();
        fs::write(directory.path().join("htpasswd"), HTPASSWD).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(directory.path().join("registry.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is not installed: ./x test installs it");
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "the registry ended before it listened");
            if let Some((_, rest)) = line.split_once("msg=\"listening on ") {
                break rest.split('"').next().unwrap().to_owned();
            }
        };
        // Its log must go on being read, or the registry stops when the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let registry = Self { process, address, directory, tokens, images: Vec::new() };
        let auths = format!(r#"{{ "auths": {{ "{}": {{ "auth": "{AUTH}" }} }} }}"#, registry.address);
        fs::write(registry.auth_config(), auths).unwrap();
        registry
    }

    /// A file in the form of docker's `config.json` that has the password.
    pub fn auth_config(&self) -> PathBuf {
        self.directory.path().join("config.json")
    }

    /// A token that the registry itself takes, to pull a name that was pushed.
    pub fn token(&self, name: &str) -> String {
        let tokens = self.tokens.as_ref().expect("the registry has no token service");
        tokens.token(&format!("repository:longshore-test/{}:pull", name.split(':').next().unwrap_or(name)))
    }

    /// Pushes the test image under a name, and removes that name from the engine.
    pub fn push(&mut self, name: &str) -> String {
        let full = format!("{}/longshore-test/{name}", self.address);
        docker(&["tag", &image(), &full]);
        docker(&["--config", &self.directory.path().display().to_string(), "push", "--quiet", &full]);
        docker(&["rmi", &full]);
        self.images.push(full.clone());
        full
    }

    /// Pushes an image that no other name stands for: the test image with a label of its own.
    pub fn push_anew(&mut self, name: &str) -> String {
        let full = format!("{}/longshore-test/{name}", self.address);
        let label = format!("LABEL {}={full}", crate::LABEL);
        let script = format!(
            "made=$(docker create --label {0} {1} true) && docker export $made | docker import --change '{label}' - {full}; \
             docker rm $made",
            crate::LABEL,
            image()
        );
        let made = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        docker(&["--config", &self.directory.path().display().to_string(), "push", "--quiet", &full]);
        docker(&["rmi", &full]);
        self.images.push(full.clone());
        full
    }

    /// Pushes the test image with one layer more, of that many bytes that are nowhere else.
    pub fn push_with_layer(&mut self, name: &str, bytes: usize) -> String {
        let full = format!("{}/longshore-test/{name}", self.address);
        build_with_layer(&full, bytes);
        docker(&["--config", &self.directory.path().display().to_string(), "push", "--quiet", &full]);
        docker(&["rmi", &full]);
        self.images.push(full.clone());
        full
    }

    /// Another name for something that was pushed, to be removed from the engine in the end.
    pub fn also(&mut self, image: String) -> String {
        self.images.push(image.clone());
        image
    }

    /// Ends the process; what was pulled stays.
    pub fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Makes an image that is in no registry: the test image with one layer more, of that many bytes that are nowhere else.
pub fn build_with_layer(name: &str, bytes: usize) {
    let label = crate::LABEL;
    let script = format!(
        "cd $(mktemp -d) && head -c {bytes} /dev/urandom >layer && \
         made=$(docker create --label {label} {} true) && docker cp layer $made:/layer && \
         docker commit --change 'LABEL {label}={name}' $made {name}; docker rm $made; rm -r $PWD",
        image()
    );
    let made = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may be stopped already, and an image may never have been pulled.
        let _stopped = self.process.kill();
        let _reaped = self.process.wait();
        let _absent = Command::new("docker").args(["rmi", "--force"]).args(&self.images).output();
    }
}
