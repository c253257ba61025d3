//! The plugin's process, started as an agent starts it.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, LazyLock, Mutex},
};

use conformance::{DEADLINE, driver_binary};
use go_plugin::{HandshakeLine, client::Reattach};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    task::JoinSet,
    time::timeout,
};

use crate::recording::{Recording, What};

/// The environment that an agent gives a plugin: its own and the handshake's.
static ENVIRONMENT: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let recording = Recording::open("01a");
    let launch = recording.events.iter().find_map(|event| match &event.what {
        What::Launch(Some(environment)) => environment.as_object().cloned(),
        _ => None,
    });
    let text = |value: Value| value.as_str().unwrap().to_owned();
    launch.unwrap().into_iter().map(|(name, value)| (name, text(value))).collect()
});

/// A running plugin. It is killed with this.
pub(crate) struct Process {
    child: Child,
    pub(crate) handshake: String,
    pub(crate) reattach: Reattach,
    /// Who reads its standard error.
    stderr: JoinSet<()>,
    _stdout: JoinSet<()>,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts the driver, with its socket and its working directory in `directory`, and waits for its handshake.
    pub(crate) async fn launch(directory: &Path, log: Arc<Mutex<String>>) -> Self {
        let mut child = Command::new(driver_binary())
            .env_clear()
            .envs(ENVIRONMENT.iter().map(|(name, value)| (name, value)))
            .env("TMPDIR", directory)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut errors = child.stderr.take().unwrap();
        let written = log.clone();
        let (mut stderr, mut stdout) = (JoinSet::new(), JoinSet::new());
        stderr.spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = errors.read(&mut buffer).await {
                written.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut handshake = String::new();
        timeout(*DEADLINE, output.read_line(&mut handshake)).await.expect("a handshake in time").unwrap();
        let line: HandshakeLine = handshake.parse().unwrap_or_else(|error| panic!("{error}: {}", log.lock().unwrap()));
        stdout.spawn(async move {
            let _until_its_end = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
        });
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        let reattach = Reattach { pid, address: line.address, app_version: line.app_version };
        Self { child, handshake: handshake.trim_end().to_owned(), reattach, stderr, _stdout: stdout, log }
    }

    /// Ends it with SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its end in order; how it ended, as recordings say it.
    pub(crate) async fn end(mut self) -> String {
        let status = timeout(*DEADLINE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("the plugin does not end: {}", self.log.lock().unwrap()));
        status.unwrap().to_string().replace(": ", " ")
    }

    /// Nobody reads its standard error any more.
    pub(crate) fn close_stderr(&mut self) {
        self.stderr = JoinSet::new();
    }
}
