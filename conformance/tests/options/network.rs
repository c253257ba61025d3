//! A task's place in networks and its names.

use conformance::{
    DEADLINE, Fixture, LABEL,
    docker::{docker, inspect},
    event_that, until,
};
use nomad_plugin::driver::{Dns, Force, HostsEntry, NetworkIsolation, NetworkMode, Recoverability};
use serde_json::json;

use crate::ports::SERVER;

/// A network with both kinds of addresses, removed on drop.
struct Network {
    name: String,
    ipv4: String,
    ipv6: String,
}

impl Network {
    /// Of several at one time each has a number of its own, from 0 to 15.
    fn make(number: u32) -> Self {
        let id = std::process::id().wrapping_mul(16).wrapping_add(number);
        let name = format!("longshore-test-{id}");
        let (ipv4, ipv6) = (format!("10.{}.{}", 200 + id / 256 % 50, id % 256), format!("fd77:{:x}:", id % 0xffff + 1));
        let (subnet4, subnet6) = (format!("{ipv4}.0/24"), format!("{ipv6}:/64"));
        let args = ["--subnet", &subnet4, "--ipv6", "--subnet", &subnet6];
        docker(&[&["network", "create", "--label", LABEL], &args[..], &[&name]].concat());
        Self { name, ipv4: format!("{ipv4}.9"), ipv6: format!("{ipv6}:9") }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if docker(&["network", "ls", "--format", "{{.Name}}"]).lines().any(|name| name == self.name) {
            docker(&["network", "rm", &self.name]);
        }
    }
}

#[tokio::test]
async fn a_task_has_its_names_and_addresses_in_the_network_of_its_job() {
    let network = Network::make(0);
    let fixture = Fixture::start().await;
    let config = format!(
        r#"
        network_mode           = "{}"
        network_aliases        = ["front", "www"]
        ipv4_address           = "{}"
        ipv6_address           = "{}"
        advertise_ipv6_address = true
        "#,
        network.name, network.ipv4, network.ipv6
    );
    let task = fixture.job("web", "ip addr show eth0; exec sleep 1000", &config).await;

    let started = fixture.run(&task).await;

    task.pipes.stdout.wait_for_text(&format!("inet {}/24", network.ipv4));
    task.pipes.stdout.wait_for_text(&format!("inet6 {}/64", network.ipv6));
    assert_eq!(started.address, network.ipv6);
    let inside = inspect(&task.container())["NetworkSettings"]["Networks"][&network.name].clone();
    let aliases = inside["Aliases"].as_array().unwrap();
    assert!(aliases.contains(&json!("front")) && aliases.contains(&json!("www")), "{aliases:?}");
    fixture.end().await;
}

#[tokio::test]
async fn a_task_is_in_each_of_its_networks_and_advertises_the_one_that_it_prefers() {
    let (front, back) = (Network::make(2), Network::make(3));
    let fixture = Fixture::start().await;
    let networks = format!(
        r#"
        networks {{
          name         = "{}"
          aliases      = ["www"]
          ipv4_address = "{}"
        }}
        networks {{
          name         = "{}"
          aliases      = ["db"]
          ipv4_address = "{}"
          ipv6_address = "{}"
        }}
        "#,
        front.name, front.ipv4, back.name, back.ipv4, back.ipv6
    );
    let task = fixture.job("web", "exec sleep 1000", &format!("network_mode = \"\"\n{networks}")).await;
    let preferred = format!("network_mode = \"{}\"\nadvertise_network = \"{}\"", back.name, back.name);
    let other = fixture.job("other", "ping -c 1 www && ping -c 1 db && echo both; exec sleep 1000", &preferred).await;

    let started = fixture.run(&task).await;
    assert_eq!(started.address, front.ipv4);
    let preferring = fixture.run(&other).await;

    let inside = inspect(&task.container())["NetworkSettings"]["Networks"].clone();
    assert_eq!(inside[&front.name]["IPAddress"], front.ipv4);
    assert_eq!(
        (&inside[&back.name]["IPAddress"], &inside[&back.name]["GlobalIPv6Address"]),
        (&json!(back.ipv4), &json!(back.ipv6))
    );
    assert!(inside[&back.name]["Aliases"].as_array().unwrap().contains(&json!("db")), "{inside}");
    assert!(preferring.address.starts_with(back.ipv4.trim_end_matches('9')), "{}", preferring.address);
    fixture.end().await;
}

#[tokio::test]
async fn a_task_whose_additional_network_is_missing_leaves_no_container() {
    let network = Network::make(4);
    let fixture = Fixture::start().await;
    let config = format!("network_mode = \"{}\"\nnetworks {{\n  name = \"longshore-test-nowhere\"\n}}", network.name);
    let task = fixture.job("web", "exec sleep 1000", &config).await;

    let rejection = fixture.refused(&task).await.message;

    assert!(rejection.contains("network longshore-test-nowhere not found"), "{rejection}");
    assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &format!("name={}", task.container())]), "");
    fixture.end().await;
}

#[tokio::test]
async fn a_task_joins_the_network_of_another_task_of_its_group_once_that_runs() {
    let fixture = Fixture::start().await;
    let server = fixture.job("server", SERVER, "network_mode = \"bridge\"").await;
    let asks = "until wget -q -O - http://127.0.0.1:8080/index.html; do sleep 0.05; done; exec sleep 1000";
    let mut client = fixture.job("client", asks, "network_mode = \"task:server\"").await;
    client.config.alloc_id = server.config.alloc_id.clone();

    let early = fixture.refused(&client).await;
    fixture.run(&server).await;
    fixture.run(&client).await;

    assert!(early.message.contains("network_mode: the task to join does not run"), "{early}");
    assert_eq!(early.recoverability, Recoverability::Recoverable);
    client.pipes.stdout.wait_for_text("hello\n");
    let mode = inspect(&client.container())["HostConfig"]["NetworkMode"].clone();
    assert!(mode.as_str().unwrap().starts_with("container:"), "{mode}");
    fixture.end().await;
}

#[tokio::test]
async fn a_task_that_joins_a_container_that_has_ended_is_not_reported_as_started() {
    let fixture = Fixture::start().await;
    let ended = fixture.task("ended", "true");
    let started = fixture.run(&ended).await;
    fixture.driver.wait_task(started.id).await.unwrap();
    let config = format!("network_mode = \"container:{}\"", ended.container());
    let task = fixture.job("web", "exec sleep 1000", &config).await;

    let rejection = fixture.refused(&task).await.message;

    let words = ["network", "network namespace"].map(|what| format!("cannot join {what} of a non running container"));
    assert!(words.iter().any(|words| rejection.contains(words)), "{rejection}");
    assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &format!("name={}", task.container())]), "");
    fixture.end().await;
}

#[tokio::test]
async fn a_network_cards_address_arrives_or_the_engine_is_too_old_for_it() {
    let network = Network::make(1);
    let fixture = Fixture::start().await;
    let config = format!("network_mode = \"{}\"\nmac_address = \"02-00-5E-00-53-01\"", network.name);
    let task = fixture.job("web", "ip addr show eth0; exec sleep 1000", &config).await;

    match fixture.attempt(&task).await {
        Ok(_) => task.pipes.stdout.wait_for_text("link/ether 02:00:5e:00:53:01"),
        Err(error) => {
            let expected = "\"specify mac-address per network\" requires API version 1.44, but the Docker daemon API \
                            version is 1.";
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
    fixture.end().await;
}

#[tokio::test]
async fn names_are_resolved_as_the_job_says() {
    let fixture = Fixture::start().await;
    let config = r#"
        network_mode       = "bridge"
        dns_servers        = ["10.1.1.1", "nonsense"]
        dns_search_domains = ["corp"]
        dns_options        = ["ndots:2"]
        extra_hosts        = ["db:10.0.0.9", "six:fd00::9"]
    "#;
    let task = fixture.job("web", "grep -v '^#' /etc/resolv.conf; cat /etc/hosts", config).await;

    let said = fixture.output(&task).await;

    for line in ["nameserver 10.1.1.1", "search corp", "options ndots:2", "10.0.0.9\tdb", "fd00::9\tsix"] {
        assert!(said.lines().any(|said| said == line), "{line:?} is not in {said}");
    }
    assert!(!said.contains("nonsense"), "{said}");
    fixture.end().await;
}

#[tokio::test]
async fn a_task_whose_network_was_taken_away_while_no_driver_looked_ends_and_says_why() {
    let (front, back) = (Network::make(7), Network::make(8));
    let mut fixture = Fixture::start().await;
    let config = format!("network_mode = \"{}\"\nnetworks {{\n  name = \"{}\"\n}}", front.name, back.name);
    let task = fixture.job("web", "exec sleep 1000", &config).await;
    let other = fixture.job("other", "exec sleep 1000", &config).await;
    let started = fixture.run(&task).await;
    let remaining = fixture.run(&other).await;

    fixture.kill_and_start_again().await;
    docker(&["network", "disconnect", &back.name, &task.container()]);
    fixture.driver.recover_task(started.handle).await.unwrap();
    fixture.driver.recover_task(remaining.handle).await.unwrap();
    let ended = tokio::time::timeout(*DEADLINE, fixture.driver.wait_task(started.id)).await.unwrap().unwrap();

    let name = &back.name;
    assert_eq!(ended.error, format!("the container was disconnected from the network {name:?} while the task ran"));
    assert_eq!(inspect(&other.container())["State"]["Running"], true);
    fixture.end().await;
}

#[tokio::test]
async fn files_of_names_that_were_lost_are_written_again_when_a_task_is_recovered() {
    let mut fixture = Fixture::start().await;
    let config = "network_mode = \"\"\nextra_hosts = [\"db:10.0.0.9\"]";
    let mut task = fixture.job("web", "exec sleep 1000", config).await;
    task.config.dns = Some(Dns { servers: vec!["10.1.1.1".into()], ..Dns::default() });
    task.config.network_isolation = Some(NetworkIsolation {
        mode: NetworkMode::Group,
        hosts: Some(HostsEntry { hostname: "web-1".into(), address: "10.0.0.1".into() }),
        ..NetworkIsolation::default()
    });
    let files = [task.alloc_dir().join("hosts"), task.alloc_dir().join("web/resolv.conf")];
    let read = || files.clone().map(|file| std::fs::read_to_string(file).unwrap());
    let started = fixture.run(&task).await;
    let before = read();
    for file in &files {
        std::fs::remove_file(file).unwrap();
    }

    fixture.kill_and_start_again().await;
    fixture.driver.recover_task(started.handle).await.unwrap();

    assert!(before[0].contains("10.0.0.1 web-1\n10.0.0.9 db\n"), "{before:?}");
    assert_eq!(read(), before);
    fixture.end().await;
}

#[tokio::test]
async fn a_task_whose_network_is_taken_away_ends_and_says_why_and_does_not_start_without_it() {
    let (front, back) = (Network::make(5), Network::make(6));
    let fixture = Fixture::start().await;
    let config = format!("network_mode = \"{}\"\nnetworks {{\n  name = \"{}\"\n}}", front.name, back.name);
    let task = fixture.job("web", "exec sleep 1000", &config).await;
    let mut events = fixture.driver.task_events().await.unwrap();
    let started = fixture.run(&task).await;
    let connect = |how: &str, network: &Network| docker(&["network", how, &network.name, &task.container()]);

    // One that is connected again, as for another address, remains.
    connect("disconnect", &back);
    connect("connect", &back);
    let said = "the container is connected to its networks again";
    until("the driver has looked", || fixture.log.lock().unwrap().iter().any(|line| line.contains(said))).await;
    assert_eq!(inspect(&task.container())["State"]["Running"], true);
    connect("disconnect", &front);
    docker(&["network", "rm", &front.name]);
    let ended = fixture.driver.wait_task(started.id.clone()).await.unwrap();
    fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();
    let rejection = fixture.refused(&task).await;

    let name = &front.name;
    assert_eq!(ended.error, format!("the container was disconnected from the network {name:?} while the task ran"));
    let message = format!("The task is stopped: its container was disconnected from the network {name:?}");
    event_that(&mut events, &message, |event| event.message == message).await;
    assert!(rejection.message.contains(&format!("network {name} not found")), "{rejection}");
    assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &format!("name={}", task.container())]), "");
    fixture.end().await;
}
