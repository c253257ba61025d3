//! A real plugin process, started and found again by the client.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use go_plugin::{
    Handshake,
    client::{ClientError, LaunchConfig, Plugin},
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
    timeout(DEADLINE, plugin.kill()).await.unwrap();

    assert_eq!(reattach.app_version, 2);
    assert_eq!(reattach.address.parent(), Some(directory.path()));
    assert!(is_empty(directory.path()), "the socket is left behind");
    let lines = lines.lock().unwrap();
    let Line::Entry { level, message, fields } = &lines[0] else { panic!("no entry: {lines:?}") };
    assert_eq!((level.as_str(), message.as_str()), ("info", "hello from the plugin"));
    assert_eq!(fields["answer"], 42);
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

    assert!(matches!(Plugin::reattach(reattach).await, Err(ClientError::Gone(_) | ClientError::Connect { .. })));
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
async fn an_end_before_the_handshake_tells_what_the_plugin_said() {
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
fn a_person_who_starts_a_plugin_is_told_what_it_is() {
    let output = Command::new(example()).stdin(Stdio::null()).output().unwrap();

    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("this program is a plugin: it is started by its host, not by hand\nhint: "), "{text}");
}
