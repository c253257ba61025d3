//! How much of 100 MB that a task writes at full speed, with the default logging, is collected: ten runs on an idle
//! machine, ten with all processors busy.

use std::process::{Child, Command, Stdio};

use bench::row;
use conformance::{
    Fixture,
    lines::{Judgement, flood, judge, last_number},
};
use tokio::time::Instant;

const RUNS: u32 = 10;
const WIDTH: usize = 100;
const LINES: u64 = 1_000_000;

#[tokio::main]
async fn main() {
    row("run", "lines missing, doubled, out of order, foreign; MB/s until all was collected");
    row("---", "---");
    for busy in [false, true] {
        let mut loops = if busy { busy_loops() } else { Vec::new() };
        for run in 1..=RUNS {
            let (judgement, rate) = collect().await;
            let Judgement { missing, doubled, out_of_order, foreign } = judgement;
            let load = if busy { "all processors busy" } else { "idle machine" };
            row(&format!("{load}, {run}"), &format!("{missing}, {doubled}, {out_of_order}, {foreign}; {rate:.1}"));
        }
        for busy_loop in &mut loops {
            let _ended_already = busy_loop.kill();
            let _reaped = busy_loop.wait();
        }
    }
}

fn busy_loops() -> Vec<Child> {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let spin = || Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn();
    (0..count).filter_map(|_| spin().ok()).collect()
}

async fn collect() -> (Judgement, f64) {
    let fixture = Fixture::start().await;
    let task = fixture.task("flood", &flood("a", LINES, WIDTH));
    let begin = Instant::now();
    let started = fixture.run(&task).await;
    let _exit_code_is_not_the_question = fixture.driver.wait_task(started.id).await;
    let end = |bytes: &[u8]| last_number(&bytes[bytes.len().saturating_sub(4 * WIDTH)..], "a") == LINES;
    task.pipes.stdout.wait_for("the last line", end);
    let took = begin.elapsed();
    let bytes = task.pipes.stdout.bytes();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = bytes.len() as f64 / 1e6 / took.as_secs_f64();
    fixture.end().await;
    (judge(&bytes, "a", LINES), rate)
}
