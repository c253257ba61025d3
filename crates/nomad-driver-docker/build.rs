//! Compiles the small program of `crates/pause`, and builds the built-in pause image from it.

use std::{env, error::Error, fs, io, path::PathBuf};

use sha2::{Digest, Sha256};

const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

fn main() -> Result<(), Box<dyn Error>> {
    let program = fs::read(small_program::compile("pause")?)?;
    let name = format!("longshore/pause:{}", env::var("CARGO_PKG_VERSION")?);
    let (id, layer, archive) = image(&name, &program)?;
    println!("cargo::rustc-env=PAUSE_IMAGE_ID={id}");
    println!("cargo::rustc-env=PAUSE_IMAGE_LAYER={layer}");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("pause.tar"), archive)?;
    Ok(())
}

/// Builds an archive, in the format of `docker save`, of an image with this single program. Returns the image's id, its layer's
/// id and the archive. The same program always yields the same bytes.
fn image(name: &str, program: &[u8]) -> Result<(String, String, Vec<u8>), Box<dyn Error>> {
    let architecture = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    };
    let layer = tar(&[("pause", 0o755, program)])?;
    let layer_id = format!("sha256:{}", digest(&layer));
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"Entrypoint":["/pause"]}},"rootfs":{{"type":"layers","diff_ids":["{layer_id}"]}}}}"#,
    );
    let config_digest = digest(config.as_bytes());
    let config_name = format!("{config_digest}.json");
    let manifest = format!(r#"[{{"Config":"{config_name}","RepoTags":["{name}"],"Layers":["layer.tar"]}}]"#);
    let archive = tar(&[
        (&config_name, 0o644, config.as_bytes()),
        ("layer.tar", 0o644, &layer),
        ("manifest.json", 0o644, manifest.as_bytes()),
    ])?;
    Ok((format!("sha256:{config_digest}"), layer_id, archive))
}

fn tar(files: &[(&str, u32, &[u8])]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        archive.append_data(&mut header, name, *content)?;
    }
    archive.into_inner()
}

/// In hexadecimal.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| DIGITS[usize::from(digit)])
        .collect()
}
