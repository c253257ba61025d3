//! How long a start takes beside the same work done by hand on the engine's socket, in turns.

use std::time::Duration;

use bench::{median_ms, post, row};
use conformance::{Fixture, LABEL, docker::docker, image, text};
use nomad_plugin::driver::Force;
use tokio::time::Instant;

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
            let _absent = fixture.driver.destroy_task(started.id, Force::Yes).await;
        }
        let (bare, ours) = (median_ms(bare), median_ms(ours));
        row(network, &format!("{bare:.0}, {ours:.0}, {:.2}", ours / bare));
    }
    fixture.end().await;
}

/// Create and start alone, over the engine's socket.
fn by_hand(network: &str) -> Duration {
    let body = format!(
        r#"{{"Image":"{}","Cmd":["sleep","1000"],"Labels":{{"{LABEL}":"bench"}},"HostConfig":{{"NetworkMode":"{network}"}}}}"#,
        image()
    );
    let begin = Instant::now();
    let created = post("/containers/create", &body);
    let id = created.split("\"Id\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned();
    post(&format!("/containers/{id}/start"), "");
    let took = begin.elapsed();
    docker(&["rm", "--force", &id]);
    took
}
