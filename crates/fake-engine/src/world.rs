//! The state of one engine, and how it changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use serde_json::{Value, json};

use crate::{
    answer::ApiError,
    events::{Event, EventLog},
    model::{Container, Exec, Image, NOBODY, Network, OnSignal, Prepared, State, hex, tagged},
};

/// How a process exited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    pub(crate) code: i64,
    pub(crate) oom_killed: bool,
}

/// Whether events are emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emit {
    Yes,
    No,
}

/// The whole state.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) containers: Vec<Container>,
    pub(crate) images: Vec<Image>,
    /// The images that can be pulled.
    pub(crate) registry: Vec<Image>,
    pub(crate) networks: Vec<Network>,
    pub(crate) execs: BTreeMap<String, Prepared>,
    /// How the next commands run.
    pub(crate) exec: Exec,
    pub(crate) on_signal: OnSignal,
    pub(crate) log: EventLog,
    pub(crate) made: u64,
    pub(crate) root: String,
}

impl World {
    pub(crate) fn new(root: String) -> Self {
        let bridge = Network { id: hex(1 << 40), name: "bridge".to_owned() };
        let host = Network { id: hex(2 << 40), name: "host".to_owned() };
        Self {
            containers: Vec::new(),
            images: Vec::new(),
            registry: Vec::new(),
            networks: vec![bridge, host],
            execs: BTreeMap::new(),
            exec: Exec::default(),
            on_signal: OnSignal::Exit(143),
            log: EventLog::default(),
            made: 0,
            root,
        }
    }

    /// A new id.
    pub(crate) fn id(&mut self) -> String {
        self.made += 1;
        hex(self.made)
    }

    fn position(&self, name: &str) -> Option<usize> {
        let name = name.trim_start_matches('/');
        let is_it = |container: &Container| container.id == name || container.name == name;
        let exact = self.containers.iter().position(is_it);
        exact.or_else(|| {
            let begins = |container: &Container| !name.is_empty() && container.id.starts_with(name);
            self.containers.iter().position(begins)
        })
    }

    /// A container by id, name, or id prefix.
    pub(crate) fn container(&self, name: &str) -> Result<&Container, ApiError> {
        let at = self.position(name).ok_or_else(|| ApiError::new(404, format!("No such container: {name}")))?;
        Ok(&self.containers[at])
    }

    pub(crate) fn container_mut(&mut self, name: &str) -> Result<&mut Container, ApiError> {
        let at = self.position(name).ok_or_else(|| ApiError::new(404, format!("No such container: {name}")))?;
        Ok(&mut self.containers[at])
    }

    /// An image by id or name.
    pub(crate) fn image(&self, name: &str) -> Option<&Image> {
        let tagged = tagged(name);
        self.images.iter().find(|image| {
            image.id == name
                || image.tags.contains(&tagged)
                || image.digests.iter().any(|digest| digest == name)
                || (name.len() >= 12 && image.id.trim_start_matches("sha256:").starts_with(name))
        })
    }

    /// Creates a container.
    pub(crate) fn create(&mut self, name: &str, request: Value) -> Result<String, ApiError> {
        let wanted = request["Image"].as_str().unwrap_or_default().to_owned();
        let image = self.image(&wanted).cloned();
        let image = image.ok_or_else(|| ApiError::new(404, format!("No such image: {wanted}")))?;
        if let Some(other) = self.containers.iter().find(|other| other.name == name) {
            let message = format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{}\". You have to remove (or \
                 rename) that container to be able to reuse that name.",
                other.id
            );
            return Err(ApiError::new(409, message));
        }
        let id = self.id();
        let own = request["Labels"].as_object().into_iter().flatten();
        let own = own.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        let container = Container {
            name: if name.is_empty() { format!("made_{}", self.made) } else { name.to_owned() },
            image_id: image.id,
            labels: image.labels.into_iter().chain(own).collect(),
            state: State::Created,
            created_at: SystemTime::now(),
            started_at: None,
            finished_at: None,
            pid: 0,
            networks: networks_of(&request),
            on_signal: self.on_signal,
            output: Vec::new(),
            id: id.clone(),
            request,
        };
        self.log.push(Event::of(&container, "create"));
        self.containers.push(container);
        Ok(id)
    }

    /// Starts a container; returns whether it was not running before.
    pub(crate) fn start(&mut self, name: &str) -> Result<bool, ApiError> {
        let pid = NOBODY + i64::try_from(self.made).unwrap_or_default();
        let container = self.container_mut(name)?;
        match container.state {
            State::Running | State::Restarting => return Ok(false),
            State::Dead => {
                return Err(ApiError::new(409, "container is marked for removal and cannot be started".to_owned()));
            }
            State::Created | State::Exited { .. } => {}
        }
        container.state = State::Running;
        container.started_at = Some(SystemTime::now());
        container.pid = pid;
        let started = Event::of(container, "start");
        self.log.push(started);
        Ok(true)
    }

    /// Ends a container's process.
    pub(crate) fn exit(&mut self, name: &str, end: Exit, emit: Emit) -> Result<(), ApiError> {
        let container = self.container_mut(name)?;
        let Exit { code, oom_killed } = end;
        container.state = State::Exited { code, oom_killed };
        container.finished_at = Some(SystemTime::now());
        container.pid = 0;
        let container = container.clone();
        if emit == Emit::Yes {
            if oom_killed {
                self.log.push(Event::of(&container, "oom"));
            }
            self.log.push(Event::of(&container, "die").with("exitCode", &code.to_string()));
            for network in container.networks.keys() {
                self.log.push(Event::of_network(&self.network_id(network), network, "disconnect", &container.id));
            }
        }
        Ok(())
    }

    /// Sends a signal to a container's process.
    pub(crate) fn kill(&mut self, name: &str, signal: &str) -> Result<(), ApiError> {
        let container = self.container(name)?.clone();
        if !container.is_running() {
            let message = format!("Cannot kill container: {name}: Container {} is not running", container.id);
            return Err(ApiError::new(409, message));
        }
        let signal = signal.trim_start_matches("SIG");
        self.log.push(Event::of(&container, "kill").with("signal", signal));
        match (signal, container.on_signal) {
            ("" | "KILL" | "9", _) => self.exit(&container.id, Exit { code: 137, oom_killed: false }, Emit::Yes),
            ("TERM" | "INT" | "QUIT" | "15" | "2" | "3", OnSignal::Exit(code)) => {
                self.exit(&container.id, Exit { code, oom_killed: false }, Emit::Yes)
            }
            _ => Ok(()),
        }
    }

    /// Removes a container.
    pub(crate) fn remove(&mut self, name: &str, force: bool) -> Result<(), ApiError> {
        let container = self.container(name)?.clone();
        if matches!(container.state, State::Running | State::Restarting) {
            if !force {
                let message = format!(
                    "You cannot remove a running container {}. Stop the container before attempting removal or force remove",
                    container.id
                );
                return Err(ApiError::new(409, message));
            }
            self.log.push(Event::of(&container, "kill").with("signal", "9"));
            self.exit(&container.id, Exit { code: 137, oom_killed: false }, Emit::Yes)?;
        }
        self.containers.retain(|other| other.id != container.id);
        self.log.push(Event::of(&container, "destroy"));
        Ok(())
    }

    pub(crate) fn network_id(&self, name: &str) -> String {
        self.networks.iter().find(|network| network.name == name).map_or_else(String::new, |found| found.id.clone())
    }

    /// Disconnects a container.
    pub(crate) fn disconnect(&mut self, container: &str, network: &str) -> Result<(), ApiError> {
        let network_id = self.network_id(network);
        let container = self.container_mut(container)?;
        container.networks.remove(network);
        let event = Event::of_network(&network_id, network, "disconnect", &container.id);
        self.log.push(event);
        Ok(())
    }

    /// Gives an image a name, taking it from any other image.
    pub(crate) fn name_image(&mut self, image: &Image, name: &str) {
        for other in &mut self.images {
            other.tags.retain(|tag| tag != name);
        }
        match self.images.iter_mut().find(|known| known.id == image.id) {
            Some(known) => known.tags.push(name.to_owned()),
            None => self.images.push(Image { tags: vec![name.to_owned()], ..image.clone() }),
        }
        self.log.changed();
    }

    /// Images that containers need.
    pub(crate) fn images_in_use(&self) -> BTreeSet<&str> {
        self.containers.iter().map(|container| container.image_id.as_str()).collect()
    }
}

/// The networks that a create request asks for.
fn networks_of(request: &Value) -> BTreeMap<String, Value> {
    let mode = request["HostConfig"]["NetworkMode"].as_str().unwrap_or("bridge");
    let named = request["NetworkingConfig"]["EndpointsConfig"].as_object();
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        return named.iter().map(|(name, endpoint)| (name.clone(), endpoint.clone())).collect();
    }
    match mode {
        "" | "default" | "bridge" => [("bridge".to_owned(), json!({ "IPAddress": "172.17.0.2" }))].into(),
        mode if mode.starts_with("container:") => BTreeMap::new(),
        mode => [(mode.to_owned(), json!({}))].into(),
    }
}
