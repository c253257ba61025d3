//! How far a pull is, as its task's owner is told from time to time.

use std::{collections::HashMap, time::Duration};

use crate::engine::PullProgress;

/// What is known of a pull's layers.
#[derive(Debug, Default)]
pub(super) struct Progress {
    layers: HashMap<String, Layer>,
}

#[derive(Clone, Copy, Debug)]
struct Layer {
    stage: Stage,
    current: i64,
    total: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Pulling,
    Done,
}

impl Progress {
    /// Takes in one of the engine's messages; what is of no layer is passed over.
    pub(super) fn take(&mut self, message: &PullProgress) {
        let (Some(id), Some(status)) = (&message.id, &message.status) else { return };
        let stage = match status.as_str() {
            "Pulling fs layer" | "Waiting" => Stage::Waiting,
            "Downloading" | "Verifying Checksum" => Stage::Pulling,
            "Download complete" | "Extracting" | "Pull complete" | "Already exists" => Stage::Done,
            _ => return,
        };
        let layer = self.layers.entry(id.clone()).or_insert(Layer { stage, current: 0, total: 0 });
        layer.stage = stage;
        match (status.as_str(), &message.progress_detail) {
            ("Downloading", Some(detail)) => {
                layer.current = detail.current.unwrap_or_default();
                layer.total = detail.total.unwrap_or_default();
            }
            ("Download complete", _) => layer.current = layer.total,
            _ => {}
        }
    }

    /// The state in one line, `elapsed` after the pull's begin.
    pub(super) fn describe(&self, elapsed: Duration) -> String {
        if self.layers.is_empty() {
            return "No progress".to_owned();
        }
        let count = |stage| self.layers.values().filter(|layer| layer.stage == stage).count();
        let current: i64 = self.layers.values().map(|layer| layer.current).sum();
        let total: i64 = self.layers.values().map(|layer| layer.total).sum();
        let pulled = format!(
            "Pulled {}/{} ({}/{}) layers: {} waiting/{} pulling",
            count(Stage::Done),
            self.layers.len(),
            size(current),
            size(total),
            count(Stage::Waiting),
            count(Stage::Pulling),
        );
        let elapsed = i128::try_from(elapsed.as_nanos()).unwrap_or(i128::MAX);
        let remaining = elapsed.checked_div(current.into()).map_or(0, |each| each * i128::from(total) - elapsed);
        match u64::try_from(remaining) {
            Ok(remaining @ 1..) => {
                let remaining = Duration::from_nanos(remaining).as_secs_f64();
                format!("{pulled} - est {remaining:.1}s remaining")
            }
            _ => pulled,
        }
    }
}

/// Bytes with four significant digits, as Docker's own tools show them.
fn size(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut amount = bytes.max(0) as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    let whole_digits = format!("{amount:.0}").len();
    let number = format!("{amount:.*}", 4_usize.saturating_sub(whole_digits));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::ProgressDetail;

    fn message(id: &str, status: &str, bytes: Option<(i64, i64)>) -> PullProgress {
        PullProgress {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: bytes
                .map(|(current, total)| ProgressDetail { current: Some(current), total: Some(total) }),
            ..PullProgress::default()
        }
    }

    #[test]
    fn before_the_first_layer_there_is_no_progress() {
        let mut progress = Progress::default();
        progress.take(&message("1.36", "Pulling from library/busybox", None));

        assert_eq!(progress.describe(Duration::from_secs(3)), "No progress");
    }

    #[test]
    fn layers_are_counted_by_stage_and_bytes_summed() {
        let mut progress = Progress::default();
        for message in [
            message("a", "Pulling fs layer", None),
            message("b", "Pulling fs layer", None),
            message("c", "Already exists", None),
            message("d", "Downloading", Some((900, 1024))),
            message("b", "Downloading", Some((806_809, 2 * 806_809))),
            message("d", "Download complete", None),
        ] {
            progress.take(&message);
        }

        let expected = "Pulled 2/4 (788.9KiB/1.54MiB) layers: 1 waiting/1 pulling - est 10.0s remaining";
        assert_eq!(progress.describe(Duration::from_secs(10)), expected);
    }

    #[test]
    fn a_finished_pull_has_nothing_remaining() {
        let mut progress = Progress::default();
        progress.take(&message("a", "Downloading", Some((100, 100))));
        progress.take(&message("a", "Pull complete", None));

        assert_eq!(progress.describe(Duration::from_secs(5)), "Pulled 1/1 (100B/100B) layers: 0 waiting/0 pulling");
    }

    #[test]
    fn sizes_have_four_digits_and_no_idle_zeros() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1536, "1.5KiB"),
            (807_834, "788.9KiB"),
            (1_048_575, "1024KiB"),
            (1_234_567, "1.177MiB"),
            (5_368_709_120, "5GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
