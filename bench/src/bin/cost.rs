//! What the driver's process costs: memory, threads and descriptors at 0, 10, 50 tasks that run and log.

use std::fs;

use bench::{children, pss, row};
use conformance::{Fixture, Task, lines::last_number};

#[tokio::main]
async fn main() {
    row("tasks", "PSS of the driver and its children (MiB), processes, threads, descriptors");
    row("---", "---");
    let fixture = Fixture::start().await;
    let pid = fixture.driver.reattach_config().pid;
    let mut tasks: Vec<Task> = Vec::new();
    for count in [0, 10, 50] {
        while tasks.len() < count {
            let script = "n=0; while :; do n=$((n+1)); echo \"a $n\"; sleep 1; done";
            let task = fixture.task(&format!("t{}", tasks.len()), script);
            fixture.run(&task).await;
            tasks.push(task);
        }
        for task in &tasks {
            let before = last_number(&task.pipes.stdout.bytes(), "a");
            task.pipes.stdout.wait_for("another line", |bytes| last_number(bytes, "a") > before);
        }
        row(&count.to_string(), &cost(pid));
    }
    fixture.end().await;
}

fn cost(pid: i32) -> String {
    let entries = |of: &str| fs::read_dir(format!("/proc/{pid}/{of}")).map_or(0, Iterator::count);
    let children = children(pid);
    let memory = pss(&pid.to_string()) + children.iter().map(|child| pss(child)).sum::<f64>();
    format!("{memory:.1}, {}, {}, {}", 1 + children.len(), entries("task"), entries("fd"))
}
