//! A group with a task of another driver: `exec` and `java` make their tasks' directories of hard links of the host's
//! programs and configuration, and mount `alloc` there once more. And mounts of the host: how many a job takes.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use conformance::{Fixture, Task, docker::containers_of, mounts, object, text, texts, user::User};
use nomad_plugin::{driver::Force, msgpack::Value};

/// Makes `other` and what is in it, as of a task that `exec` is to run.
fn other(task: &Task) {
    let other = task.alloc_dir().join("other");
    for directory in ["local", "secrets", "usr", "tmp"] {
        fs::create_dir_all(other.join(directory)).unwrap();
    }
    let program = task.alloc_dir().with_extension("program");
    fs::write(&program, "the host's\n").unwrap();
    fs::hard_link(&program, other.join("usr/program")).unwrap();
    fs::write(other.join("local/file"), "shared\n").unwrap();
}

fn mount(source: &str, is_read_only: bool) -> Value {
    let access = ("readonly", Value::Bool(is_read_only));
    object(&[("type", text("bind")), ("source", text(source)), ("target", text("/x")), access])
}

#[tokio::test]
async fn the_hosts_files_in_the_directory_of_another_drivers_task_are_not_mounted() {
    for fixture in [Fixture::start().await, Fixture::as_user(User::of_group_docker(), &[]).await] {
        let shared =
            fixture.task("web", "cat /x/file").option("mount", Value::List(vec![mount("../other/local", false)]));
        other(&shared);
        assert_eq!(fixture.output(&shared).await, "shared\n");
        for source in [
            "../other",
            "../other/usr",
            "../other/usr/program",
            "../other/alloc",
            "../other/local",
            "local/link",
            // They may come before the other task does.
            "../late",
            "../late/usr",
        ] {
            for read_only in [false, true] {
                let task = || {
                    let task = fixture.task("web", "cat /x/*");
                    other(&task);
                    fs::create_dir(task.alloc_dir().join("other/alloc")).unwrap();
                    symlink("../../other/usr", task.alloc_dir().join("web/local/link")).unwrap();
                    task
                };
                let mounted = task().option("mount", Value::List(vec![mount(source, read_only)]));
                let volume = format!("{source}:/x{}", if read_only { ":ro" } else { "" });
                for task in [mounted, task().option("volumes", texts(&[&volume]))] {
                    let rejection = fixture.refused(&task).await;
                    assert!(
                        rejection.message.contains(": it may have files of the host in it"),
                        "{source}: {rejection}"
                    );
                    assert!(!task.alloc_dir().join("late").exists());
                }
            }
        }
        assert_eq!(containers_of(fixture.directory()).len(), 1, "that of the first task");
        fixture.end().await;
    }
}

#[tokio::test]
async fn an_allocation_that_is_mounted_as_a_whole_has_no_task_of_another_driver_in_it() {
    let fixture = Fixture::start().await;
    let script = "cd /x; ls; mkdir y 2>/dev/null || echo closed; mv web y 2>/dev/null || echo closed; echo by-task >web/local/file; echo by-task >alloc/data/file; \
                  cat web/secrets/file; until [ -e alloc/data/go ]; do usleep 10000; done; ls; find / -xdev -name program";
    let task = fixture.task("web", script).option("mount", Value::List(vec![mount("..", false)]));
    other(&task);
    fs::write(task.alloc_dir().join("web/secrets/file"), "own\n").unwrap();

    let started = fixture.run(&task).await;
    task.pipes.stdout.wait_for_text("own\n");
    fs::create_dir_all(task.alloc_dir().join("late/usr")).unwrap();
    fs::write(task.alloc_dir().join("alloc/data/go"), "").unwrap();
    fixture.driver.wait_task(started.id.clone()).await.unwrap();
    fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();

    assert_eq!(task.pipes.stdout.text(), "alloc\nweb\nclosed\nclosed\nown\nalloc\nweb\n");
    for written in ["web/local/file", "alloc/data/file"] {
        assert_eq!(fs::read_to_string(task.alloc_dir().join(written)).unwrap(), "by-task\n");
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_job_takes_few_mounts_of_the_host_however_often_it_mounts_something() {
    let fixture = Fixture::start().await;
    let many = |source: &dyn Fn(usize) -> String| {
        let volumes: Vec<String> = (0..400).map(|number| format!("{}:/m/{number}", source(number))).collect();
        let volumes: Vec<&str> = volumes.iter().map(String::as_str).collect();
        fixture.task("web", "exec sleep 1000").option("volumes", texts(&volumes))
    };
    let same = many(&|_| "../alloc".to_owned());

    let started = fixture.run(&same).await;
    let taken = mounts::below(&fixture.directory().join("state")).len();
    fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();
    let rejection = fixture.refused(&many(&|number| format!("local/{number}"))).await;

    assert_eq!(taken, 5);
    assert!(rejection.message.contains("more than 256 different sources"), "{rejection}");
    assert_eq!(mounts::below(&fixture.directory().join("state")), Vec::<PathBuf>::new());
    fixture.end().await;
}
