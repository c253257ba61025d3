//! The progress of a pull, layer by layer.

use std::time::Duration;

use image_service::{Layer, LayerState};

use engine::PullMessage;

/// The known layers of a pull, in the order in which the engine first named them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// One entry per layer.
    pub layers: Vec<Layer>,
}

/// The state of a layer, from the engine's status word.
fn state_of(status: &str) -> Option<LayerState> {
    Some(match status {
        "Pulling fs layer" | "Waiting" => LayerState::Waiting,
        "Downloading" => LayerState::Downloading,
        "Verifying Checksum" => LayerState::Verifying,
        "Download complete" => LayerState::Downloaded,
        "Extracting" => LayerState::Extracting,
        "Pull complete" => LayerState::Done,
        "Already exists" => LayerState::Present,
        retrying if retrying.starts_with("Retrying in ") => LayerState::Retrying,
        _ => return None,
    })
}

fn is_waiting(state: LayerState) -> bool {
    state == LayerState::Waiting
}

fn is_on_its_way(state: LayerState) -> bool {
    matches!(state, LayerState::Downloading | LayerState::Retrying | LayerState::Verifying)
}

impl Progress {
    /// Applies one of the engine's messages; messages about no layer are ignored.
    pub(super) fn take(&mut self, message: &PullMessage) {
        let id = &message.id;
        let Some(state) = state_of(&message.status).filter(|_| !id.is_empty()) else { return };
        let index = self.layers.iter().position(|layer| layer.id == *id).unwrap_or_else(|| {
            self.layers.push(Layer { id: id.clone(), state, bytes: 0, total: 0 });
            self.layers.len() - 1
        });
        let layer = &mut self.layers[index];
        layer.state = state;
        match (state, message.bytes) {
            (LayerState::Downloading, Some(bytes)) => (layer.bytes, layer.total) = bytes,
            (LayerState::Downloaded, _) => layer.bytes = layer.total,
            _ => {}
        }
    }

    /// How many bytes were downloaded.
    pub(super) fn downloaded(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes).sum()
    }

    /// The progress in one line, `elapsed` after the start of the pull.
    pub(super) fn describe(&self, elapsed: Duration) -> String {
        if self.layers.is_empty() {
            return "No progress".to_owned();
        }
        let count = |is: fn(LayerState) -> bool| self.layers.iter().filter(|layer| is(layer.state)).count();
        let (waiting, pulling) = (count(is_waiting), count(is_on_its_way));
        let bytes = self.downloaded();
        let total: u64 = self.layers.iter().map(|layer| layer.total).sum();
        let pulled = format!(
            "Pulled {}/{} ({}/{}) layers: {waiting} waiting/{pulling} pulling",
            self.layers.len() - waiting - pulling,
            self.layers.len(),
            size(bytes),
            size(total),
        );
        let elapsed = i128::try_from(elapsed.as_nanos()).unwrap_or(i128::MAX);
        let remaining = elapsed.checked_div(bytes.into()).map_or(0, |each| each * i128::from(total) - elapsed);
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
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut amount = bytes as f64;
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

    fn message(id: &str, status: &str, bytes: Option<(u64, u64)>) -> PullMessage {
        PullMessage { id: id.to_owned(), status: status.to_owned(), bytes }
    }

    #[test]
    fn before_the_first_layer_there_is_no_progress() {
        let mut progress = Progress::default();
        progress.take(&message("1.36", "Pulling from library/busybox", None));

        assert_eq!(progress.describe(Duration::from_secs(3)), "No progress");
    }

    #[test]
    fn layers_are_counted_by_state_and_bytes_summed() {
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
    fn each_layer_has_its_state_and_bytes_in_the_order_of_the_image() {
        let mut progress = Progress::default();
        for message in [
            message("b", "Pulling fs layer", None),
            message("a", "Already exists", None),
            message("c", "Downloading", Some((5, 0))),
            message("b", "Downloading", Some((10, 20))),
            message("c", "Retrying in 5 seconds", None),
            message("b", "Extracting", Some((3, 20))),
        ] {
            progress.take(&message);
        }

        let layer = |id: &str, state, bytes, total| Layer { id: id.to_owned(), state, bytes, total };
        let expected = [
            layer("b", LayerState::Extracting, 10, 20),
            layer("a", LayerState::Present, 0, 0),
            layer("c", LayerState::Retrying, 5, 0),
        ];
        assert_eq!(progress.layers, expected);
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
