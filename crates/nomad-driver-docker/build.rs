//! Compiles the two small programs that the driver brings along, without shared libraries: that of `crates/pause`, of which it
//! makes the built-in pause image, and that of `crates/log-holder`.

use std::{
    env,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

fn main() -> Result<(), Box<dyn Error>> {
    let crates = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    for input in ["pause", "log-holder", "../Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", crates.join(input).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let programs = compile(&crates, &out.join("target"))?;
    fs::copy(programs.join("log-holder"), out.join("log-holder"))?;
    let program = fs::read(programs.join("pause"))?;
    let name = format!("longshore/pause:{}", env::var("CARGO_PKG_VERSION")?);
    let (id, layer, archive) = image(&name, &program)?;
    println!("cargo::rustc-env=PAUSE_IMAGE_ID={id}");
    println!("cargo::rustc-env=PAUSE_IMAGE_LAYER={layer}");
    fs::write(out.join("pause.tar"), archive)?;
    Ok(())
}

/// Compiles the programs, in a target directory of its own: that of the build that runs this is locked. Returns where they
/// are.
fn compile(crates: &Path, target_dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let target = env::var("TARGET")?;
    let flags = [
        "-Ctarget-feature=+crt-static",
        "-Crelocation-model=static",
        "-Clink-arg=-Wl,--build-id=none",
        "-Clink-arg=-Wl,-z,noseparate-code",
        &format!("-Clink-arg=-Wl,-T,{}", crates.join("pause/small.ld").display()),
    ];
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .args(["build", "--locked", "--quiet", "--bins", "-p", "pause", "-p", "log-holder", "--profile", "small"])
        .args(["--target", &target, "--target-dir"])
        .arg(target_dir)
        .current_dir(crates)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // Clippy would lint it where the outer build is its.
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    if !cargo.status()?.success() {
        return Err(
            "the driver's small programs do not compile\nhint: they are linked with the static C library, which is in \
                    the packages libc6-dev (Debian) and glibc-static (Fedora)"
                .into(),
        );
    }
    Ok(target_dir.join(target).join("small"))
}

/// An archive as `docker save` writes it, of an image with the one program, behind the image's id and its layer's. The same
/// program makes the same bytes.
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
