//! Jobs and images that say by labels of Nomad's that their container is another one's, or nobody's.

use conformance::{
    Fixture,
    docker::{docker, inspect},
    event_that, image, object, text,
};
use nomad_plugin::msgpack::Value;

const NOMADS: &str = "com.hashicorp.nomad.";

#[tokio::test]
async fn a_job_sets_no_label_of_nomads_and_its_owner_is_warned() {
    let fixture = Fixture::start().await;
    let mut events = fixture.driver.task_events().await.unwrap();
    let task = fixture.task("web", "exec sleep 1000");
    let Value::List(mut labels) = task.options["labels"].clone() else { panic!("labels are a list") };
    let planted = ["alloc_id", "node_id", "pause", "namespace"].map(|name| format!("{NOMADS}{name}"));
    let planted: Vec<_> = planted.iter().map(|name| (name.as_str(), text("planted"))).collect();
    labels.push(object(&planted));
    labels.push(object(&[("COM.HashiCorp.Nomad.job_id", text("planted")), ("team", text("web"))]));
    let task = task.option("labels", Value::List(labels));

    let started = fixture.run(&task).await;

    let labels = inspect(&task.container())["Config"]["Labels"].as_object().unwrap().clone();
    assert!(labels.values().all(|value| value != "planted"), "{labels:?}");
    assert_eq!(labels[&format!("{NOMADS}alloc_id")], task.config.alloc_id.as_str());
    assert_eq!(labels[&format!("{NOMADS}node_id")], task.config.node_id);
    assert_eq!(labels["team"], "web");
    let event = event_that(&mut events, "labels ignored", |event| event.message.starts_with("labels ignored")).await;
    assert_eq!(event.task_id, started.id);
    fixture.end().await;
}

#[tokio::test]
async fn the_labels_of_an_image_do_not_say_whose_a_container_is() {
    let fixture = Fixture::start().await;
    let name = format!("longshore-test/labels-{}:1", std::process::id());
    let base = docker(&["create", &image()]);
    let planted = ["alloc_id", "node_id"].map(|name| format!("LABEL {NOMADS}{name}=planted"));
    docker(&["commit", "--change", &planted[0], "--change", &planted[1], base.trim(), &name]);
    docker(&["rm", base.trim()]);
    let mut task = fixture.task("web", "exec sleep 1000").option("image", text(&name));
    for node in ["", "node-1"] {
        task.config.node_id = node.to_owned();
        task.config.id = format!("{}-{node}", task.config.id.as_str()).into();

        let started = fixture.run(&task).await;

        let labels = inspect(&task.container())["Config"]["Labels"].clone();
        assert_eq!(labels[format!("{NOMADS}alloc_id")], task.config.alloc_id.as_str());
        assert_eq!(labels[format!("{NOMADS}node_id")], node);
        fixture.driver.destroy_task(started.id, nomad_plugin::driver::Force::Yes).await.unwrap();
    }
    fixture.end().await;
    docker(&["rmi", &name]);
}
