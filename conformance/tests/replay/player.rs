//! Plays the agent's part of a recording against the driver under test.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use conformance::{DEADLINE, messages};
use go_plugin::client::Plugin;
use prost_reflect::{DynamicMessage, ReflectMessage};
use serde_json::{Value, json};

use crate::{
    answers::{Answers, Exchange, distinct},
    call::{Answered, Call},
    process::Process,
    recording::{Event, Recording, Request, Stream, What},
    stage::{Pipes, Stage},
    terminal,
};

/// What an agent gives `Driver.Shutdown`, and no other call.
const SHUTDOWN: Duration = Duration::from_secs(2);

struct Player<'a> {
    recording: &'a Recording,
    stage: &'a mut Stage,
    process: Option<Process>,
    plugin: Option<Plugin>,
    calls: BTreeMap<Stream, Call>,
    answers: Answers,
    /// The drivers' states of the tasks, by id.
    states: BTreeMap<String, Bytes>,
    /// The networks of allocations, by id: `path` and `labels`.
    networks: BTreeMap<String, DynamicMessage>,
    /// What is to be done to the engine once the agent's end is through.
    engine_restarts: bool,
    log: Arc<Mutex<String>>,
}

/// Plays a recording. What its driver logged is in `log`.
pub(crate) async fn play(recording: &Recording, stage: &mut Stage, log: Arc<Mutex<String>>) -> Answers {
    let mut player = Player {
        recording,
        stage,
        process: None,
        plugin: None,
        calls: BTreeMap::new(),
        answers: Answers::default(),
        states: BTreeMap::new(),
        networks: BTreeMap::new(),
        engine_restarts: false,
        log,
    };
    for event in &recording.events {
        player.step(event).await;
    }
    if let Some(process) = player.process.take() {
        process.kill().await;
    }
    for (stream, exchange) in &mut player.answers.calls {
        let Answered { responses, end } = player.calls[stream].answered();
        let responses = responses.iter().map(|bytes| messages::answer(&exchange.call, bytes)).collect();
        exchange.ours = (responses, end);
    }
    player.answers
}

impl Player<'_> {
    async fn step(&mut self, event: &Event) {
        let (stream, call) = (event.stream, &event.call);
        match &event.what {
            What::Launch(_) => self.launch().await,
            What::Handshake(line) => {
                let ours = self.process.as_ref().unwrap().handshake.clone();
                self.answers.processes.push(("handshake".into(), line.clone(), ours));
            }
            What::Exit(how) => self.exit(stream.launch, how).await,
            What::Operator(text) => self.operate(text).await,
            What::Open => self.open(stream, call, None).await,
            What::Request(request) => self.send(stream, call, request).await,
            What::Response(message) => {
                let exchange = self.answers.calls.get_mut(&stream).unwrap();
                exchange.recorded.0.push(message.clone());
                self.answered(stream).await;
            }
            What::End(end) => {
                self.answers.calls.get_mut(&stream).unwrap().recorded.1 = Some(end.clone());
                self.wait(stream, |answered| answered.end.is_some()).await;
            }
            What::Cancelled => self.calls.get_mut(&stream).unwrap().cancel(),
        }
    }

    async fn launch(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
        if std::mem::take(&mut self.engine_restarts) {
            for container in self.stage.containers() {
                self.stage.docker(&["kill", &container]);
            }
            self.stage.stop_engine();
            self.stage.begin_engine();
        }
        let process = Process::launch(&self.stage.root, self.log.clone()).await;
        self.plugin = Some(Plugin::reattach(process.reattach.clone()).await.unwrap());
        self.process = Some(process);
    }

    async fn exit(&mut self, launch: u32, how: &str) {
        let Some(process) = self.process.take() else { return };
        if self.recording.ends_in_order(launch) {
            self.answers.processes.push(("exit".into(), how.to_owned(), process.end().await));
        } else {
            process.kill().await;
        }
    }

    async fn open(&mut self, stream: Stream, call: &str, deadline: Option<Duration>) {
        if self.plugin.is_none() {
            let reattach = self.process.as_ref().expect("a process").reattach.clone();
            self.plugin = Some(Plugin::reattach(reattach).await.unwrap());
        }
        let channel = self.plugin.as_ref().unwrap().channel();
        self.calls.insert(stream, Call::open(&channel, call, deadline));
        let exchange = Exchange {
            call: call.to_owned(),
            request: Value::Null,
            is_stopped: false,
            recorded: Default::default(),
            ours: Default::default(),
        };
        self.answers.calls.insert(stream, exchange);
    }

    async fn send(&mut self, stream: Stream, call: &str, request: &Request) {
        if call == "Driver.StopTask" {
            self.execs_run().await;
            self.is_ready(&self.stage.substitution.ours_of(&request.message["task_id"])).await;
        }
        let bytes = self.bytes(call, request);
        if !self.calls.contains_key(&stream) {
            self.open(stream, call, request.deadline.then_some(SHUTDOWN)).await;
        }
        let exchange = self.answers.calls.get_mut(&stream).unwrap();
        if exchange.request.is_null() {
            exchange.request = messages::view(&messages::decode(messages::method(call).input(), &bytes));
            let id = &request.message["task"]["id"];
            let mut stops = self.recording.requests("Driver.StopTask");
            exchange.is_stopped = stops.any(|stop| stop.message["task_id"] == *id);
        }
        let call_ = self.calls.get_mut(&stream).unwrap();
        call_.send(bytes);
        if !messages::method(call).is_client_streaming() {
            call_.half_close();
        }
    }

    /// The bytes to send: the recorded ones, with names of the test's own, and with what this driver itself made before.
    fn bytes(&self, call: &str, request: &Request) -> Vec<u8> {
        let bytes = self.stage.substitution.ours(&request.bytes);
        let mut message = messages::decode(messages::method(call).input(), &bytes);
        let changed = match call {
            "BasePlugin.SetConfig" => {
                let directory = self.stage.root.join("state");
                let config = message.get_field_by_name_mut("msgpack_config").unwrap();
                let with = with_option(config.as_bytes().unwrap(), "state_dir", &directory.display().to_string());
                *config = prost_reflect::Value::Bytes(with);
                true
            }
            "Driver.StartTask" => {
                let pipes = if self.recording.name == "16c" { Pipes::Missing } else { Pipes::Made };
                self.stage.prepare(&messages::view(&message)["task"], pipes);
                self.join(part(&mut message, "task"), "network_isolation_spec")
            }
            "Driver.RecoverTask" => {
                let handle = part(&mut message, "handle");
                let config = part(handle, "config");
                let id = text(config, "id");
                self.join(config, "network_isolation_spec");
                let state = self.states.get(&id).unwrap_or_else(|| panic!("{id} was not started"));
                handle.set_field_by_name("driver_state", prost_reflect::Value::Bytes(state.clone()));
                true
            }
            "Driver.DestroyNetwork" => self.join(&mut message, "isolation_spec"),
            _ => false,
        };
        if changed { prost::Message::encode_to_vec(&message) } else { bytes }
    }

    /// Puts the path and the labels of an allocation's network, as the driver made it, in the place of the recorded ones.
    fn join(&self, message: &mut DynamicMessage, field: &str) -> bool {
        let alloc = text(message, "alloc_id");
        if !message.has_field_by_name(field) {
            return false;
        }
        let network = part(message, field);
        let made = self.networks.get(&alloc).unwrap_or_else(|| panic!("no network of {alloc}"));
        for field in ["path", "labels"] {
            network.set_field_by_name(field, made.get_field_by_name(field).unwrap().into_owned());
        }
        true
    }

    /// Waits for what was recorded of a call so far.
    async fn answered(&mut self, stream: Stream) {
        let exchange = &self.answers.calls[&stream];
        let call = exchange.call.clone();
        match call.as_str() {
            "Driver.Fingerprint" => {
                let count = distinct(&exchange.recorded.0).len();
                self.wait(stream, |answered| distinct(&answered.responses).len() >= count).await;
            }
            "Driver.TaskStats" => self.wait(stream, |answered| !answered.responses.is_empty()).await,
            "Driver.ExecTaskStreaming" => {
                let recorded = terminal::output(&exchange.recorded.0);
                let enough = |answered: &Answered| {
                    let ours: Vec<_> = answered.responses.iter().map(|bytes| messages::answer(&call, bytes)).collect();
                    terminal::has(&terminal::output(&ours), &recorded)
                };
                self.wait(stream, enough).await;
            }
            // There is no request that waits for an event.
            "Driver.TaskEvents" => {}
            _ => {
                if let Some(image) = exchange.request["task"]["msgpack_driver_config"]["image"].as_str() {
                    self.stage.release(&self.stage.substitution.recorded(image));
                }
                self.wait(stream, |answered| answered.end.is_some()).await;
                self.remember(stream);
            }
        }
    }

    async fn wait(&self, stream: Stream, condition: impl Fn(&Answered) -> bool) {
        let call = &self.calls[&stream];
        if tokio::time::timeout(*DEADLINE, call.until(condition)).await.is_err() {
            let exchange = &self.answers.calls[&stream];
            let ours: Vec<_> =
                call.answered().responses.iter().map(|bytes| messages::answer(&exchange.call, bytes)).collect();
            panic!("{} {stream:?} is not answered. Recorded: {:?}. Ours: {ours:?}", exchange.call, exchange.recorded);
        }
    }

    /// Waits until the commands run that the agent has started in tasks: a stop comes when they do.
    async fn execs_run(&self) {
        for (stream, call) in &self.calls {
            let exchange = &self.answers.calls[stream];
            let answered = call.answered();
            let is_quiet = answered.end.is_none() && answered.responses.is_empty() && !call.is_cancelled();
            if exchange.call != "Driver.ExecTaskStreaming" || !is_quiet {
                continue;
            }
            let setup = &exchange.request["setup"];
            let container = container(setup["task_id"].as_str().unwrap());
            let last = setup["command"].as_array().unwrap().last().unwrap().as_str().unwrap();
            let runs =
                || self.stage.docker(&["top", &container, "-o", "pid,args"]).lines().any(|line| line.ends_with(last));
            conformance::until("the command runs", runs).await;
        }
    }

    /// Waits until a task's shell has set its traps: a recorded stop comes when it has run for a while.
    async fn is_ready(&self, id: &str) {
        let is_start =
            |exchange: &&Exchange| exchange.call == "Driver.StartTask" && exchange.request["task"]["id"] == id;
        let Some(start) = self.answers.calls.values().find(is_start) else { return };
        let options = &start.request["task"]["msgpack_driver_config"];
        let traps = options["args"].to_string().contains("TERM") && options["init"] != true;
        let Some(process) = self.stage.process_of(&container(id)).filter(|_| traps) else { return };
        let handled = || {
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            let of = |name: &str| {
                status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix(name)?.trim(), 16).ok())
            };
            // Signals are counted from 1. What has ended handles none any more.
            [of("SigCgt:"), of("SigIgn:")].iter().flatten().any(|signals| signals >> 14 & 1 == 1) || status.is_empty()
        };
        conformance::until("the task's traps", handled).await;
    }

    /// Keeps what later messages must have of an answer.
    fn remember(&mut self, stream: Stream) {
        let exchange = &self.answers.calls[&stream];
        let Some(bytes) = self.calls[&stream].answered().responses.first().cloned() else { return };
        let mut answer = messages::decode(messages::method(&exchange.call).output(), &bytes);
        match exchange.call.as_str() {
            "Driver.StartTask" => {
                let handle = part(&mut answer, "handle");
                let state = handle.get_field_by_name("driver_state").unwrap().as_bytes().unwrap().clone();
                let id = exchange.request["task"]["id"].as_str().unwrap();
                self.states.insert(id.to_owned(), state);
            }
            "Driver.CreateNetwork" => {
                let alloc = exchange.request["alloc_id"].as_str().unwrap().to_owned();
                self.networks.insert(alloc, part(&mut answer, "isolation_spec").clone());
            }
            _ => {}
        }
    }

    /// Does what was done beside the agent and the plugin, where it matters.
    async fn operate(&mut self, text: &str) {
        if text.contains("while StartTask is in flight") {
            self.stage.held_back().await;
        }
        if text.contains("the plugin is killed") {
            self.process.take().expect("a process").kill().await;
            self.plugin = None;
            if text.contains("the task's container as well") {
                let container = self.container_of("num");
                self.stage.docker(&["kill", &container]);
            }
        } else if text.contains("the agent is killed") {
            self.calls.values_mut().for_each(Call::cancel);
            self.plugin = None;
            if text.contains("a pipe without a reader") {
                self.process.as_mut().unwrap().close_stderr();
            }
        } else if text.contains("dockerd is stopped, and all containers with it") {
            self.engine_restarts = true;
        } else if text.contains("dockerd is stopped") || text == "there is no dockerd" {
            self.stage.stop_engine();
        } else if text == "dockerd starts" {
            self.stage.begin_engine();
        } else if text.contains("the container is removed behind") {
            let container = self.container_of("web");
            self.stage.docker(&["rm", "--force", &container]);
        } else if text.contains("the container of `removed` is removed") {
            let container = self.container_of("removed");
            self.stage.docker(&["rm", "--force", &container]);
            let container = self.container_of("ends");
            self.stage.docker(&["wait", &container]);
        } else if text.contains("change_mode script") {
            let task = self.recording.requests("Driver.StartTask").next().unwrap();
            let directory = self.stage.substitution.ours_of(&task.message["task"]["alloc_dir"]);
            fs::write(format!("{directory}/server/local/number"), "2\n").unwrap();
        }
    }

    /// The container of the task of a job that has one.
    fn container_of(&self, job: &str) -> String {
        let mut tasks = self.recording.requests("Driver.StartTask").map(|request| &request.message["task"]);
        let task = tasks.find(|task| task["job_id"] == json!(job)).unwrap();
        container(&self.stage.substitution.ours_of(&task["id"]))
    }
}

/// The container of a task, by the run's id.
fn container(id: &str) -> String {
    let parts: Vec<_> = id.split('/').collect();
    format!("{}-{}", parts[1], parts[0])
}

fn part<'a>(message: &'a mut DynamicMessage, field: &str) -> &'a mut DynamicMessage {
    message.get_field_by_name_mut(field).unwrap().as_message_mut().unwrap()
}

fn text(message: &DynamicMessage, field: &str) -> String {
    assert!(message.descriptor().get_field_by_name(field).is_some(), "{field}");
    message.get_field_by_name(field).unwrap().as_str().unwrap().to_owned()
}

/// A configuration with one option more at its end: what the recorded agent had no schema of.
fn with_option(config: &Bytes, name: &str, value: &str) -> Bytes {
    let [0xde, high, low, options @ ..] = &config[..] else { panic!("a map of 16 options or more") };
    let count = u16::from_be_bytes([*high, *low]) + 1;
    let mut with = vec![0xde];
    with.extend(count.to_be_bytes());
    with.extend(options);
    for text in [name, value] {
        with.extend([0xd9, u8::try_from(text.len()).unwrap()]);
        with.extend(text.as_bytes());
    }
    with.into()
}
