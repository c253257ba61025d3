//! Mounts of a container that would appear on the host.

use std::path::PathBuf;

use conformance::{
    Fixture,
    docker::{containers_of, inspect},
    mounts::{self, Shared},
    object, text, texts,
};
use nomad_plugin::{driver::Force, msgpack::Value};

fn bind(source: &str, propagation: &str) -> Value {
    let options = object(&[("propagation", text(propagation))]);
    object(&[("type", text("bind")), ("source", text(source)), ("target", text("/m")), ("bind_options", options)])
}

#[tokio::test]
async fn with_volumes_off_no_spelling_of_shared_is_taken() {
    let fixture = Fixture::start().await;
    let task = || fixture.task("web", "exit 0");
    let words = |source: &str, mode: &str| {
        format!("volumes are not enabled; cannot mount host path: {source:?}: its propagation {mode:?} would put")
    };
    let mut attempts = Vec::new();
    for (flags, mode) in [
        ("shared", "shared"),
        ("rshared", "rshared"),
        ("ro,rshared", "rshared"),
        ("z,shared,ro", "shared"),
        ("RSHARED", "RSHARED"),
        ("rw,Shared", "Shared"),
        (" rshared", " rshared"),
    ] {
        for source in ["local", "../alloc", "..", "../alloc/data", "../alloc/logs"] {
            let volume = format!("{source}:/x:{flags}");
            attempts.push((task().option("volumes", texts(&[&volume])), words(&volume, mode)));
        }
    }
    for mode in ["shared", "rshared"] {
        for option in ["mount", "mounts"] {
            for source in ["local", "../alloc", "../alloc/data"] {
                let list = Value::List(vec![bind(source, mode)]);
                attempts.push((task().option(option, list), words(source, mode)));
            }
        }
    }

    for (task, words) in attempts {
        let rejection = fixture.refused(&task).await;
        assert!(rejection.message.contains(&words), "{words:?} is not in {:?}", rejection.message);
    }
    assert_eq!(containers_of(fixture.directory()), Vec::<String>::new());
    fixture.end().await;
}

#[tokio::test]
async fn a_text_in_a_variable_is_no_part_of_a_mount() {
    let fixture = Fixture::start().await;
    for (variable, value) in [
        ("NOMAD_TASK_DIR", "/l:rshared"),
        ("NOMAD_SECRETS_DIR", "/l:rshared"),
        ("NOMAD_ALLOC_DIR", "/l:rshared"),
        ("NOMAD_ALLOC_DIR", "/local/nested"),
        ("NOMAD_TASK_DIR", "../../etc"),
        ("NOMAD_TASK_DIR", ""),
    ] {
        let task = fixture.task("web", "test -d /alloc/data && test -d /local && test -d /secrets && echo usual");
        let shared = Shared::make(&task.alloc_dir());
        let mut task = task.option("volumes", texts(&["secrets:/local/x", "../alloc/data:/l/x:rslave"]));
        task.config.env.insert(variable.to_owned(), value.to_owned());

        let started = fixture.run(&task).await;
        fixture.driver.wait_task(started.id.clone()).await.unwrap();
        let mounts = inspect(&task.container())["Mounts"].clone();
        fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();

        assert_eq!(task.pipes.stdout.text(), "usual\n", "{variable} = {value}");
        for mount in mounts.as_array().unwrap() {
            assert!(!mount["Propagation"].as_str().unwrap().contains("shared"), "{mount}");
        }
        assert_eq!(mounts::below(&task.alloc_dir()), Vec::<PathBuf>::new(), "{variable} = {value}");
        drop(shared);
    }
    fixture.end().await;
}
