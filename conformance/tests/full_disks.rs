//! Tasks on disks that are full or read-only: they start, and their logs arrive.

use std::{fs, time::Duration};

use conformance::{
    Fixture, event_that,
    holder::holders,
    kill,
    lines::{Judgement, judge, last_number},
    mounts::SmallDisk,
    object, text, until,
};

const STEADY: &str = "n=0; while :; do n=$((n+1)); echo \"a $n\"; sleep 0.01; done";

#[tokio::test]
async fn a_task_whose_directory_is_full_or_read_only_starts_and_its_log_arrives() {
    for make in [SmallDisk::fill, SmallDisk::make_read_only] {
        let fixture = Fixture::start().await;
        let task = fixture.task("web", "for n in 1 2 3; do echo \"a $n\"; done; exit 3");
        let disk = SmallDisk::mount(&task.alloc_dir().join("web"));
        for part in ["local", "secrets", "tmp"] {
            fs::create_dir(task.alloc_dir().join("web").join(part)).unwrap();
        }
        make(&disk);

        let started = fixture.run(&task).await;
        let ended = fixture.driver.wait_task(started.id).await.unwrap();

        assert_eq!(ended.result.exit_code, 3);
        assert_eq!(judge(&task.pipes.stdout.to_the_end(), "a", 3), Judgement::default());
        drop(disk);
        fixture.end().await;
    }
}

#[tokio::test]
async fn a_log_whose_position_no_disk_takes_is_collected_and_continues_once_and_whole_whoever_dies() {
    let root = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&root.path().join("state"));
    let state = root.path().join("state");
    let mut fixture = Fixture::with(object(&[("state_dir", text(state.to_str().unwrap()))]), &[]).await;
    let mut events = fixture.driver.task_events().await.unwrap();
    let task = fixture.task("steady", STEADY);
    let lines = || last_number(&task.pipes.stdout.bytes(), "a");
    let reads_on = |what: &str| {
        let goal = lines() + 50;
        task.pipes.stdout.wait_for(what, |bytes| last_number(bytes, "a") >= goal);
    };
    disk.fill();

    let started = fixture.run(&task).await;
    let event = event_that(&mut events, "not recorded", |event| event.message.contains("there is no record")).await;
    reads_on("lines that are not recorded");
    fixture.kill_and_start_again().await;
    fixture.driver.recover_task(started.handle.clone()).await.unwrap();
    reads_on("lines after the driver's death");
    // The pipe is lost as well.
    kill([fixture.driver.reattach_config().pid, holders(&state)[0]]);
    task.pipes.stdout.to_the_end();
    task.pipes.stdout.read();
    fixture.start_again().await;
    fixture.driver.recover_task(started.handle.clone()).await.unwrap();
    reads_on("lines after both died");
    disk.clear();
    let id = fixture.driver.inspect_task(started.id.clone()).await.unwrap().attributes["container_id"].clone();
    let record = state.join(format!("logs/{id}.json"));
    until("the record", || fs::read_to_string(&record).is_ok_and(|record| record.contains(&id))).await;
    // One that is removed on a disk that fills up.
    fs::remove_file(&record).unwrap();
    disk.fill();
    reads_on("lines on a disk that is full again");
    fixture.kill_and_start_again().await;
    fixture.driver.recover_task(started.handle.clone()).await.unwrap();
    reads_on("the last lines");

    assert_eq!(event.task_id, started.id);
    fixture.driver.stop_task(started.id.clone(), Duration::ZERO, String::new()).await.unwrap();
    fixture.driver.wait_task(started.id).await.unwrap();
    let came = task.pipes.stdout.to_the_end();
    assert_eq!(judge(&came, "a", last_number(&came, "a")), Judgement::default());
    fixture.end().await;
}
