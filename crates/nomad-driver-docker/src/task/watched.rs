//! The watching of a task: from what is known of its container to the report of its exit.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use futures_util::FutureExt;
use nomad_plugin::driver::{NetworkOverride, TaskConfig};
use tokio::sync::watch;

use super::{
    Status, Task, Tasks,
    found::{Attached, Details, Found, Known},
    watch_exit,
};
use crate::{events::EventSubject, process::Process, session::Session};
use background::Background;
use engine::WatchHandle;

impl Task {
    /// A task whose container was started, watched from now on.
    pub(super) fn watched(
        tasks: &Tasks,
        session: &Session,
        config: TaskConfig,
        container: String,
        network: NetworkOverride,
        handle: WatchHandle,
        known: Known,
    ) -> Arc<Self> {
        let (writer, status) = watch::channel(Status::Running);
        let (ending, details) = (Arc::<AtomicBool>::default(), Arc::<OnceLock<Details>>::default());
        let waker = handle.waker();
        let first = match known {
            Known::Found(found) => Ok(learn(&details, *found)),
            Known::Later(later) => Err(later),
        };
        let Process { events, cpusets, .. } = &tasks.process;
        if let Some(limitation) = cpusets.limitation(&config) {
            tracing::warn!("{limitation}");
            events.emit(&EventSubject::from(&config), limitation, BTreeMap::new());
        }
        let watching = {
            let (engine, events, cpusets) = (session.engine.clone(), events.clone(), cpusets.clone());
            let (id, config) = (container.clone(), config.clone());
            let (ending, details) = (ending.clone(), details.clone());
            async move {
                let Attached { networks, membership, logs, ended } = match first {
                    Ok(attached) => attached,
                    Err(later) => learn(&details, later.found(&id, &handle).await),
                };
                let pid = details.get().and_then(|details| details.pid).filter(|_| engine.is_local());
                let follower = pid.and_then(|process| cpusets.follow(&config, &id, process));
                let subject = EventSubject::from(&config);
                let report = |message: &str| events.emit(&subject, message, BTreeMap::new());
                let exit = match ended {
                    Some(exit) => exit,
                    None => watch_exit::watch(&engine, &id, &handle, &networks, &ending, report).await,
                };
                // Nothing more is reported about it.
                drop((handle, follower, membership));
                writer.send_replace(Status::Ended(exit.clone()));
                if let Some(logs) = logs {
                    // The exit is reported whatever happens to the log.
                    if let Ok(summary) = AssertUnwindSafe(logs.finish()).catch_unwind().await {
                        tracing::debug!(container = id, ?summary, "collected the whole log");
                    } else {
                        tracing::error!(container = id, "the end of the log panicked; the rest of it is lost");
                    }
                }
                writer.send_replace(Status::Exited(exit));
            }
        };
        Arc::new(Self {
            config,
            container,
            network,
            details,
            machine: tasks.settings.now().machine,
            engine: session.engine.clone(),
            status,
            ending,
            waker,
            _watcher: Background::spawn(watching),
        })
    }
}

/// Makes what the engine has said known to all that ask for it.
fn learn(details: &OnceLock<Details>, found: Found) -> Attached {
    let _only_once = details.set(found.details);
    found.attached
}
