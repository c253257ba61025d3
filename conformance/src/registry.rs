//! A registry of the test's own on a loopback port, with its images; all is gone when it is dropped.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::{
    docker::docker,
    dockerd::{ADDRESS, Dockerd},
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
    /// The authority that signed its certificate, in PEM, where it has one.
    pub authority: String,
    tokens: Option<TokenService>,
    /// Where its images are pushed from, for `DOCKER_HOST`, if not from the machine's engine.
    engine: Option<String>,
    images: Vec<String>,
}

impl Registry {
    /// Starts Debian's `docker-registry`.
    pub fn start(access: Access) -> Self {
        Self::launch(access, None)
    }

    /// Starts one for everyone, behind TLS, in the network of an engine of the test's own.
    pub fn start_tls(engine: &Dockerd) -> Self {
        Self::launch(Access::Anonymous, Some(engine))
    }

    fn launch(access: Access, engine: Option<&Dockerd>) -> Self {
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
        let (mut authority, mut http) = (String::new(), "addr: '127.0.0.1:0'".to_owned());
        if engine.is_some() {
            let certified = Certified::make(ADDRESS);
            fs::write(directory.path().join("tls.pem"), certified.certificate).unwrap();
            fs::write(directory.path().join("tls.key"), certified.key).unwrap();
            authority = certified.authority;
            http = format!("addr: '{ADDRESS}:0', tls: {{ certificate: {root}/tls.pem, key: {root}/tls.key }}");
        }
        let config = format!(
            "version: 0.1\nlog: {{ accesslog: {{ disabled: true }} }}\nstorage: {{ filesystem: {{ rootdirectory: {root}/data }} }}\nhttp: {{ {http} }}\n{auth}"
        );
        fs::write(directory.path().join("registry.yml"), config).unwrap();
        fs::write(directory.path().join("htpasswd"), HTPASSWD).unwrap();
        let program = "docker-registry";
        let mut process = engine
            .map_or_else(|| Command::new(program), |engine| engine.beside(program))
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
                break rest.split(['"', ',']).next().unwrap().to_owned();
            }
        };
        // Its log must go on being read, or the registry stops when the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let engine = engine.map(Dockerd::address);
        let registry = Self { process, address, directory, authority, tokens, engine, images: Vec::new() };
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

    /// A command that speaks to the engine.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.envs(self.engine.as_ref().map(|engine| ("DOCKER_HOST", engine)));
        command
    }

    fn docker(&self, args: &[&str]) {
        let output = self.command("docker").args(args).output().unwrap();
        assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Pushes the test image under a name, and removes that name from the engine.
    pub fn push(&mut self, name: &str) -> String {
        let full = format!("{}/longshore-test/{name}", self.address);
        self.docker(&["tag", &image(), &full]);
        self.docker(&["--config", &self.directory.path().display().to_string(), "push", "--quiet", &full]);
        self.docker(&["rmi", &full]);
        self.images.push(full.clone());
        full
    }

    /// Pushes an image that no other name stands for: the test image with a label of its own.
    pub fn push_new(&mut self, name: &str) -> String {
        let full = format!("{}/longshore-test/{name}", self.address);
        let label = format!("LABEL {}={full}", crate::LABEL);
        let script = format!(
            "made=$(docker create --label {0} {1} true) && docker export $made | docker import --change '{label}' - {full}; \
             docker rm $made",
            crate::LABEL,
            image()
        );
        let made = self.command("sh").args(["-c", &script]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.docker(&["--config", &self.directory.path().display().to_string(), "push", "--quiet", &full]);
        self.docker(&["rmi", &full]);
        self.images.push(full.clone());
        full
    }

    /// Pushes the test image with one layer more, of that many bytes that are nowhere else.
    pub fn push_with_layer(&mut self, name: &str, bytes: usize) -> String {
        self.push_with_layer_as(&format!("longshore-test/{name}"), bytes)
    }

    /// The same, with the whole of a name behind the registry's address.
    pub fn push_with_layer_as(&mut self, name: &str, bytes: usize) -> String {
        let full = format!("{}/{name}", self.address);
        build_with_layer(&full, bytes);
        self.docker(&["--config", &self.directory.path().display().to_string(), "push", "--quiet", &full]);
        self.docker(&["rmi", &full]);
        self.images.push(full.clone());
        full
    }

    /// The name of a pushed image by its digest. The engine has neither name afterwards.
    pub fn pinned(&mut self, pushed: &str) -> String {
        docker(&["pull", "--quiet", pushed]);
        let digests = docker(&["image", "inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", pushed]);
        let digest = digests.lines().find(|digest| digest.starts_with(&self.address)).expect("a digest").to_owned();
        docker(&["rmi", pushed]);
        self.also(digest)
    }

    /// Another name for something that was pushed, to be removed from the engine in the end.
    pub fn also(&mut self, image: String) -> String {
        self.images.push(image.clone());
        image
    }

    /// Ends the process; pulled images are kept.
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

/// A server's certificate and what belongs to it, all in PEM.
struct Certified {
    authority: String,
    certificate: String,
    key: String,
}

impl Certified {
    /// Made by an authority that is made for it.
    fn make(address: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![address.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        Self { authority, certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may be stopped already, and an image may never have been pulled.
        let _stopped = self.process.kill();
        let _reaped = self.process.wait();
        let _absent = self.command("docker").args(["rmi", "--force"]).args(&self.images).output();
    }
}
