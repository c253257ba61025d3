//! How long a start takes beside the same work done by hand on the engine's command line, in turns.

use std::time::{Duration, Instant};

use bench::{median_ms, row};
use conformance::{Fixture, docker::docker, image, text};
use nomad_plugin::driver::Force;

const RUNS: usize = 15;

#[tokio::main]
async fn main() {
    let fixture = Fixture::start().await;
    row("StartTask, network none or bridge, image present", "bare engine (ms), driver (ms), ratio");
    row("---", "---");
    for network in ["none", "bridge"] {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for run in 0..RUNS {
            bare.push(by_hand(network));
            let task = fixture.task(&format!("t{run}"), "exec sleep 1000").option("network_mode", text(network));
            let begin = Instant::now();
            let started = fixture.run(&task).await;
            ours.push(begin.elapsed());
            let _gone = fixture.driver.destroy_task(started.id, Force::Yes).await;
        }
        let (bare, ours) = (median_ms(bare), median_ms(ours));
        row(network, &format!("{bare:.0}, {ours:.0}, {:.2}", ours / bare));
    }
    fixture.end().await;
}

/// Create and start alone, over the engine's socket.
fn by_hand(network: &str) -> Duration {
    let curl = |method: &str, path: &str, body: &str| {
        let output = std::process::Command::new("curl")
            .args(["-s", "--unix-socket", "/var/run/docker.sock", "-X", method, "-H", "Content-Type: application/json"])
            .args(["-d", body, &format!("http://docker{path}")])
            .output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    };
    let body = format!(
        r#"{{"Image":"{}","Cmd":["sleep","1000"],"Labels":{{"longshore.test":"bench"}},"HostConfig":{{"NetworkMode":"{network}"}}}}"#,
        image()
    );
    let begin = Instant::now();
    let created = curl("POST", "/containers/create", &body);
    let id = created.split('"').nth(3).unwrap_or_default().to_owned();
    curl("POST", &format!("/containers/{id}/start"), "");
    let took = begin.elapsed();
    docker(&["rm", "--force", &id]);
    took
}
