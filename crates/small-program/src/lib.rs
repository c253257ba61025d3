//! For build scripts: compiles `crates/pause` or `crates/log-holder` into a small static program.

#![expect(clippy::print_stdout, reason = "a build script talks to cargo on its standard output")]

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    process::Command,
};

/// Compiles the program of a crate next to the one being built, without shared libraries. Returns its path.
///
/// It uses a target directory of its own, because the outer build holds the lock of its target directory.
///
/// # Errors
///
/// If it does not compile, or if this is not called by a build script.
pub fn compile(program: &str) -> Result<PathBuf, Box<dyn Error>> {
    let crates = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    for input in [program, "pause/small.ld", "../Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", crates.join(input).display());
    }
    let target_dir = PathBuf::from(env::var("OUT_DIR")?).join("target");
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
        .args(["build", "--locked", "--quiet", "--bins", "-p", program, "--profile", "small"])
        .args(["--target", &target, "--target-dir"])
        .arg(&target_dir)
        .current_dir(&crates)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // The outer build may be Clippy's, which would lint the program.
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    if !cargo.status()?.success() {
        return Err(
            "a small program of the driver's does not compile\nhint: it is linked with the static C library, which is in \
                    the packages libc6-dev (Debian) and glibc-static (Fedora)"
                .into(),
        );
    }
    Ok(target_dir.join(target).join("small").join(program))
}
