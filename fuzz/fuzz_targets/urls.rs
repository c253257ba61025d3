//! Any text as part of a path of the Engine's API: one segment that means the text, or a refusal.

#![no_main]

use engine::Segment;
use libfuzzer_sys::fuzz_target;

/// A path that a text was put in ends where it did and climbs nowhere, whichever parser reads it.
fn check(before: &str, encoded: &str, text: &str) {
    let address = format!("http://docker{before}{encoded}/json");
    let parsed = url::Url::parse(&address).expect("an address");
    let joined = parsed.join(&format!("{before}{encoded}/json")).expect("an address");
    for url in [parsed, joined] {
        assert_eq!((url.path(), url.query(), url.fragment()), (&*format!("{before}{encoded}/json"), None, None));
    }
    let decoded = percent_encoding::percent_decode_str(encoded).decode_utf8().expect("text");
    assert_eq!(decoded, text);
}

fuzz_target!(|text: &str| {
    match Segment::of(text) {
        Ok(segment) => {
            assert!(!segment.as_str().contains('/'));
            check("/containers/", segment.as_str(), text);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(reference) = Segment::of_reference(text) {
        assert_eq!(reference.as_str().matches('/').count(), text.matches('/').count());
        check("/images/", reference.as_str(), text);
    }
});
