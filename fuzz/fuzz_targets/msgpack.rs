//! Any bytes to the decoder of both dialects; what it reads is written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nomad_plugin::msgpack::{decode, encode, encode_go};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = decode(bytes) {
        // Compared as bytes: a fraction that is no number is unlike itself.
        for written in [encode(&value), encode_go(&value)] {
            let read = decode(&written).expect("what was written is read");
            assert_eq!(encode(&read), encode(&value));
        }
    }
});
