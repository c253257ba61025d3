//! Images that nobody uses, removed before they are due: a person asked for it.

use std::collections::BTreeSet;

use tokio::{sync::watch, time::Instant};

use super::{Book, Image, Leases, Removal};
use crate::image::{ledger::ImageLedger, replaced};
use engine::Engine;

impl Leases {
    /// Takes over the images that earlier processes recorded. They count as idle from now on, until their tasks are recovered.
    pub(in crate::image) fn adopt(&self, ledger: ImageLedger) {
        let mut book = self.book();
        for (id, names) in ledger.read() {
            let image = book.images.entry(id).or_default();
            image.names.extend(names);
            if image.leases == 0 {
                image.idle.get_or_insert_with(Instant::now);
            }
        }
        for (id, names) in replaced::read(&replaced::beside(ledger.path())) {
            book.images.entry(id).and_modify(|image| image.replaced.extend(names));
        }
        book.attempts.adopt(ledger.path());
        book.ledger = Some(ledger);
        book.persist();
        book.persist_attempts();
    }

    /// The images that this driver pulled and would remove later, each with the names under which it was pulled.
    pub(in crate::image) fn unused(&self) -> Vec<(String, BTreeSet<String>)> {
        let book = self.book();
        let unused = book.images.iter().filter(|(_, image)| book.is_unused(image));
        unused.map(|(id, image)| (id.clone(), image.names.clone())).collect()
    }

    /// Removes an unused image now; the error is a text for people.
    pub(in crate::image) async fn remove_unused(&self, engine: &Engine, id: &str) -> Result<(), String> {
        let removal = self.book().begin_early_removal(id).ok_or("a task uses it by now")?;
        self.carry_out(engine, removal).await
    }
}

impl Book {
    fn is_unused(&self, image: &Image) -> bool {
        self.due(image).is_some()
    }

    fn begin_early_removal(&mut self, id: &str) -> Option<Removal> {
        self.images.get(id).filter(|image| self.is_unused(image))?;
        let image = self.images.get_mut(id)?;
        let (ended, removal) = watch::channel(());
        image.removal = Some(removal);
        Some((id.to_owned(), image.names.clone(), ended))
    }
}
