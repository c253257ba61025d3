//! The committed code under `src/gen` is what the `.proto` files generate today.

use std::{fs, path::Path};

#[test]
fn generated_code_matches_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let generated = tempfile::tempdir().unwrap();
    let mut protos: Vec<_> = fs::read_dir(root.join("proto")).unwrap().map(|entry| entry.unwrap().path()).collect();
    protos.sort();
    let descriptors = protox::compile(&protos, [root.join("proto")]).unwrap();
    tonic_prost_build::configure().out_dir(generated.path()).compile_fds(descriptors).unwrap();

    for entry in fs::read_dir(generated.path()).unwrap() {
        let fresh = entry.unwrap().path();
        let committed = root.join("src/gen").join(fresh.file_name().unwrap());
        let text = fs::read_to_string(&fresh).unwrap();
        if std::env::var_os("LONGSHORE_REGENERATE").is_some() {
            fs::write(&committed, &text).unwrap();
        }
        let same = fs::read_to_string(&committed).is_ok_and(|old| old == text);
        assert!(same, "{} is stale: run LONGSHORE_REGENERATE=1 cargo test --test generated", committed.display());
    }
}
