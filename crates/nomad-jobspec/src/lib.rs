//! A Nomad job file to a [`Job`](job::Job).
//!
//! Pure: no files, no environment, no clock. What a job file may ask of the world ([`Files`], variables, unique ids)
//! is handed in.

pub mod body;
pub mod decode;
mod diagnostics;
mod evaluate;
mod interpolate;
pub mod job;

use std::path::Path;

pub use diagnostics::{Diagnostics, Problem};
pub use evaluate::Variable;
pub use interpolate::interpolate;

/// A file's name and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// For messages.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Files that a job file may read.
pub trait Files {
    /// A file's content, by a path relative to the job file or absolute.
    fn read(&self, path: &Path) -> Result<String, String>;

    /// The paths of files below `directory` that match a pattern, relative to it.
    fn list(&self, directory: &Path, pattern: &str) -> Result<Vec<String>, String>;
}

/// What a job file gets from outside.
pub struct Inputs<'a> {
    /// Values of variables: HCL text, or plain text for variables of type string.
    pub variables: Vec<(String, String)>,
    /// Files of `name = value` lines.
    pub variable_files: Vec<Source>,
    /// Files that it may read.
    pub files: &'a dyn Files,
    /// Makes a unique id.
    pub uuid: &'a dyn Fn() -> String,
}

/// A job and what of its file has no meaning on one machine.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The job.
    pub job: job::Job,
    /// Names of blocks that only a cluster honours, each once, in order of appearance.
    pub ignored: Vec<String>,
}

/// Parses a job file.
pub fn parse(source: &Source, inputs: &Inputs<'_>) -> Result<Parsed, Diagnostics> {
    let (body, problems) = evaluate::evaluate(source, inputs)?;
    job::read(&body, source, problems)
}

/// Parses and evaluates text that stands alone, such as a plugin's `config` block: no variables, no files.
pub fn parse_config(source: &Source) -> Result<body::Body, Diagnostics> {
    struct NoFiles;
    impl Files for NoFiles {
        fn read(&self, path: &Path) -> Result<String, String> {
            Err(format!("{} cannot be read here", path.display()))
        }
        fn list(&self, directory: &Path, _: &str) -> Result<Vec<String>, String> {
            Err(format!("{} cannot be listed here", directory.display()))
        }
    }
    let uuid = || String::new();
    let inputs = Inputs { variables: Vec::new(), variable_files: Vec::new(), files: &NoFiles, uuid: &uuid };
    let (body, problems) = evaluate::evaluate(source, &inputs)?;
    if problems.is_empty() { Ok(body) } else { Err(Diagnostics::new(source, problems)) }
}
