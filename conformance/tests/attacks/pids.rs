//! An engine that names processes that are none of the container's.

use std::{
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use conformance::{Fixture, docker::inspect, object, relay::Relay};
use futures_util::StreamExt;

/// Puts another number in the place of each that an engine's answer has for a process. A longer one also takes the place of
/// the member before, which is a plain one: an answer's length does not change.
fn rename(answer: &mut [u8], pid: &str) {
    const NAME: &[u8] = br#""Pid":"#;
    let mut from = 0;
    while let Some(at) = answer[from..].windows(NAME.len()).position(|name| name == NAME) {
        let at = from + at;
        let begin = at + NAME.len();
        let digits = answer[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let renamed = [NAME, pid.as_bytes()].concat();
        let end = begin + digits;
        let start = if end - at >= renamed.len() { at } else { before(&answer[..at]) };
        answer[start..end].fill(b' ');
        answer[start..start + renamed.len()].copy_from_slice(&renamed);
        from = end;
    }
}

/// Where the member before the end begins.
fn before(answer: &[u8]) -> usize {
    let comma = answer.len() - 1;
    let begins = answer[..comma].iter().rposition(|byte| matches!(byte, b',' | b'{'));
    begins.expect("an object begins") + 1
}

#[test]
fn a_number_is_replaced_by_a_shorter_and_by_a_longer_one() {
    let renamed = |pid: &str| {
        let mut answer = br#"{"State":{"Dead":false,"Pid":77,"Error":""}}"#.to_vec();
        rename(&mut answer, pid);
        serde_json::from_slice::<serde_json::Value>(&answer).unwrap()["State"].clone()
    };

    for pid in ["1", "-1", "28228"] {
        assert_eq!(renamed(pid)["Pid"].to_string(), pid);
        assert_eq!(renamed(pid)["Error"], "");
    }
}

#[tokio::test]
async fn a_process_that_is_not_the_containers_is_neither_killed_nor_measured() {
    let directory = tempfile::tempdir().unwrap();
    let named = Arc::<Mutex<Option<String>>>::default();
    let now = named.clone();
    let relay = Relay::that_changes(directory.path(), move |answer| {
        if let Some(pid) = &*now.lock().unwrap() {
            rename(answer, pid);
        }
    });
    let mut bystander = Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().unwrap();
    let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &relay.address())]).await;
    let victim = fixture.task("victim", "exec sleep 1000");
    fixture.run(&victim).await;
    let of_victim = inspect(&victim.container())["State"]["Pid"].to_string();
    let driver = fixture.driver.reattach_config().pid.to_string();

    for pid in ["-1", "0", "1", &bystander.id().to_string(), &of_victim, &driver] {
        // The number is the engine's from the start on: that is when the task's control group is found.
        *named.lock().unwrap() = Some(pid.to_owned());
        let attacked = fixture.task("attacked", "exec sleep 1000");
        let started = fixture.run(&attacked).await;

        let command = ["sleep", "1000"].map(str::to_owned).to_vec();
        let cut = fixture.driver.exec_task(started.id.clone(), command, Duration::from_millis(300)).await;
        assert_eq!(cut.unwrap_err().to_string(), "the command did not end within 300ms and was killed", "{pid}");
        if let Ok(mut samples) = fixture.driver.task_stats(started.id.clone(), Duration::from_millis(50)).await {
            let sample = samples.next().await;
            assert!(!matches!(sample, Some(Ok(_))), "{pid}: {sample:?}");
        }
    }

    *named.lock().unwrap() = None;
    assert!(bystander.try_wait().unwrap().is_none(), "the bystander lives");
    let state = &inspect(&victim.container())["State"];
    assert_eq!((state["Running"].as_bool(), state["Pid"].to_string()), (Some(true), of_victim));
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    fixture.end().await;
}
