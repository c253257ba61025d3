//! Commands run inside a task: whole output, right codes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{process::Command, time::Duration};

use conformance::{DEADLINE, Fixture, Started, docker::docker, until};
use futures_util::{Stream, StreamExt, stream};
use nomad_plugin::driver::{BoxStream, ExecEvent, ExecInput, ExecSetup, TerminalSize};
use tokio::time::{Instant, interval, timeout};
use tokio_stream::wrappers::IntervalStream;

struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    code: i32,
}

async fn exec(
    fixture: &Fixture,
    started: &Started,
    command: &[&str],
    tty: bool,
    input: impl Stream<Item = ExecInput> + Send + 'static,
) -> Output {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let setup = ExecSetup { task_id: started.id.clone(), command, tty };
    let mut events = fixture.driver.exec_task_streaming(setup, input).await.unwrap();
    let mut output = Output { stdout: Vec::new(), stderr: Vec::new(), code: -1 };
    while let Some(event) = timeout(*DEADLINE, events.next()).await.unwrap() {
        match event.unwrap() {
            ExecEvent::Stdout(bytes) => output.stdout.extend(bytes),
            ExecEvent::Stderr(bytes) => output.stderr.extend(bytes),
            ExecEvent::StdoutClosed | ExecEvent::StderrClosed => {}
            ExecEvent::Exited(result) => output.code = result.exit_code,
        }
    }
    output
}

async fn sleeper() -> (Fixture, Started) {
    let fixture = Fixture::start().await;
    let task = fixture.task("sleeper", "exec sleep 1000");
    let started = fixture.run(&task).await;
    (fixture, started)
}

/// A shell that starts a child, and an orphan, and waits. All that sleep have one number of seconds.
fn family(seconds: u32) -> [String; 3] {
    let script = format!("sleep {seconds} & (sleep {seconds} & exit 0); setsid sleep {seconds} & sleep {seconds}");
    ["/bin/sh".to_owned(), "-c".to_owned(), script]
}

/// How many of a family sleep in the container.
fn sleepers(started: &Started, seconds: u32) -> usize {
    let container = started.handle.config.name.clone() + "-" + started.handle.config.alloc_id.as_str();
    let sleep = format!("sleep {seconds}");
    let processes = docker(&["top", &container, "-eo", "pid,args"]);
    let commands = processes.lines().filter_map(|line| line.trim().split_once(' '));
    commands.filter(|(_, command)| command.trim() == sleep).count()
}

/// Starts a family; its events, once all of it sleeps.
async fn started_family(
    fixture: &Fixture,
    started: &Started,
    seconds: u32,
    tty: bool,
    input: impl Stream<Item = ExecInput> + Send + 'static,
) -> BoxStream<Result<ExecEvent, nomad_plugin::client::ClientError>> {
    let setup = ExecSetup { task_id: started.id.clone(), command: family(seconds).to_vec(), tty };
    let events = fixture.driver.exec_task_streaming(setup, input).await.unwrap();
    until("the whole family", || sleepers(started, seconds) == 4).await;
    events
}

#[tokio::test]
async fn a_command_whose_caller_leaves_is_ended_with_all_that_it_started() {
    let (fixture, started) = sleeper().await;
    let other = started_family(&fixture, &started, 2001, false, stream::empty()).await;

    for tty in [false, true] {
        let events = started_family(&fixture, &started, 2002, tty, stream::empty()).await;
        drop(events);
        until("the family's end", || sleepers(&started, 2002) == 0).await;
    }

    assert_eq!((sleepers(&started, 2001), sleepers(&started, 1000)), (4, 1), "another command, and the task");
    drop(other);
    fixture.end().await;
}

#[tokio::test]
async fn a_command_whose_clients_heartbeats_stop_is_ended_with_all_that_it_started() {
    let (fixture, started) = sleeper().await;
    let began = Instant::now();
    // As an agent's client does it.
    let beats = IntervalStream::new(interval(Duration::from_secs(10))).map(|_| ExecInput::Heartbeat);
    let beating = started_family(&fixture, &started, 2003, false, beats).await;
    let beatless = started_family(&fixture, &started, 2004, false, stream::empty()).await;

    let silent = started_family(&fixture, &started, 2005, true, stream::iter([ExecInput::Heartbeat])).await;
    let mut events_of_silent: Vec<_> = timeout(*DEADLINE, silent.collect()).await.unwrap();
    let after = began.elapsed();
    until("the family's end", || sleepers(&started, 2005) == 0).await;

    let error = events_of_silent.pop().unwrap().unwrap_err().to_string();
    assert_eq!(error, "nothing came from the command's client for 30 s: it was killed");
    assert!(after > Duration::from_secs(30), "{after:?}");
    assert_eq!((sleepers(&started, 2003), sleepers(&started, 2004)), (4, 4), "after {:?}", began.elapsed());
    drop((beating, beatless));
    fixture.end().await;
}

#[tokio::test]
async fn of_a_hundred_quick_commands_none_is_wrong_and_none_is_mute() {
    let (fixture, started) = sleeper().await;

    for number in 0..100 {
        let script = format!("echo out {number}; echo err {number} >&2; exit 7");
        let output = exec(&fixture, &started, &["/bin/sh", "-c", &script], false, stream::empty()).await;
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("out {number}\n"));
        assert_eq!(String::from_utf8_lossy(&output.stderr), format!("err {number}\n"));
        assert_eq!(output.code, 7);
    }
    fixture.end().await;
}

#[tokio::test]
async fn twenty_megabytes_come_back_whole_ten_times_of_ten() {
    let (fixture, started) = sleeper().await;
    let size = 20 << 20;
    let script = format!("head -c {size} /dev/urandom > /tmp/big; md5sum < /tmp/big");
    let made = exec(&fixture, &started, &["/bin/sh", "-c", &script], false, stream::empty()).await;

    for _ in 0..10 {
        let output = exec(&fixture, &started, &["cat", "/tmp/big"], false, stream::empty()).await;
        assert_eq!((output.stdout.len(), output.code), (size, 0));
        // The container itself judges the bytes: they are fed back to it.
        let back = stream::iter([ExecInput::Stdin(output.stdout.into()), ExecInput::StdinClosed]);
        let sum = exec(&fixture, &started, &["md5sum"], false, back).await;
        assert_eq!(sum.stdout, made.stdout);
    }
    fixture.end().await;
}

#[tokio::test]
async fn input_reaches_the_command_to_its_end() {
    let (fixture, started) = sleeper().await;

    for _ in 0..20 {
        let pieces = (0..16).map(|_| ExecInput::Stdin(vec![b'x'; 65_536].into()));
        let input = stream::iter(pieces.chain([ExecInput::StdinClosed]));
        let output = exec(&fixture, &started, &["wc", "-c"], false, input).await;
        assert_eq!((String::from_utf8_lossy(&output.stdout).trim(), output.code), ("1048576", 0));
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_terminal_has_the_size_that_the_caller_gives_it() {
    let (fixture, started) = sleeper().await;
    let script = "until [ \"$(stty size 2>/dev/null)\" = \"33 77\" ]; do sleep 0.05; done; stty size; exit 4";
    let resize = ExecInput::Resize(TerminalSize { height: 33, width: 77 });
    let input = stream::iter([resize]).chain(stream::pending());

    let output = exec(&fixture, &started, &["/bin/sh", "-c", script], true, input).await;

    assert_eq!((String::from_utf8_lossy(&output.stdout).as_ref(), output.code), ("33 77\r\n", 4));
    fixture.end().await;
}

#[tokio::test]
async fn a_terminals_bytes_come_as_they_are() {
    let (fixture, started) = sleeper().await;
    let script = "stty raw; printf '\\001\\000\\002abc\\000\\000\\001\\000'; exit 0";

    let output = exec(&fixture, &started, &["/bin/sh", "-c", script], true, stream::pending()).await;

    assert_eq!(output.stdout, b"\x01\x00\x02abc\x00\x00\x01\x00");
    fixture.end().await;
}

#[tokio::test]
async fn a_terminal_whose_input_ends_delivers_all_its_output() {
    let (fixture, started) = sleeper().await;
    let closed = stream::iter([ExecInput::StdinClosed]);
    let half_a_line = stream::iter([ExecInput::Stdin("one\ntwo".into()), ExecInput::StdinClosed]);

    let silent = exec(&fixture, &started, &["/bin/sh", "-c", "sleep 0.2; echo out; exit 7"], true, closed).await;
    let fed = exec(&fixture, &started, &["/bin/sh", "-c", "stty -echo; cat"], true, half_a_line).await;

    assert_eq!((String::from_utf8_lossy(&silent.stdout).trim_end(), silent.code), ("out", 7));
    let fed_text = String::from_utf8_lossy(&fed.stdout);
    assert!(fed_text.ends_with("one\r\ntwo") && fed.code == 0, "{fed_text}");
    fixture.end().await;
}

#[tokio::test]
async fn a_command_without_streams_has_its_code_and_its_time_limit() {
    let (fixture, started) = sleeper().await;
    let run = |command: &[&str], limit| {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        fixture.driver.exec_task(started.id.clone(), command, limit)
    };

    let output = run(&["/bin/sh", "-c", "echo out; echo err >&2; exit 9"], Duration::ZERO).await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(output.result.exit_code, 9);

    let late = run(&["/bin/sh", "-c", "sleep 1000 & sleep 1000"], Duration::from_millis(300)).await;
    assert_eq!(late.unwrap_err().to_string(), "the command did not end within 300ms and was killed");
    let left = run(&["/bin/sh", "-c", "ps | grep -c '[s]leep 1000' || true"], Duration::ZERO).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout).trim(), "1", "only the task itself sleeps");

    let long = run(&["/bin/sh", "-c", "head -c 3000000 /dev/zero; echo end"], Duration::ZERO).await.unwrap();
    assert!(long.stdout.len() == 1 << 20 && long.stdout.ends_with(b"\0end\n"), "{} bytes", long.stdout.len());

    let empty = run(&[], Duration::ZERO).await.unwrap_err().to_string();
    assert_eq!(empty, "cmd is required, but was empty");
    fixture.end().await;
}

#[tokio::test]
async fn a_missing_command_ends_with_dockers_code() {
    let fixture = Fixture::start().await;
    let task = fixture.task("sleeper", "exec sleep 1000");
    let started = fixture.run(&task).await;
    // 126 before Engine 28, 127 since.
    let dockers = Command::new("docker").args(["exec", &task.container(), "/no/such"]).output().unwrap().status.code();

    let setup = ExecSetup { task_id: started.id.clone(), command: vec!["/no/such".into()], tty: false };
    let events = fixture.driver.exec_task_streaming(setup, stream::empty()).await.unwrap();
    let events: Vec<_> = events.collect().await;

    let code = events.iter().find_map(|event| match event {
        Ok(ExecEvent::Exited(result)) => Some(result.exit_code),
        _ => None,
    });
    assert!(matches!(dockers, Some(126 | 127)), "{dockers:?}");
    assert_eq!(code, dockers, "{events:?}");
    fixture.end().await;
}
