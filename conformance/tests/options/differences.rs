//! Where drivers are meant to differ.

use conformance::{
    Fixture,
    peer::{DIFFERENCES, Outcome},
};
use nomad_plugin::client::ClientError;

#[tokio::test]
async fn what_is_meant_to_differ_differs_as_the_table_says() {
    let fixture = Fixture::start().await;

    for (index, difference) in DIFFERENCES.iter().enumerate() {
        let task = fixture.job(&format!("web-{index}"), "exec sleep 1000", difference.config).await;
        match (fixture.attempt(&task).await, difference.expected()) {
            (Ok(_), Outcome::Starts) => {}
            (Err(ClientError::Driver(error)), Outcome::Refused(words)) => {
                for words in words {
                    assert!(error.message.contains(words), "{words:?} is not in {:?}", error.message);
                }
            }
            (other, expected) => panic!("{difference:?}: {expected:?}, but {:?}", other.map(|_| "it started")),
        }
    }
    fixture.end().await;
}
