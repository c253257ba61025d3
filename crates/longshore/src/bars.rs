//! How far pulls are, drawn on a terminal: a bar for each layer, under the image's name.

use std::{collections::BTreeMap, sync::LazyLock};

use image_service::{Layer, LayerState, Pull};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{
    text::harmless,
    verbosity::{Verbosity, is_at_least},
};

/// All that is drawn, below what was written.
static DRAWN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Of an image's name, and of a layer that has no bar.
static WORDS: LazyLock<ProgressStyle> = LazyLock::new(|| style("{prefix} {msg}"));
static BAR: LazyLock<ProgressStyle> = LazyLock::new(|| style("{prefix} {msg} [{bar:30}] {bytes}/{total_bytes}"));

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a constant that a test draws").progress_chars("=> ")
}

/// Whether standard error is a terminal, on which bars can be drawn, and notes are wanted.
pub(crate) fn are_shown() -> bool {
    is_at_least(Verbosity::Normal) && !DRAWN.is_hidden()
}

/// Writes, with no bar in between.
pub(crate) fn aside<T>(write: impl FnOnce() -> T) -> T {
    DRAWN.suspend(write)
}

/// The bars of pulls, by image. Dropping them wipes them off.
#[derive(Default)]
pub(crate) struct Bars(BTreeMap<String, OfImage>);

struct OfImage {
    head: ProgressBar,
    layers: BTreeMap<String, ProgressBar>,
}

impl Bars {
    /// Draws these pulls and no others.
    pub(crate) fn show_only(&mut self, pulls: &[Pull]) {
        self.0.retain(|image, _| pulls.iter().any(|pull| pull.image == *image));
        for pull in pulls {
            self.show(pull);
        }
    }

    /// Draws a pull.
    pub(crate) fn show(&mut self, pull: &Pull) {
        let drawn = self.0.entry(pull.image.clone()).or_insert_with(|| {
            let head = DRAWN.add(ProgressBar::no_length().with_style(WORDS.clone()));
            head.set_prefix(harmless(&pull.image));
            OfImage { head, layers: BTreeMap::new() }
        });
        drawn.head.set_message(match pull.place {
            Some(place) => format!("queued at position {place}"),
            None => "pulling".to_owned(),
        });
        for layer in &pull.layers {
            let last = drawn.layers.values().last().unwrap_or(&drawn.head).clone();
            let bar = drawn.layers.entry(layer.id.clone()).or_insert_with(|| {
                let bar = DRAWN.insert_after(&last, ProgressBar::no_length().with_style(WORDS.clone()));
                bar.set_prefix(format!("  {}", harmless(&layer.id)));
                bar
            });
            draw(bar, layer);
        }
    }

    /// Wipes off an image's bars.
    pub(crate) fn end(&mut self, image: &str) {
        self.0.remove(image);
    }
}

impl Drop for OfImage {
    fn drop(&mut self) {
        for bar in self.layers.values().chain([&self.head]) {
            bar.finish_and_clear();
            DRAWN.remove(bar);
        }
    }
}

fn draw(bar: &ProgressBar, layer: &Layer) {
    bar.set_message(word(layer.state));
    let downloads = matches!(layer.state, LayerState::Downloading | LayerState::Retrying) && layer.total > 0;
    bar.set_style(if downloads { BAR.clone() } else { WORDS.clone() });
    if downloads {
        bar.set_length(layer.total);
        bar.set_position(layer.bytes);
    }
}

/// A layer's state, for people.
pub(crate) fn word(state: LayerState) -> &'static str {
    match state {
        LayerState::Waiting => "waiting",
        LayerState::Downloading => "downloading",
        LayerState::Retrying => "trying again",
        LayerState::Verifying => "verifying",
        LayerState::Downloaded => "downloaded",
        LayerState::Extracting => "extracting",
        LayerState::Done => "pulled",
        LayerState::Present => "already present",
    }
}
