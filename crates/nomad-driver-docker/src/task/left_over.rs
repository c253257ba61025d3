//! Ends what an earlier driver process left of a task that this one does not know: it died while starting the task, or nobody
//! handed the task over.

use nomad_plugin::{driver::TaskConfig, id::TaskId};

use super::{
    Tasks,
    destroy::{PATIENCE, kill},
};
use crate::{
    labels::{ALLOC_ID, NODE_ID},
    names::container_name,
    preparation::stage,
    session::Session,
};
use engine::{Engine, EngineError, ListedContainer, insist};

impl Tasks {
    /// Kills the task's container, and removes it if the operator enables that. It is no error if there is none. The container
    /// is identified by its name and by the labels of its allocation and of this node. The container of a task of this process
    /// is not touched.
    pub(super) async fn end_left_over(&self, session: &Session, id: &TaskId) {
        let Some(task) = named(id).filter(|task| !self.store.has_runs_of(task)) else { return };
        // An earlier process recorded the node before it created anything.
        self.process.node.claim(self.settings.now().state_dir()).await;
        let (tasks, engine) = (self.clone(), session.engine.clone());
        let left_over = async move {
            let end = || tasks.end_containers_of(&engine, &task);
            insist("end what an earlier process left of a task", &container_name(&task), end).await;
            stage::sweep(&engine, &tasks.settings.now()).await;
        };
        self.process.cleanup.run(PATIENCE, left_over).await;
    }

    async fn end_containers_of(&self, engine: &Engine, task: &TaskConfig) -> Result<(), EngineError> {
        let node = self.process.node.known().id;
        let found = engine.containers_with_label(ALLOC_ID).await?;
        for container in found.iter().filter(|found| is_of(found, task, &node)) {
            // Its host may have started it again meanwhile.
            if self.store.has_runs_of(task) {
                return Ok(());
            }
            let id = &container.id;
            tracing::info!(container = id, task = task.name, "removing what an earlier process left of a task");
            if self.settings.now().plugin.gc.container {
                engine.remove_container(id).await?;
            } else if container.is_running() {
                kill(engine, id, "SIGKILL").await?;
            }
        }
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
