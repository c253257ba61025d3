//! A job file from disk, with what it may read of this machine.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use nomad_jobspec::{Files, Inputs, Parsed, Source, parse};

use crate::{Failure, bounded::bounded, cli::JobFile};

/// The longest text that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// A job file as it was read.
pub(crate) struct Loaded {
    pub(crate) source: Source,
    /// The file's directory: where this process is, of one from standard input.
    pub(crate) directory: Arc<Path>,
    pub(crate) parsed: Parsed,
    /// What the job may know of the environment of the person who runs it.
    pub(crate) passed: BTreeMap<String, String>,
}

/// Reads and parses a job file.
pub(crate) fn load(file: &JobFile) -> Result<Loaded, Failure> {
    let source = if file.is_stdin() { read_stdin()? } else { read(&file.path)? };
    let variables = file.variables.iter().map(|variable| match variable.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.to_owned())),
        None => Err(Failure::Usage(format!("-var needs NAME=VALUE, this is {variable:?}"))),
    });
    let from_environment = std::env::vars().filter_map(|(name, value)| {
        let name = name.strip_prefix("NOMAD_VAR_")?;
        let declared = source.text.contains(&format!("variable \"{name}\""));
        declared.then(|| (name.to_owned(), value))
    });
    let variables = from_environment.map(Ok).chain(variables).collect::<Result<Vec<_>, _>>()?;
    let variable_files = file.variable_files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let directory = file.path.parent().unwrap_or(Path::new(""));
    let (stranger, files) = (source.clone(), Disk(directory.to_owned()));
    let answer = bounded(move || {
        let uuid = || uuid::Uuid::new_v4().to_string();
        parse(&stranger, &Inputs { variables, variable_files, files: &files, uuid: &uuid })
    });
    let answer = answer.map_err(|why| Failure::Usage(format!("{}: {why}", source.name)))?;
    let parsed = answer.map_err(|diagnostics| Failure::Usage(diagnostics.to_string()))?;
    let directory = std::env::current_dir().map(|here| here.join(directory));
    let directory = directory.map_err(|error| Failure::Usage(format!("failed to find the job file: {error}")))?;
    let environment = file.environment.iter().map(|variable| of_environment(variable)).collect::<Result<_, _>>()?;
    Ok(Loaded { source, directory: directory.into(), parsed, passed: environment })
}

/// A job file that a test has as a text.
#[cfg(test)]
pub(crate) fn from_text(text: &str) -> Loaded {
    let source = Source { name: "test.nomad.hcl".into(), text: text.to_owned() };
    let files = Disk(PathBuf::new());
    let uuid = || uuid::Uuid::new_v4().to_string();
    let inputs = Inputs { variables: Vec::new(), variable_files: Vec::new(), files: &files, uuid: &uuid };
    let parsed = parse(&source, &inputs).unwrap_or_else(|problems| panic!("{problems}"));
    Loaded { source, directory: Path::new("/").into(), parsed, passed: BTreeMap::new() }
}

/// A variable of `-env`: with its value, or with that of this process.
fn of_environment(variable: &str) -> Result<(String, String), Failure> {
    if let Some((name, value)) = variable.split_once('=') {
        return Ok((name.to_owned(), value.to_owned()));
    }
    match std::env::var(variable) {
        Ok(value) => Ok((variable.to_owned(), value)),
        Err(error) => {
            Err(Failure::Usage(format!("-env {variable}: {error}\nhint: give it a value with -env {variable}=...")))
        }
    }
}

/// Reads a text file, or what comes through a pipe.
pub(crate) fn read(path: &Path) -> Result<Source, Failure> {
    let text = File::open(path).and_then(text);
    let text = text.map_err(|error| Failure::Usage(format!("failed to read {}: {error}", path.display())))?;
    Ok(Source { name: path.display().to_string(), text })
}

fn read_stdin() -> Result<Source, Failure> {
    let text = text(std::io::stdin());
    let text = text.map_err(|error| Failure::Usage(format!("failed to read standard input: {error}")))?;
    Ok(Source { name: "standard input".to_owned(), text })
}

/// All of it, up to the longest text.
fn text(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    if source.take(LONGEST + 1).read_to_string(&mut text)? as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {} MiB", LONGEST >> 20)));
    }
    Ok(text)
}

/// Files relative to the job file's directory.
struct Disk(PathBuf);

impl Files for Disk {
    fn read(&self, path: &Path) -> Result<String, String> {
        let path = self.0.join(path);
        // Looked at before it is opened: a pipe would block, a device has no end.
        let opened = std::fs::metadata(&path).and_then(|found| {
            if found.is_file() { File::open(&path) } else { Err(io::Error::other("it is no regular file")) }
        });
        opened.and_then(text).map_err(|error| format!("failed to read {}: {error}", path.display()))
    }

    fn list(&self, directory: &Path, pattern: &str) -> Result<Vec<String>, String> {
        let root = self.0.join(directory);
        let mut found = Vec::new();
        walk(&root, &root, pattern, &mut found)
            .map_err(|error| format!("failed to list {}: {error}", root.display()))?;
        found.sort();
        Ok(found)
    }
}

fn walk(root: &Path, directory: &Path, pattern: &str, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(root, &entry.path(), pattern, found)?;
        } else if let Ok(relative) = entry.path().strip_prefix(root)
            && let Some(relative) = relative.to_str()
            && matches(pattern.as_bytes(), relative.as_bytes())
        {
            found.push(relative.to_owned());
        }
    }
    Ok(())
}

/// `*` and `?` match within a directory, `**` matches any directories.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        ([b'*', b'*', b'/', rest @ ..], _) => {
            matches(rest, path)
                || path.iter().position(|b| *b == b'/').is_some_and(|at| matches(pattern, &path[at + 1..]))
        }
        ([b'*', b'*', rest @ ..], _) => (0..=path.len()).any(|at| matches(rest, &path[at..])),
        ([b'*', rest @ ..], _) => {
            let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
            (0..=end).any(|at| matches(rest, &path[at..]))
        }
        ([b'?', rest @ ..], [byte, after @ ..]) if *byte != b'/' => matches(rest, after),
        ([wanted, rest @ ..], [byte, after @ ..]) if wanted == byte => matches(rest, after),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_within_directories_or_through_them() {
        let holds = |pattern: &str, path: &str| matches(pattern.as_bytes(), path.as_bytes());
        assert!(holds("*.txt", "a.txt") && !holds("*.txt", "d/a.txt"));
        assert!(holds("**/*.txt", "a.txt") && holds("**/*.txt", "d/e/a.txt"));
        assert!(holds("d/?.txt", "d/a.txt") && !holds("d/?.txt", "d/ab.txt"));
    }
}
