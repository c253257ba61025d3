//! Compiles the small program of `crates/log-holder`.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let program = small_program::compile("log-holder")?;
    fs::copy(program, PathBuf::from(env::var("OUT_DIR")?).join("log-holder"))?;
    Ok(())
}
