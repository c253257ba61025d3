//! A Docker Engine of a test's own, to be stopped, killed and started again. It has its own containerd, as Debian's
//! packages do, so that the containers' shims outlive dockerd, and a network namespace of its own.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{DEADLINE, docker::docker, image, kill, signal};

/// An address of the engine's own network that, unlike 127.0.0.1, it does not count as insecure.
pub const ADDRESS: &str = "192.0.2.1";

/// What becomes dockerd once it has that address.
const WITH_ADDRESS: &str =
    "busybox ip link set lo up && busybox ip addr add $1/32 dev lo && shift && exec dockerd \"$@\"";

/// An engine, with live-restore or without.
pub struct Dockerd {
    directory: tempfile::TempDir,
    containerd: Child,
    engine: Option<Child>,
    live_restore: LiveRestore,
}

/// Whether containers outlive dockerd.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LiveRestore {
    Yes,
    No,
}

impl Dockerd {
    /// Starts the engine, with live-restore, and gives it the test image.
    pub fn start() -> Self {
        Self::with(LiveRestore::Yes, None)
    }

    /// Starts an engine with the id of this one. Before 23.0 all engines of one host have the same.
    #[must_use]
    pub fn twin(&self) -> Self {
        let id = fs::read(self.path("data/engine-id")).ok();
        let twin = Self::with(LiveRestore::Yes, id.as_deref());
        let id = |engine: &Self| engine.run(&["info", "--format", "{{.ID}}"]);
        assert_eq!(id(self), id(&twin));
        twin
    }

    /// Starts the engine without live-restore: a dockerd that comes back ends what ran.
    pub fn without_live_restore() -> Self {
        Self::with(LiveRestore::No, None)
    }

    fn with(live_restore: LiveRestore, id: Option<&[u8]>) -> Self {
        let directory = tempfile::Builder::new().prefix("longshore-dockerd-").tempdir().unwrap();
        if let Some(id) = id {
            fs::create_dir(directory.path().join("data")).unwrap();
            fs::write(directory.path().join("data/engine-id"), id).unwrap();
        }
        let at = |name: &str| directory.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            at("containerd-root"),
            at("containerd-state"),
            at("containerd.sock"),
        );
        fs::write(at("containerd.toml"), config).unwrap();
        let log = File::create(at("containerd.log")).unwrap();
        let containerd = Command::new("containerd")
            .args(["--config", &at("containerd.toml")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut engine = Self { directory, containerd, engine: None, live_restore };
        engine.begin();
        let made = Command::new("sh")
            .args(["-c", "docker save \"$1\" | docker --host \"$2\" load", "sh", &image(), &engine.address()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        engine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where it listens, for `DOCKER_HOST`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The socket of [`Self::address`].
    pub fn socket(&self) -> PathBuf {
        self.path("docker.sock")
    }

    /// Starts dockerd, and waits until it answers.
    pub fn begin(&mut self) {
        let log = File::options().append(true).create(true).open(self.path("dockerd.log")).unwrap();
        let at = |name: &str| self.path(name).display().to_string();
        let child = Command::new("unshare")
            .args(["--net", "sh", "-c", WITH_ADDRESS, "sh", ADDRESS])
            .args(["--bridge", "none", "--iptables=false", "--ip-masq=false"])
            .args((self.live_restore == LiveRestore::Yes).then_some("--live-restore"))
            .args(["--host", &self.address(), "--containerd", &at("containerd.sock"), "--pidfile", &at("dockerd.pid")])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        self.engine = Some(child);
        let answers = wait::blocking::look_within(*DEADLINE, || self.docker(&["version"]).then_some(()));
        let said = fs::read_to_string(self.path("dockerd.log")).unwrap_or_default();
        assert!(answers.is_some(), "dockerd does not answer: {said}");
    }

    fn network_path(&self) -> String {
        let pid = self.engine.as_ref().expect("the engine is stopped").id();
        format!("/proc/{pid}/ns/net")
    }

    /// The engine's network namespace; each start makes another.
    pub fn network(&self) -> File {
        File::open(self.network_path()).unwrap()
    }

    /// A command in the engine's network.
    pub fn beside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.network_path())).arg(program);
        command
    }

    /// Ends dockerd as a service manager does.
    pub fn stop(&mut self) {
        self.end("TERM");
    }

    /// Ends dockerd with SIGKILL.
    pub fn kill(&mut self) {
        self.end("KILL");
    }

    fn end(&mut self, how: &str) {
        if let Some(mut child) = self.engine.take() {
            // unshare(1) and the shell become dockerd, so that this is its own process id.
            let pid = i32::try_from(child.id()).unwrap();
            if how == "KILL" {
                kill([pid]);
            } else {
                signal(pid, how);
            }
            child.wait().unwrap();
        }
        if how == "KILL" {
            // What dockerd removes itself when it ends in order.
            let _absent = fs::remove_file(self.path("dockerd.pid"));
        }
    }

    /// Suspends dockerd until this is dropped: its sockets take connections and requests, and nothing is answered.
    pub fn suspended(&self) -> Suspended {
        let child = self.engine.as_ref().expect("the engine is stopped");
        let pid = i32::try_from(child.id()).unwrap();
        signal(pid, "STOP");
        Suspended(pid)
    }

    /// Runs `docker` against it.
    fn docker(&self, args: &[&str]) -> bool {
        let mut docker = Command::new("docker");
        docker.args(["--host", &self.address()]).args(args);
        docker.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    /// Runs `docker` against it and returns its output; fails with its error.
    pub fn run(&self, args: &[&str]) -> String {
        docker(&[&["--host", self.address().as_str()], args].concat())
    }

    /// What it has of a container's standard output.
    pub fn logs(&self, container: &str) -> String {
        let output = Command::new("docker").args(["--host", &self.address(), "logs", container]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Its files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// A suspended dockerd. It must not outlive its engine.
#[must_use = "dropping it lets dockerd continue"]
pub struct Suspended(i32);

impl Drop for Suspended {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

/// The leave for engines of this machine to trust a registry's authority. It ends with this.
pub struct Trust(PathBuf);

impl Trust {
    /// For a registry by its address, with the authority's certificate in PEM.
    pub fn begin(registry: &str, authority: &str) -> Self {
        let directory = Path::new("/etc/docker/certs.d").join(registry);
        fs::create_dir_all(&directory).unwrap();
        let trust = Self(directory);
        fs::write(trust.0.join("ca.crt"), authority).unwrap();
        trust
    }
}

impl Drop for Trust {
    fn drop(&mut self) {
        let _absent = fs::remove_dir_all(&self.0);
        // Others may have theirs beside it.
        let _in_use = self.0.parent().map(fs::remove_dir);
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let all = format!("docker --host {0} ps --all --quiet | xargs -r docker --host {0} rm --force", self.address());
        let _engine_gone = Command::new("sh").args(["-c", &all]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        self.end("TERM");
        let _absent_already = self.containerd.kill();
        let _reaped = self.containerd.wait();
        // Mounts of containers that could not be removed in order.
        let left = format!("grep -o '{}[^ ]*' /proc/mounts | sort -r | xargs -r umount", self.directory().display());
        let _none_left = Command::new("sh").args(["-c", &left]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}
