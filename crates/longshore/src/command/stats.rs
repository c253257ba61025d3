//! `stats`: what tasks use.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use nomad_plugin::{client::ClientError, driver::TaskUsage};
use serde_json::json;

use super::target;
use crate::{Failure, cli::TaskOf, data_dir::DataDir, report};

const INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn stats(of: &TaskOf, follow: bool, data: &DataDir, json: bool) -> Result<(), Failure> {
    let job = target::job(&of.target, data)?;
    let found = target::running(&job, of.task(), data).await?;
    let driver = target::driver(&job).await?;
    let mut all = stream::SelectAll::new();
    for found in &found {
        let samples =
            driver.task_stats(found.id(), INTERVAL).await.map_err(|error| Failure::Engine(error.to_string()))?;
        let name = (found.alloc.id.clone(), found.task.to_owned());
        let count = if follow { usize::MAX } else { 1 };
        all.push(samples.take(count).map(move |sample| (name.clone(), sample)).boxed());
    }
    let failed = |error: ClientError| Failure::Engine(error.to_string());
    if follow {
        while let Some(((alloc, task), sample)) = all.next().await {
            print(&alloc, &task, &sample.map_err(failed)?, json);
        }
        return Ok(());
    }
    // One of each, in the order in which the job has them.
    let mut samples = BTreeMap::new();
    while let Some((name, sample)) = all.next().await {
        samples.insert(name, sample.map_err(failed)?);
    }
    for found in &found {
        let name = (found.alloc.id.clone(), found.task.to_owned());
        if let Some(sample) = samples.get(&name) {
            print(&name.0, &name.1, sample, json);
        }
    }
    Ok(())
}

fn print(alloc: &str, task: &str, TaskUsage { cpu, memory, .. }: &TaskUsage, json: bool) {
    if json {
        report::json(&json!({
            "alloc": alloc, "task": task,
            "cpu_percent": cpu.percent, "throttled_periods": cpu.throttled_periods,
            "memory_bytes": memory.usage, "rss_bytes": memory.rss, "cache_bytes": memory.cache,
            "swap_bytes": memory.swap, "max_bytes": memory.max_usage,
        }));
        return;
    }
    let show = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), report::mib);
    report::line(&format!(
        "{} {task}: CPU {:.1} %, memory {} (anonymous {}, cache {})",
        report::short(alloc),
        cpu.percent.unwrap_or_default(),
        show(memory.usage),
        show(memory.rss),
        show(memory.cache),
    ));
}
