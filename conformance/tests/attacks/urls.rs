//! Texts that would become another call of the Engine's API than the one that is meant.

use std::sync::{Arc, Mutex};

use conformance::{Fixture, docker::inspect, object, relay::Relay, text, texts};
use nomad_plugin::msgpack::Value;

fn network(name: &str) -> Value {
    Value::List(vec![object(&[("name", text(name))])])
}

/// Spellings of a call against a container by way of a network's path.
fn spellings(victim: &str) -> Vec<String> {
    let mut all = Vec::new();
    for call in ["kill?signal=KILL&x=".to_owned(), "stop?t=0&x=".to_owned(), "rename?name=taken&x=".to_owned()] {
        for climb in ["../", "%2e%2e/", "..%2f", "x/../../", "..\\", ".\t./", "./../", "..\n/"] {
            all.push(format!("{climb}containers/{victim}/{call}"));
        }
    }
    all.push(format!("../containers/{victim}/kill#"));
    all.push(format!("//docker/containers/{victim}/kill?"));
    all
}

#[tokio::test]
async fn no_name_of_a_network_becomes_a_call_about_another_tasks_container() {
    let directory = tempfile::tempdir().unwrap();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let noted = seen.clone();
    let relay = Relay::start(directory.path(), move |line| noted.lock().unwrap().push(line.to_owned()));
    let mut fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &relay.address())]).await;
    let victim = fixture.task("victim", "exec sleep 1000");
    fixture.run(&victim).await;
    let container = victim.container();
    seen.lock().unwrap().clear();

    for config in ["", "allowed_modes {\n  network = [\"front*\", \"..*\", \"*\"]\n}"] {
        fixture.configure(config).await.unwrap();
        for name in spellings(&container) {
            let rejection = fixture.refused(&fixture.task("web", "exit 0").option("networks", network(&name))).await;
            assert!(rejection.message.contains("networks[0].name: must be a name"), "{name:?}: {rejection}");
            let beside = fixture.task("web", "exit 0").option("network_mode", text("bridge"));
            let rejection = fixture.refused(&beside.option("networks", network(&name))).await;
            assert!(rejection.message.contains("networks[0].name: must be a name"), "{name:?}: {rejection}");
            let joins = fixture.task("web", "exit 0").option("network_mode", text(&format!("task:{name}")));
            fixture.refused(&joins).await;
        }
    }

    let calls = seen.lock().unwrap().clone();
    assert!(calls.iter().all(|line| !line.contains(&container)), "{calls:?}");
    let state = &inspect(&container)["State"];
    assert_eq!((&state["Running"], &state["Pid"] != 0), (&true.into(), true));
    fixture.end().await;
}

#[tokio::test]
async fn no_name_of_an_image_and_no_other_text_becomes_another_call() {
    let directory = tempfile::tempdir().unwrap();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let noted = seen.clone();
    let relay = Relay::start(directory.path(), move |line| noted.lock().unwrap().push(line.to_owned()));
    let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &relay.address())]).await;
    let victim = fixture.task("victim", "exec sleep 1000");
    fixture.run(&victim).await;
    let container = victim.container();
    seen.lock().unwrap().clear();

    for name in spellings(&container) {
        for option in ["image", "hostname", "runtime", "pid_mode", "ipc_mode", "network_mode", "userns_mode"] {
            let task = fixture.task("web", "exit 0").option(option, text(&name));
            // Some are no more than text to the engine.
            let _either = fixture.attempt(&task).await;
        }
        let aliases = fixture.task("web", "exit 0").option("network_mode", text("no-such-network"));
        fixture.refused(&aliases.option("network_aliases", texts(&[&name]))).await;
    }

    let calls = seen.lock().unwrap().clone();
    let to_victim = format!("containers/{container}/");
    let paths: Vec<&str> = calls.iter().map(|line| line.split(['?', '#']).next().unwrap()).collect();
    assert!(paths.iter().all(|path| !path.contains(&to_victim)), "{calls:?}");
    assert_eq!(inspect(&container)["State"]["Running"], true);
    fixture.end().await;
}
