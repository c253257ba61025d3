//! `docs/tutorial.md`, followed step by step as a reader does: its files are written, its commands run, its outputs come.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use conformance::{docker::docker, driver_binary, image};
use regex::Regex;
use wait::{DEADLINE, blocking::look_within};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tutorial.md");

/// A fenced block of the page.
struct Block {
    language: String,
    text: String,
    /// The last name of a job file in backticks before it.
    file: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut file) = (Vec::new(), String::new());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let text = text.join("\n") + "\n";
            blocks.push(Block { language: language.to_owned(), text, file: file.clone() });
        } else if let Some(name) = line.split('`').find(|word| word.contains(".nomad.hcl")) {
            name.clone_into(&mut file);
        }
    }
    blocks
}

/// A line without what differs from run to run: ids, numbers and the width of columns.
fn shape(line: &str) -> String {
    let ids =
        Regex::new(r"(?-u:\b)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?-u:\b)[0-9a-f]{8}(?-u:\b)|[0-9]+(\.[0-9]+)?")
            .unwrap();
    ids.replace_all(line, "N").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the lines come in this order, others in between.
fn has_lines(output: &str, wanted: &str) -> bool {
    let mut output = output.lines().map(shape);
    wanted.lines().map(shape).all(|line| output.any(|other| other == line))
}

/// The reader's directory, and the jobs that are left in it when a step fails.
struct Reader(tempfile::TempDir);

impl Reader {
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let programs = Path::new(env!("CARGO_BIN_EXE_longshore")).parent().unwrap();
        let mut path = OsString::from(programs);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let mut command = Command::new(program);
        command.args(args).current_dir(self.0.path().join("work")).stdin(Stdio::null());
        command.env("PATH", path).env("LONGSHORE_DATA_DIR", self.0.path().join("data"));
        command.env("LONGSHORE_PLUGIN", driver_binary()).env("NOMAD_VAR_image", image());
        command
    }

    /// Whether a step succeeds, and what a terminal shows of it.
    fn step(&self, commands: &str) -> (bool, String) {
        let output = self.command("sh", &["-ec", &format!("exec 2>&1\n{commands}")]).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _nothing_runs = self.command("longshore", &["stop", "hello"]).output();
    }
}

#[test]
fn a_reader_who_follows_the_tutorial_sees_what_it_shows_and_leaves_nothing() {
    let reader = Reader(tempfile::Builder::new().prefix("longshore-tutorial-").tempdir().unwrap());
    fs::create_dir(reader.0.path().join("work")).unwrap();
    let blocks = blocks(&fs::read_to_string(PAGE).unwrap());
    let mut printed = String::new();

    for (at, Block { language, text, file }) in blocks.iter().enumerate() {
        match language.as_str() {
            "hcl" => fs::write(reader.0.path().join("work").join(file), text).unwrap(),
            "sh" => {
                let shown = blocks.get(at + 1).filter(|next| next.language == "text").map_or("", |next| &next.text);
                let is_right = |(success, output): &(bool, String)| *success && has_lines(output, shown);
                // A reader who only looks, looks again when it is not there yet.
                let only_looks = ["curl", "longshore status", "longshore logs", "longshore events"];
                let only_looks = only_looks.iter().any(|command| text.starts_with(command));
                let time = if only_looks { *DEADLINE } else { Duration::ZERO };
                let mut seen = (false, String::new());
                let _came = look_within(time, || {
                    seen = reader.step(text);
                    is_right(&seen).then_some(())
                });
                let output = &seen.1;
                assert!(is_right(&seen), "{text}\nprints\n{output}\nand not\n{shown}");
                printed.push_str(output);
            }
            "text" => assert_eq!(blocks[at - 1].language, "sh", "an output without its command: {text}"),
            other => panic!("no step is written in {other:?}"),
        }
    }

    let id = Regex::new(r"(?m)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$").unwrap();
    let allocations: Vec<&str> = id.find_iter(&printed).map(|id| id.as_str()).collect();
    assert_eq!(allocations.len(), 2, "{printed}");
    for allocation in allocations {
        let label = format!("label=com.hashicorp.nomad.alloc_id={allocation}");
        assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &label]).trim(), "");
        assert!(!reader.0.path().join("data/alloc").join(allocation).exists());
    }
}
