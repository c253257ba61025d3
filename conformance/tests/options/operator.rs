//! Options of the plugin that no single container shows.

use conformance::{
    Fixture,
    docker::{docker, inspect},
    until,
};
use nomad_plugin::{
    driver::{Force, Recoverability},
    id::AllocId,
};

#[tokio::test]
async fn a_container_that_is_not_to_be_removed_is_not() {
    let fixture = Fixture::configured("gc {\n  container = false\n}").await;
    let task = fixture.job("web", "echo done", "").await;
    let started = fixture.run(&task).await;
    fixture.driver.wait_task(started.id.clone()).await.unwrap();

    fixture.driver.destroy_task(started.id, Force::No).await.unwrap();

    assert_eq!(inspect(&task.container())["State"]["Status"], "exited");
    docker(&["rm", &task.container()]);
    fixture.end().await;
}

#[tokio::test]
async fn logs_that_are_not_to_be_collected_remain_with_the_engine() {
    let fixture = Fixture::configured("disable_log_collection = true").await;
    let task = fixture.job("web", "echo hello", "").await;

    let collected = fixture.output(&task).await;

    assert_eq!(collected, "");
    assert_eq!(docker(&["logs", &task.container()]), "hello\n");
    assert!(fixture.driver.capabilities().await.unwrap().disable_log_collection);
    fixture.end().await;
}

#[tokio::test]
async fn a_pull_has_the_time_that_it_is_given() {
    // A registry that never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/longshore-test/silent:1", silent.local_addr().unwrap());
    let plugin =
        format!("image_pull_timeout = \"300ms\"\ninfra_image = \"{image}\"\ninfra_image_pull_timeout = \"250ms\"");
    let fixture = Fixture::configured(&plugin).await;
    let plugins = fixture.job("plugins", "", &format!("image = \"{image}\"")).await;
    let own = fixture.job("own", "", &format!("image = \"{image}\"\nimage_pull_timeout = \"400ms\"")).await;
    let wrong = fixture.job("wrong", "", "image_pull_timeout = \"1d\"").await;

    let plugins = fixture.refused(&plugins).await;
    let own = fixture.refused(&own).await;
    let wrong = fixture.refused(&wrong).await.message;
    let alloc = AllocId::from(uuid::Uuid::new_v4().to_string());
    let network = fixture.driver.create_network(alloc.clone(), String::new()).await.unwrap();
    fixture.driver.destroy_network(alloc, Some(network.isolation)).await.unwrap();
    docker(&["rmi", concat!("longshore/pause:", env!("CARGO_PKG_VERSION"))]);

    for (rejection, time) in [(&plugins, "0.3"), (&own, "0.4")] {
        assert!(rejection.message.starts_with(&format!("Failed to pull `{image}`: ")), "{rejection}");
        assert!(rejection.message.contains(time), "{rejection}");
        assert_eq!(rejection.recoverability, Recoverability::Recoverable);
    }
    // The network has the built-in image, and the log says why.
    let why = ["unable to pull infra docker image", &image, "0.25"];
    let says_why = |line: &String| why.iter().all(|part| line.contains(part));
    until("the driver says why", || fixture.log.lock().unwrap().iter().any(says_why)).await;
    let expected = "Failed to parse image_pull_timeout: time: unknown unit \"d\" in duration \"1d\"";
    assert_eq!(wrong, expected, "the image is there");
    fixture.end().await;
}

#[tokio::test]
async fn all_mistakes_of_the_operator_are_reported_at_once_and_the_old_configuration_applies() {
    let mut fixture = Fixture::configured("pids_limit = 7").await;
    let wrong = r#"
        image_pull_timeout        = "1d"
        infra_image_pull_timeout  = "soon"
        pull_activity_timeout     = "10s"
        pids_limit                = -5
        oom_score_adj             = 2000
        container_exists_attempts = -1
        gc {
          image_delay = "x"
          dangling_containers {
            period         = "y"
            creation_grace = "10s"
          }
        }
        allowed_modes {
          pid    = ["container:"]
          ipc    = ["public"]
          userns = ["private"]
          uts    = ["private"]
        }
    "#;

    let rejection = fixture.configure(wrong).await.unwrap_err();

    for expected in [
        "SetConfig failed: ",
        "failed to parse 'image_delay' duration: time: invalid duration \"x\"",
        "failed to parse 'period' duration: time: invalid duration \"y\"",
        "creation_grace is less than minimum, 1m0s",
        "pull_activity_timeout is less than minimum, 1m0s",
        "failed to parse 'infra_image_pull_timeout' duration: time: invalid duration \"soon\"",
        "failed to parse 'image_pull_timeout' duration: time: unknown unit \"d\" in duration \"1d\"",
        "cannot apply allowed_modes configuration, \"container:\" is not a valid pid_mode",
        "cannot apply allowed_modes configuration, \"public\" is not a valid ipc_mode",
        "cannot apply allowed_modes configuration, \"private\" is not a valid userns_mode",
        "cannot apply allowed_modes configuration, \"private\" is not a valid utc_mode",
        "pids_limit: must be -1 or more, this is -5",
        "oom_score_adj: must be between -1000 and 1000, this is 2000",
        "container_exists_attempts: must be between 0 and 4294967295, this is -1",
    ] {
        assert!(rejection.contains(expected), "{expected} is not in {rejection}");
    }
    let task = fixture.job("web", "exec sleep 1000", "").await;
    fixture.run(&task).await;
    assert_eq!(inspect(&task.container())["HostConfig"]["PidsLimit"], 7);
    fixture.end().await;
}

#[tokio::test]
async fn what_can_have_no_effect_is_warned_of() {
    let fixture = Fixture::configured("extra_labels = [\"jobname\"]\nallow_caps = [\"net-raw\"]").await;
    let task = fixture.job("web", "echo hello", "").await;

    assert_eq!(fixture.output(&task).await, "hello\n");

    let log = fixture.log.lock().unwrap().join("\n");
    for warning in ["extra_labels[0]", "allow_caps[0]"] {
        let warned = log.lines().any(|line| line.contains(warning) && line.contains("warn"));
        assert!(warned, "{warning} is not in {log}");
    }
    fixture.end().await;
}

#[tokio::test]
async fn what_only_windows_knows_is_accepted() {
    let fixture = Fixture::configured("windows_allow_insecure_container_admin = true").await;
    let task = fixture.job("web", "echo hello", "").await;

    assert_eq!(fixture.output(&task).await, "hello\n");
    fixture.end().await;
}
