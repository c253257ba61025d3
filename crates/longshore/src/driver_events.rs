//! What a driver reports without being asked: events of tasks, which are recorded, and pulls, which are drawn.

use std::sync::Arc;

use futures_util::StreamExt;
use image_service::ImageClient;

use crate::{bars::Bars, driver::Driver, record::Record};

/// Passes the driver's events on, also those of the next process.
pub(crate) async fn record_events(driver: Driver, record: Arc<Record>) {
    loop {
        let client = driver.current();
        if let Ok(mut events) = client.task_events().await {
            while let Some(Ok(event)) = events.next().await {
                let notes: Vec<String> =
                    event.annotations.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
                record.event(event.alloc_id.as_str(), &event.task_name, "Driver", &format!("{}{notes}", event.message));
            }
        }
        client.exited().await;
        driver.renewed(&client).await;
    }
}

/// Draws the driver's pulls, also those of the next process. Where there is no terminal, events report them.
pub(crate) async fn draw_pulls(driver: Driver) {
    loop {
        let client = driver.current();
        let mut bars = Bars::default();
        if let Ok(mut pulls) = ImageClient::new(client.channel()).watch().await {
            while let Some(Ok(pulls)) = pulls.next().await {
                bars.show_only(&pulls);
            }
        }
        drop(bars);
        client.exited().await;
        driver.renewed(&client).await;
    }
}
