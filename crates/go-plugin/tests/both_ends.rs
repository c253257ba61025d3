//! A real plugin process, started and found again by the client.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use go_plugin::{
    Handshake,
    client::{AutoMtls, ClientError, LaunchConfig, Plugin},
    hclog::Line,
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/plugin")
}

type Lines = Arc<Mutex<Vec<Line>>>;

fn config(directory: &Path) -> (LaunchConfig, Lines) {
    let lines = Lines::default();
    let sink = lines.clone();
    let config = LaunchConfig {
        program: example(),
        args: Vec::new(),
        env: Vec::new(),
        handshake: Handshake { cookie_key: "EXAMPLE_COOKIE", cookie_value: "chocolate" },
        app_versions: vec![2],
        start_timeout: DEADLINE,
        socket_dir: Some(directory.to_owned()),
        auto_mtls: AutoMtls::No,
        log: Arc::new(move |line| sink.lock().unwrap().push(line)),
    };
    (config, lines)
}

fn is_empty(directory: &Path) -> bool {
    directory.read_dir().unwrap().next().is_none()
}

#[tokio::test]
async fn a_plugin_is_launched_serves_logs_and_ends_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let (config, lines) = config(directory.path());

    let plugin = Plugin::launch(config).await.unwrap();
    let reattach = plugin.reattach_config().clone();
    let socket = std::fs::metadata(&reattach.address).unwrap();
    let own = reattach.address.parent().unwrap();
    let closed = std::fs::metadata(own).unwrap();
    timeout(DEADLINE, plugin.kill()).await.unwrap();

    assert_eq!((reattach.app_version, socket.permissions().mode() & 0o777), (2, 0o600));
    assert_eq!(closed.permissions().mode() & 0o777, 0o700);
    assert_eq!(own.parent(), Some(directory.path()));
    assert!(is_empty(directory.path()), "the socket is left behind");
    let lines = lines.lock().unwrap();
    let Line::Entry { level, message, fields } = &lines[0] else { panic!("no entry: {lines:?}") };
    assert_eq!((level.as_str(), message.as_str()), ("info", "hello from the plugin"));
    assert_eq!(fields["answer"], 42);
}

#[tokio::test]
async fn a_panic_of_a_plugin_is_an_error_in_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, lines) = config(directory.path());
    config.env.push(("EXAMPLE_PANIC".into(), "1".into()));

    let plugin = Plugin::launch(config).await.unwrap();
    timeout(DEADLINE, plugin.kill()).await.unwrap();

    let lines = lines.lock().unwrap();
    let Line::Entry { level, message, fields } = &lines[1] else { panic!("no entry: {lines:?}") };
    assert_eq!((level.as_str(), message.as_str()), ("error", "panic: lost 7"));
    assert_eq!(fields["thread"], "careless");
    assert!(fields["at"].as_str().unwrap().contains("examples/plugin.rs:"), "{fields:?}");
}

#[tokio::test]
async fn a_plugin_survives_its_host_and_an_interrupt_and_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let (config, _lines) = config(directory.path());
    let first = Plugin::launch(config).await.unwrap();
    let reattach = first.reattach_config().clone();
    let pid = Pid::from_raw(reattach.pid).unwrap();

    drop(first);
    for _ in 0..3 {
        kill_process(pid, Signal::INT).unwrap();
    }
    let second = Plugin::reattach(reattach.clone()).await.unwrap();
    timeout(DEADLINE, second.kill()).await.unwrap();

    assert!(matches!(Plugin::reattach(reattach).await, Err(ClientError::NoProcess(_) | ClientError::Connect { .. })));
    assert!(is_empty(directory.path()));
}

#[tokio::test]
async fn a_plugin_that_does_not_answer_is_forced_to_end() {
    let directory = tempfile::tempdir().unwrap();
    let (config, _lines) = config(directory.path());
    let plugin = Plugin::launch(config).await.unwrap();
    let pid = Pid::from_raw(plugin.reattach_config().pid).unwrap();

    kill_process(pid, Signal::STOP).unwrap();
    timeout(DEADLINE, plugin.kill()).await.unwrap();

    assert!(test_kill_process(pid).is_err(), "the process is still there");
    assert!(is_empty(directory.path()));
}

#[tokio::test]
async fn an_end_before_the_handshake_says_what_the_plugin_printed() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, _lines) = config(directory.path());
    config.app_versions = vec![9];

    let Err(error) = Plugin::launch(config).await else { panic!("it was launched") };

    let text = error.to_string();
    assert!(text.contains("ended before its handshake; it said:"), "{text}");
    assert!(text.ends_with("no common protocol version: the host offers 9, this plugin has [2, 3]"), "{text}");
}

#[tokio::test]
async fn a_silent_program_is_given_up_when_its_time_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, _lines) = config(directory.path());
    config.program = "/bin/sh".into();
    config.args = vec!["-c".into(), "exec sleep 60".into()];
    config.start_timeout = Duration::from_millis(100);

    let Err(error) = Plugin::launch(config).await else { panic!("it was launched") };

    assert_eq!(error.to_string(), "the plugin /bin/sh sent no handshake within 0.1 s");
}

#[test]
fn a_person_who_starts_a_plugin_reads_what_it_is() {
    let output = Command::new(example()).stdin(Stdio::null()).output().unwrap();

    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("this program is a plugin: it is started by its host, not by hand\nhint: "), "{text}");
}

#[tokio::test]
async fn with_auto_mtls_each_side_proves_itself_and_calls_go_through() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, _lines) = config(directory.path());
    config.auto_mtls = AutoMtls::Yes;

    let plugin = Plugin::launch(config).await.unwrap();
    let reattach = plugin.reattach_config().clone();
    let address = reattach.address.clone();
    let in_the_clear = tokio::task::spawn_blocking(move || answer_to_http2_preface(&address)).await.unwrap();
    let asked_at = tokio::time::Instant::now();
    timeout(DEADLINE, plugin.kill()).await.unwrap();

    assert!(matches!(in_the_clear.first(), None | Some(21)), "no TLS alert: {in_the_clear:?}");
    assert!(asked_at.elapsed() < Duration::from_secs(2), "the call did not arrive, the process was forced");
    assert!(test_kill_process(Pid::from_raw(reattach.pid).unwrap()).is_err());
    assert!(is_empty(directory.path()));
}

/// All that the plugin answers to one who speaks HTTP/2 without TLS.
fn answer_to_http2_preface(address: &Path) -> Vec<u8> {
    let mut stream = UnixStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn a_plugin_that_offers_no_tls_is_refused_when_tls_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, _lines) = config(directory.path());
    config.auto_mtls = AutoMtls::Yes;
    config.program = "/bin/sh".into();
    config.args = vec!["-c".into(), "echo '1|2|unix|/nowhere|grpc|'; exec sleep 60".into()];

    let Err(error) = Plugin::launch(config).await else { panic!("it was launched") };

    assert_eq!(error.to_string(), "the plugin /bin/sh does not support AutoMTLS");
}

/// The plugin as a host of any make starts it; killed and reaped on drop.
struct Bare {
    process: std::process::Child,
    line: String,
}

impl Bare {
    fn start(directory: &Path, environment: &[(&str, &str)]) -> Self {
        let mut process = Command::new(example())
            .env("EXAMPLE_COOKIE", "chocolate")
            .env("PLUGIN_PROTOCOL_VERSIONS", "1,2,3")
            .env("PLUGIN_UNIX_SOCKET_DIR", directory)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, line }
    }

    /// The one socket that there is, in the one directory.
    fn socket(&self, directory: &Path) -> PathBuf {
        let own = std::fs::read_dir(directory).unwrap().next().unwrap().unwrap();
        let name = own.file_name().into_string().unwrap();
        assert!(name.starts_with(&format!("plugin{}-", self.process.id())), "{name}");
        own.path().join("s")
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn the_handshake_line_is_what_hosts_of_any_make_read() {
    let directory = tempfile::tempdir().unwrap();

    let plugin = Bare::start(directory.path(), &[]);

    assert_eq!(plugin.line, format!("1|3|unix|{}|grpc|\n", plugin.socket(directory.path()).display()));
}

#[test]
fn a_host_that_can_multiplex_learns_that_the_plugin_does_not() {
    let directory = tempfile::tempdir().unwrap();

    let plugin = Bare::start(directory.path(), &[("PLUGIN_MULTIPLEX_GRPC", "true")]);

    assert_eq!(plugin.line, format!("1|3|unix|{}|grpc||false\n", plugin.socket(directory.path()).display()));
}

#[test]
fn the_socket_belongs_to_the_group_that_the_host_names() {
    let directory = tempfile::tempdir().unwrap();
    let own = rustix::process::getgid().as_raw();
    // Only root may give a file to a group that it is not in.
    let group = if rustix::process::geteuid().is_root() { 4321 } else { own };

    let plugin = Bare::start(directory.path(), &[("PLUGIN_UNIX_SOCKET_GROUP", &group.to_string())]);

    let socket = plugin.socket(directory.path()).metadata().unwrap();
    assert_eq!((socket.gid(), socket.permissions().mode() & 0o777), (group, 0o660));
}

#[test]
fn a_group_that_does_not_exist_ends_the_plugin_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(example())
        .env("EXAMPLE_COOKIE", "chocolate")
        .env("PLUGIN_PROTOCOL_VERSIONS", "2")
        .env("PLUGIN_UNIX_SOCKET_DIR", directory.path())
        .env("PLUGIN_UNIX_SOCKET_GROUP", "no-such-group")
        .stdin(Stdio::null())
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().ends_with("no such group: no-such-group\n"));
    assert!(is_empty(directory.path()));
}
