//! Any bytes as an archive of images: an answer or a refusal, in bounded time and memory. What is read is sent, and what is sent
//! is read again as the same.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use nomad_driver_docker::{
    image::{Bounds, Checked, Flaw},
    reference::ImageReference,
};

/// Bytes that an archive may take.
const MOST: u64 = 16 << 20;

fn read(archive: &[u8]) -> Result<Checked, Flaw> {
    let wanted = ImageReference::parse("app:1").expect("a name");
    Checked::read(archive, &wanted, &Bounds::new(MOST, Arc::default()))
}

fuzz_target!(|archive: &[u8]| {
    if let Ok(checked) = read(archive) {
        let mut sent = Vec::new();
        checked.send(archive, &mut sent, &Bounds::new(MOST, Arc::default())).expect("what was read is sent");
        assert_eq!(read(&sent).expect("what was sent is read"), checked);
    }
});
