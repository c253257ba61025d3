//! Tasks of a group that write into the pipes by which the host takes the others' logs, or take what is in them.

use std::{fs, path::Path};

use conformance::{DEADLINE, Fixture, Task, object, pipes::Pipes, text, texts, until};
use nomad_plugin::{driver::Force, msgpack::Value};

/// Another task in the allocation of one.
fn sibling(fixture: &Fixture, of: &Task, name: &str, script: &str) -> Task {
    let mut task = fixture.task(name, script);
    for part in ["local", "secrets", "tmp"] {
        fs::create_dir_all(of.alloc_dir().join(name).join(part)).unwrap();
    }
    task.pipes = Pipes::make(&of.alloc_dir().join("alloc/logs"), name);
    task.config.stdout_path = task.pipes.stdout_path.display().to_string();
    task.config.stderr_path = task.pipes.stderr_path.display().to_string();
    task.config.alloc_dir.clone_from(&of.config.alloc_dir);
    task.config.alloc_id = of.config.alloc_id.clone();
    task.config.id = format!("{}/{name}/{:08x}", of.config.alloc_id, std::process::id()).into();
    task
}

fn bind(source: &str, target: &str) -> Value {
    object(&[("type", text("bind")), ("source", text(source)), ("target", text(target))])
}

/// Writes to every pipe that there is, again and again, under any name; says so when one took it.
const ATTACK: &str = "while :; do for logs in /alloc/logs /a/logs /all/alloc/logs /l; do \
                      for pipe in $logs/.*.fifo; do [ -e $pipe ] && echo planted >$pipe && echo wrote to $pipe; done; \
                      for pipe in $(find $logs -type p); do echo found $pipe; done; done; usleep 1000; done";

#[tokio::test]
async fn no_task_writes_into_a_log_but_by_what_its_container_says() {
    let fixture = Fixture::start().await;
    let mounts = vec![bind("../alloc", "/a"), bind("..", "/all"), bind("../alloc/logs", "/l")];
    let attacker = fixture.task("web", ATTACK).option("mount", Value::List(mounts));
    let early = sibling(&fixture, &attacker, "early", "while :; do echo early; sleep 0.1; done");

    fixture.run(&attacker).await;
    fixture.run(&early).await;
    // Its pipes are made while the attacker runs.
    let late = sibling(&fixture, &attacker, "late", "while :; do echo late; sleep 0.1; done");
    fixture.run(&late).await;
    early.pipes.stdout.wait_for("lines", |bytes| bytes.len() > 100);
    late.pipes.stdout.wait_for("lines", |bytes| bytes.len() > 100);

    assert_eq!(attacker.pipes.stdout.text(), "");
    for (task, line) in [(&early, "early"), (&late, "late")] {
        let text = task.pipes.stdout.text();
        assert!(text.lines().all(|said| line.starts_with(said)), "{text}");
        assert_eq!(task.pipes.stderr.text(), "");
    }
    let pipe = fixture.task("pipe", "exit 0").option("volumes", texts(&["../alloc/logs/.pipe.stdout.fifo:/p"]));
    let rejection = fixture.refused(&pipe).await.message;
    assert!(rejection.contains("it is no log file"), "{rejection}");
    fixture.end().await;
}

#[tokio::test]
async fn a_sidecar_that_ships_logs_sees_files_as_they_come_grow_and_go_also_over_the_drivers_death() {
    let mut fixture = Fixture::start().await;
    let script = "while :; do ls /alloc/logs >/alloc/data/list.new; cat /alloc/logs/web.stdout.* >/alloc/data/cat.new 2>/dev/null; \
                  mv /alloc/data/list.new /alloc/data/list; mv /alloc/data/cat.new /alloc/data/cat; usleep 20000; done";
    let shipper = fixture.task("web", script);
    let logs = shipper.alloc_dir().join("alloc/logs");
    let data = shipper.alloc_dir().join("alloc/data");
    let sees = async |what: &str, is: &dyn Fn(&str, &str) -> bool| {
        let read = |name: &str| fs::read_to_string(data.join(name)).unwrap_or_default();
        until(what, || is(&read("list"), &read("cat"))).await;
    };
    let write = |path: &Path, text: &str| fs::write(path, text).unwrap();

    let started = fixture.run(&shipper).await;
    write(&logs.join("web.stdout.7"), "one\n");
    sees("a new file", &|list, cat| list.contains("web.stdout.7") && cat.contains("one")).await;
    write(&logs.join("web.stdout.7"), "one\ntwo\n");
    sees("it grows", &|_, cat| cat.contains("two")).await;
    fixture.kill();
    fs::remove_file(logs.join("web.stdout.7")).unwrap();
    write(&logs.join("web.stdout.8"), "three\n");
    fixture.start_again().await;
    fixture.driver.recover_task(started.handle.clone()).await.unwrap();
    sees("what changed meanwhile", &|list, cat| !list.contains("stdout.7") && cat.contains("three")).await;
    fs::remove_file(logs.join("web.stdout.8")).unwrap();
    sees("a removal", &|list, _| !list.contains("stdout.8")).await;

    fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();
    fs::remove_dir_all(shipper.alloc_dir()).unwrap();
    let views = fixture.directory().join(".longshore-logs");
    tokio::time::timeout(
        *DEADLINE,
        until("nothing is left", || !views.join(shipper.config.alloc_id.as_str()).exists()),
    )
    .await
    .unwrap();
    fixture.end().await;
}
