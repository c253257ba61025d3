//! `fingerprint`: what the driver says of this machine.

use serde_json::{Map, Value, json};

use crate::{
    Failure,
    cli::Options,
    driver::{Launch, Launcher, healthy},
    node::text_of,
    report,
};

pub(super) async fn fingerprint(options: &Options) -> Result<(), Failure> {
    let driver = Launcher::new(options)?.launch().await?;
    let fingerprint = healthy(&driver).await;
    driver.kill().await;
    let fingerprint = fingerprint?;
    if options.json {
        let attributes: Map<String, Value> =
            fingerprint.attributes.iter().map(|(name, value)| (name.clone(), text_of(value).into())).collect();
        report::json(&json!({ "attributes": attributes, "health": fingerprint.description }));
        return Ok(());
    }
    for (name, value) in &fingerprint.attributes {
        report::line(&format!("{name} = {}", text_of(value)));
    }
    report::line(&format!("health = {}", fingerprint.description));
    Ok(())
}
