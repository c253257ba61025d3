//! What an agent and its host hold ready: directories, pipes, images, a registry, an engine.

use std::{
    fs,
    io::Read,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use conformance::{
    LABEL,
    docker::docker,
    dockerd::Dockerd,
    faulty_registry::{Fault, FaultyRegistry},
    image,
    registry::{Access, Registry},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, mknodat, open},
    mount::{UnmountFlags, unmount},
};
use serde_json::Value;

use crate::{recording::Recording, substitution::Substitution};

/// The registry of the recordings whose images take their time.
const SLOW: &str = "127.0.0.1:50006/bench/slow";

/// Everything of one replay that is beside the plugin. It is removed with this.
pub(crate) struct Stage {
    pub(crate) substitution: Substitution,
    /// In the place of `/tmp/agent`.
    pub(crate) root: PathBuf,
    engine: Option<Dockerd>,
    allocs: Vec<String>,
    images: Vec<String>,
    volume: String,
    slow: Option<Slow>,
}

/// A registry that holds each image back until it is released: one in front for each image.
struct Slow {
    _real: Registry,
    fronts: Vec<FaultyRegistry>,
}

/// Whether a replay has an engine of its own, to be stopped and started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnEngine {
    No,
    /// With live-restore.
    Yes,
    WithoutLiveRestore,
}

impl Stage {
    pub(crate) fn set(recording: &Recording, own: OwnEngine) -> Self {
        let word: String = uuid::Uuid::new_v4().simple().to_string().chars().take(5).collect();
        let root = Path::new("/tmp").join(&word);
        // The agent's directories are in one whose name has the root's as its beginning, in one recording.
        let data = PathBuf::from(format!("{}.data", root.display()));
        for directory in [&root, &data] {
            fs::create_dir(directory).unwrap();
        }
        let engine = match own {
            OwnEngine::No => None,
            OwnEngine::Yes => Some(Dockerd::start()),
            OwnEngine::WithoutLiveRestore => Some(Dockerd::without_live_restore()),
        };
        let socket = engine.as_ref().map_or_else(|| PathBuf::from("/var/run/docker.sock"), Dockerd::socket);
        symlink(socket, root.join("docker.sock")).unwrap();
        let mut stage = Self {
            substitution: Substitution::default(),
            root,
            engine,
            allocs: Vec::new(),
            images: Vec::new(),
            volume: format!("{word}-v"),
            slow: None,
        };
        stage.substitute(recording, &word);
        stage.make_images(&word);
        stage
    }

    fn substitute(&mut self, recording: &Recording, word: &str) {
        let Self { substitution, volume, .. } = self;
        substitution.add("/tmp/agent", format!("/tmp/{word}"));
        substitution.add("bench/", format!("{word}/"));
        // With its length in msgpack before it.
        substitution.add(b"\xa7example", [b"\xa7", volume.as_bytes()].concat());
        // Addresses of this machine of the replay's own, so that its ports are nobody else's.
        let [a, b, c, ..] = uuid::Uuid::new_v4().into_bytes().map(|byte| byte % 9 + 1);
        substitution.add("127.0.0.1", format!("127.{a}.{b}.{c}"));
        substitution.add("172.31.202.1", format!("127.1{a}{b}.{c}{a}.{b}"));
        let tasks: Vec<_> = recording.requests("Driver.StartTask").map(|request| &request.message["task"]).collect();
        let networks = recording.requests("Driver.CreateNetwork").map(|request| &request.message);
        let mut ids: Vec<_> = tasks.iter().map(|task| &task["node_id"]).collect();
        ids.extend(tasks.iter().copied().chain(networks).map(|message| &message["alloc_id"]));
        for id in ids.into_iter().filter_map(Value::as_str) {
            // Its beginning is the allocation's short id.
            let ours = format!("{}{}", &id[..8], &uuid::Uuid::new_v4().to_string()[8..]);
            if self.substitution.add(id, &ours) {
                self.allocs.push(ours);
            }
        }
        let slow = recording.requests("Driver.StartTask").filter_map(|request| {
            request.message["task"]["msgpack_driver_config"]["image"].as_str().filter(|image| image.starts_with(SLOW))
        });
        let slow: Vec<_> = slow.map(str::to_owned).collect();
        if !slow.is_empty() {
            self.slow = Some(Slow::start(&slow, word, &mut self.substitution, &mut self.images));
        }
    }

    fn make_images(&mut self, word: &str) {
        let (busybox, pause, broken) =
            (format!("{word}/busybox:1"), format!("{word}/pause:1"), format!("{word}/broken:1"));
        let waits = r#"CMD ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"]"#;
        let nowhere = r#"CMD ["/nowhere"]"#;
        self.docker(&["tag", &image(), &busybox]);
        let label = format!("LABEL {LABEL}={word}");
        for (name, command) in [(&pause, waits), (&broken, nowhere)] {
            let container = self.docker(&["create", &busybox, "true"]);
            self.docker(&["commit", "--change", command, "--change", &label, container.trim(), name]);
            self.docker(&["rm", container.trim()]);
        }
        self.images.extend([busybox, pause, broken]);
    }

    /// Runs `docker` against the replay's engine.
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        self.engine.as_ref().map_or_else(|| docker(args), |engine| engine.run(args))
    }

    /// The first process of a container that runs.
    pub(crate) fn process_of(&self, container: &str) -> Option<u32> {
        let mut docker = Command::new("docker");
        docker.env("DOCKER_HOST", format!("unix://{}", self.root.join("docker.sock").display()));
        let output = docker.args(["inspect", "--format", "{{.State.Pid}}", container]).output().unwrap();
        // Its engine may be stopped.
        String::from_utf8(output.stdout).unwrap().trim().parse().ok().filter(|pid| *pid > 0)
    }

    /// Starts the replay's own engine.
    pub(crate) fn begin_engine(&mut self) {
        self.engine.as_mut().expect("an engine of its own").begin();
    }

    /// Stops the replay's own engine.
    pub(crate) fn stop_engine(&mut self) {
        self.engine.as_mut().expect("an engine of its own").stop();
    }

    /// Makes what an agent has ready for a task: its directories, and its pipes with somebody who reads them. `None` where
    /// the driver says that it reads no logs.
    pub(crate) fn prepare(&self, task: &Value, pipes: Pipes) {
        let path = |name: &str| PathBuf::from(task[name].as_str().unwrap_or_default());
        let alloc = path("alloc_dir");
        let own = alloc.join(task["name"].as_str().unwrap());
        let shared = ["alloc/logs", "alloc/data", "alloc/tmp"].map(|part| alloc.join(part));
        for directory in shared.into_iter().chain(["local", "secrets", "tmp"].map(|part| own.join(part))) {
            fs::create_dir_all(&directory).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        }
        for pipe in ["stdout_path", "stderr_path"].map(path) {
            if pipes == Pipes::Made && pipe != Path::new("/dev/null") && !pipe.exists() {
                mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
                read_once(&pipe);
            }
        }
        // Of the host, in a recording with volumes and devices.
        fs::create_dir_all(self.root.join("volumes/data")).unwrap();
        fs::create_dir_all(self.root.join("devices")).unwrap();
        fs::write(self.root.join("devices/one"), "one").unwrap();
        for mount in task["mounts"].as_array().into_iter().flatten() {
            let path = Path::new(mount["host_path"].as_str().unwrap());
            if !path.exists() {
                fs::create_dir_all(path).unwrap();
            }
        }
    }

    /// Waits until an image's pull is held back.
    pub(crate) async fn held_back(&self) {
        let slow = self.slow.as_ref().expect("a slow registry");
        conformance::until("a pull is under way", || slow.fronts.iter().any(|front| front.holding() > 0)).await;
    }

    /// Lets an image through, where it is one that is held back.
    pub(crate) fn release(&self, image: &str) {
        if let Some(slow) = &self.slow
            && let Some(number) = image.strip_prefix(SLOW).and_then(|rest| rest.chars().next()?.to_digit(10))
        {
            slow.fronts[number as usize].release();
        }
    }

    /// The containers of the replay's allocations.
    pub(crate) fn containers(&self) -> Vec<String> {
        let all = self.docker(&["ps", "--all", "--format", "{{.Names}}"]);
        let is_ours = |name: &&str| self.allocs.iter().any(|alloc| name.ends_with(alloc.as_str()));
        all.lines().filter(is_ours).map(str::to_owned).collect()
    }

    /// The files on which the network namespaces of the replay's allocations are mounted.
    pub(crate) fn namespaces(&self) -> Vec<PathBuf> {
        let all = fs::read_dir("/run/netns").into_iter().flatten().map(|entry| entry.unwrap().path());
        let is_ours = |path: &PathBuf| self.allocs.iter().any(|alloc| path.to_string_lossy().ends_with(alloc.as_str()));
        all.filter(is_ours).collect()
    }
}

/// Whether a task's pipes are there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pipes {
    Made,
    /// As for a driver that says that it collects no logs.
    Missing,
}

impl Slow {
    fn start(names: &[String], word: &str, substitution: &mut Substitution, images: &mut Vec<String>) -> Self {
        let mut real = Registry::start(Access::Anonymous);
        let mut fronts = Vec::new();
        for number in 0..names.len() {
            let pushed = real.push_with_layer_as(&format!("{word}/slow{number}:1"), 100 << 10);
            let front = FaultyRegistry::start(&real, |asked| if asked.layer { Fault::Stall } else { Fault::None });
            substitution.add(format!("{SLOW}{number}"), front.name(&pushed).trim_end_matches(":1"));
            images.push(front.name(&pushed));
            fronts.push(front);
        }
        Self { _real: real, fronts }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A replay that failed may have left its engine stopped; then it has nothing that could be removed by it.
        for container in
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.containers())).unwrap_or_default()
        {
            self.docker(&["rm", "--force", "--volumes", &container]);
        }
        for namespace in self.namespaces() {
            let _unmounted = unmount(&namespace, UnmountFlags::DETACH);
            let _removed = fs::remove_file(namespace);
        }
        if self.engine.is_none() {
            for image in &self.images {
                let _not_pulled = Command::new("docker").args(["rmi", "--force", image]).output();
            }
            let _not_made = Command::new("docker").args(["volume", "rm", &self.volume]).output();
        }
        for directory in [self.root.clone(), PathBuf::from(format!("{}.data", self.root.display()))] {
            let _removed = fs::remove_dir_all(directory);
        }
    }
}

/// Reads a pipe as an agent does: opened for reading alone, to the end of file, never opened again.
fn read_once(path: &Path) {
    // An agent's open waits for a writer. So does this thread, which must not outlive the test by it.
    let pipe = open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap();
    std::thread::spawn(move || {
        let mut ready = [PollFd::new(&pipe, PollFlags::IN)];
        if poll(&mut ready, None).is_ok() {
            fcntl_setfl(&pipe, fcntl_getfl(&pipe).unwrap() - OFlags::NONBLOCK).unwrap();
            let mut buffer = vec![0; 64 << 10];
            let mut pipe = fs::File::from(pipe);
            while matches!(pipe.read(&mut buffer), Ok(1..)) {}
        }
    });
}
