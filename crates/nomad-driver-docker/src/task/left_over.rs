//! Ends what an earlier driver process left of a task that this one does not know: it died while starting the task, or nobody
//! handed the task over.

use nomad_plugin::{
    driver::{DriverError, TaskConfig},
    id::TaskId,
};

use super::Tasks;
use crate::{
    labels::{ALLOC_ID, NODE_ID},
    names::container_name,
    preparation::stage,
    session::Session,
};
use engine::{EngineError, ListedContainer};

impl Tasks {
    /// Kills the task's container, and removes it if the operator enables that. It is no error if there is none. The container
    /// is identified by its name and by the labels of its allocation and of this node. The container of a task of this process
    /// is not touched.
    pub(crate) async fn end_left_over(&self, session: &Session, id: &TaskId) -> Result<(), DriverError> {
        let Some(task) = named(id).filter(|task| !self.store.has_runs_of(task)) else { return Ok(()) };
        let (settings, engine) = (self.settings.now(), &session.engine);
        let failed = |error: EngineError| DriverError::new(format!("failed to end what is left of the task: {error}"));
        // An earlier process recorded the node before it created anything.
        self.process.node.claim(settings.state_dir()).await;
        let node = self.process.node.known().id;
        let found = engine.containers_with_label(ALLOC_ID).await.map_err(failed)?;
        for container in found.iter().filter(|found| is_of(found, &task, &node)) {
            if self.store.has_runs_of(&task) {
                continue;
            }
            let name = &container.id;
            tracing::info!(container = name, task = id.as_str(), "removing what an earlier process left of a task");
            if settings.plugin.gc.container {
                engine.remove_container(name).await.map_err(failed)?;
            } else if container.is_running() {
                engine.kill_container(name, "SIGKILL").await.map_err(failed)?;
            }
        }
        stage::sweep(engine, &settings).await;
        Ok(())
    }
}

/// The task's allocation and name, parsed from the id: `ALLOC/TASK/RUN`.
fn named(id: &TaskId) -> Option<TaskConfig> {
    let (alloc, rest) = id.as_str().split_once('/')?;
    let (name, _) = rest.rsplit_once('/')?;
    (!alloc.is_empty() && !name.is_empty()).then(|| TaskConfig {
        alloc_id: alloc.into(),
        name: name.to_owned(),
        ..TaskConfig::default()
    })
}

fn is_of(found: &ListedContainer, task: &TaskConfig, node: &str) -> bool {
    let is_ours = !node.is_empty() && found.label(NODE_ID) == node;
    found.label(ALLOC_ID) == task.alloc_id.as_str() && found.names.contains(&container_name(task)) && is_ours
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, alloc: &str, node: &str) -> ListedContainer {
        let labels = [(ALLOC_ID, alloc), (NODE_ID, node)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        ListedContainer {
            names: vec![name.to_owned()],
            labels: labels.into_iter().collect(),
            ..ListedContainer::default()
        }
    }

    #[test]
    fn a_container_is_a_tasks_by_its_allocation_its_name_and_its_node() {
        let task = named(&"a1/web/12345678".into()).unwrap();
        let of_unknown_node = is_of(&found("web-a1", "a1", ""), &task, "");
        let is_of = |name, alloc, node| is_of(&found(name, alloc, node), &task, "here");

        assert!(is_of("web-a1", "a1", "here") && !is_of("web-a1", "a1", "") && !of_unknown_node);
        assert!(!is_of("web-a1", "a2", "here"), "another allocation's");
        assert!(!is_of("other-a1", "a1", "here"), "another task's");
        assert!(!is_of("web-a1", "a1", "there"), "another node's");
    }

    #[test]
    fn an_id_that_is_no_agents_names_no_task() {
        for id in ["", "web", "a1/web", "/web/1", "a1//1"] {
            assert!(named(&id.into()).is_none(), "{id:?}");
        }
    }
}
