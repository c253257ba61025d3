//! Containers of others that have the name of a task's: none is adopted, none is removed.

use std::process::Command;

use conformance::{
    Fixture, LABEL, Task,
    docker::{docker, inspect},
    image, object, text,
};
use nomad_plugin::{driver::Recoverability, msgpack::Value};

const ALLOC_ID: &str = "com.hashicorp.nomad.alloc_id";
const NODE_ID: &str = "com.hashicorp.nomad.node_id";
const TASK_NAME: &str = "com.hashicorp.nomad.task_name";

/// Few attempts, for each waits longer than the one before.
async fn fixture() -> Fixture {
    Fixture::with(object(&[("container_exists_attempts", Value::Int(2))]), &[]).await
}

/// Makes a container with the name of the task's, and labels; its id.
fn namesake(fixture: &Fixture, task: &Task, how: &[&str], image: &str, labels: &[(&str, &str)]) -> String {
    let own = format!("--label={LABEL}={}", fixture.directory().display());
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("--label={name}={value}")).collect();
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    let name = task.container();
    docker(&[how, &["--name", &name, &own], &labels, &[image, "sleep", "1000"]].concat()).trim().to_owned()
}

const RUN: &[&str] = &["run", "--detach", "--network", "none"];
const CREATE: &[&str] = &["create", "--network", "none"];

/// An image of a test's own; dropping this removes it.
struct Other(String);

impl Other {
    fn make() -> Self {
        let name = format!("longshore-test/not-the-tasks-{}:1", std::process::id());
        let container = docker(&["create", &image()]);
        docker(&["commit", "--change", "LABEL other=1", container.trim(), &name]);
        docker(&["rm", container.trim()]);
        Self(name)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _absent = Command::new("docker").args(["rmi", "--force", &self.0]).output();
    }
}

#[tokio::test]
async fn a_container_of_the_tasks_name_without_one_sign_of_being_its_own_is_neither_adopted_nor_removed() {
    let fixture = fixture().await;
    let other = Other::make();
    let task = fixture.task("web", "exec sleep 1000");
    let (alloc, node) = (task.config.alloc_id.as_str(), task.config.node_id.as_str());
    let test = image();
    let right = test.as_str();

    for (what, image, labels) in [
        ("no label", right, vec![]),
        ("no node", right, vec![(ALLOC_ID, alloc)]),
        ("no allocation", right, vec![(NODE_ID, node)]),
        ("another allocation", right, vec![(ALLOC_ID, "another"), (NODE_ID, node)]),
        ("another node", right, vec![(ALLOC_ID, alloc), (NODE_ID, "another")]),
        ("another task", right, vec![(ALLOC_ID, alloc), (NODE_ID, node), (TASK_NAME, "other")]),
        ("another image", other.0.as_str(), vec![(ALLOC_ID, alloc), (NODE_ID, node)]),
    ] {
        for how in [RUN, CREATE] {
            let strange = namesake(&fixture, &task, how, image, &labels);

            let rejection = fixture.refused(&task).await;

            assert!(rejection.message.starts_with("failed to create container: "), "{what}: {rejection}");
            assert!(rejection.message.contains("is already in use by container"), "{what}: {rejection}");
            assert_eq!(rejection.recoverability, Recoverability::Fatal, "{what}");
            let left = inspect(&task.container());
            assert_eq!(left["Id"], strange.as_str(), "{what}");
            assert_eq!(left["State"]["Running"], how == RUN, "{what}");
            docker(&["rm", "--force", &strange]);
        }
    }

    fixture.run(&task).await;
    fixture.end().await;
}

#[tokio::test]
async fn what_an_earlier_run_of_the_task_left_is_adopted_where_it_runs_and_replaced_where_it_does_not() {
    let fixture = fixture().await;
    for how in [RUN, CREATE] {
        let task = fixture.task("web", "exec sleep 1000");
        let labels = [(ALLOC_ID, task.config.alloc_id.as_str()), (NODE_ID, task.config.node_id.as_str())];
        let left = namesake(&fixture, &task, how, &image(), &labels);

        fixture.run(&task).await;

        assert_eq!(inspect(&task.container())["Id"] == left.as_str(), how == RUN);
    }
    fixture.end().await;
}

/// The driver that is built into Nomad names no node. Its agent hands such a container over by its id.
#[tokio::test]
async fn a_container_that_an_agent_handed_over_is_its_tasks_though_it_names_no_node() {
    let mut fixture = fixture().await;
    let task = fixture.task("web", "exec sleep 1000");
    let built_in = namesake(&fixture, &task, RUN, &image(), &[(ALLOC_ID, task.config.alloc_id.as_str())]);
    let elsewhere = fixture.task("web", "exec sleep 1000");
    let mut handle = fixture.run(&elsewhere).await.handle;
    handle.config = task.config.clone();
    handle.driver_state = state(&built_in);

    fixture.driver.recover_task(handle).await.unwrap();
    fixture.kill_and_start_again().await;
    fixture.run(&task).await;

    assert_eq!(inspect(&task.container())["Id"], built_in.as_str());
    fixture.end().await;
}

/// What the built-in driver keeps of a container.
fn state(container: &str) -> Vec<u8> {
    nomad_plugin::msgpack::encode(&object(&[
        ("ReattachConfig", Value::Null),
        ("ContainerID", text(container)),
        ("DriverNetwork", Value::Null),
    ]))
}

#[tokio::test]
async fn a_task_joins_no_stranger_that_has_the_name_of_its_groups_task() {
    let fixture = fixture().await;
    let first = fixture.task("first", "exec sleep 1000");
    let strange = namesake(&fixture, &first, RUN, &image(), &[]);
    let mut second = fixture.task("second", "exec sleep 1000").option("network_mode", text("task:first"));
    second.config.alloc_id = first.config.alloc_id.clone();

    let rejection = fixture.refused(&second).await;

    let words = format!("there is no running container {}", first.container());
    assert!(rejection.message.ends_with(&words), "{rejection}");
    docker(&["rm", "--force", &strange]);
    fixture.run(&first).await;
    fixture.run(&second).await;
    fixture.end().await;
}
