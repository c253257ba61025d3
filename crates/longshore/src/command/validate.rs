//! `validate`: a job file against the driver's schema.

use crate::{
    Failure,
    cli::{JobFile, Options},
    driver::{Launch, Launcher},
    job_file::{self, Loaded},
    node::Node,
    report, validation,
};

pub(super) async fn validate(file: &JobFile, options: &Options) -> Result<(), Failure> {
    let loaded = job_file::load(file)?;
    let driver = Launcher::new(options)?.launch().await?;
    let schema = driver.task_config_schema().await;
    driver.kill().await;
    let schema = schema.map_err(|error| Failure::Engine(error.to_string()))?;
    let Loaded { source, directory, parsed, passed } = loaded;
    validation::validate(&parsed.job, &source, &directory, &schema, &Node::without_driver().with(&passed))?;
    for name in &parsed.ignored {
        report::note(&format!("`{name}` is ignored on one machine"));
    }
    report::line("Job validation successful");
    Ok(())
}
