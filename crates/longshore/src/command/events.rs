//! `events`: what happened to a job's tasks.

use std::{collections::BTreeMap, time::Duration};

use super::target;
use crate::{Failure, data_dir::DataDir, report, state::Event, text};

const PERIOD: Duration = Duration::from_millis(200);

pub(super) async fn events(target: &str, follow: bool, data: &DataDir, json: bool) -> Result<(), Failure> {
    let mut printed: BTreeMap<(String, String), Event> = BTreeMap::new();
    loop {
        let job = target::job(target, data)?;
        let over = job.allocs.iter().all(|alloc| alloc.tasks.values().all(|task| task.phase.is_over()));
        let mut fresh = Vec::new();
        for found in target::tasks(&job, None)? {
            let key = (found.alloc.id.clone(), found.task.to_owned());
            let last = printed.get(&key).map(|event| event.at);
            let new = found.state.events.iter().filter(|event| last.is_none_or(|last| event.at > last));
            fresh.extend(new.map(|event| (key.clone(), event.clone())));
        }
        fresh.sort_by_key(|(_, event)| event.at);
        for (key, event) in fresh {
            let (alloc, task) = &key;
            if json {
                let mut value = super::status::of_event(&event);
                (value["alloc"], value["task"]) = (alloc.as_str().into(), task.as_str().into());
                report::json(&value);
            } else {
                let Event { at, kind, message } = &event;
                let message = text::harmless(message);
                report::line(&format!("{} {} {task}: {kind}: {message}", report::clock(*at), report::short(alloc)));
            }
            printed.insert(key, event);
        }
        if !follow || over {
            return Ok(());
        }
        tokio::time::sleep(PERIOD).await;
    }
}
