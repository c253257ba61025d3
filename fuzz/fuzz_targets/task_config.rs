//! Any bytes as a task's configuration: a create request, or a refusal in words.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| longshore_fuzz::request(bytes));
