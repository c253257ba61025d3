//! Checks the pages: each link has a target, and each file and each test that a page names exists.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The pages at the root and in `docs`, by path.
fn pages() -> BTreeMap<PathBuf, String> {
    let directories = [root(), root().join("docs"), root().join(".github")];
    let files =
        directories.iter().flat_map(|directory| fs::read_dir(directory).unwrap()).map(|entry| entry.unwrap().path());
    let pages = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The anchors of a page, derived from its headings as the forges do.
fn anchors(page: &str) -> BTreeSet<String> {
    let is_pinned = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    let anchor = |heading: &str| heading.to_lowercase().chars().filter(is_pinned).collect::<String>().replace(' ', "-");
    page.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

#[test]
fn each_link_leads_to_a_file_and_a_heading_that_exist() {
    let pages = pages();
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut broken = Vec::new();

    for (path, text) in &pages {
        for target in link.captures_iter(text).map(|found| found.get(1).unwrap().as_str()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let Ok(file) = file.canonicalize() else {
                broken.push(format!("{}: no file {target}", path.display()));
                continue;
            };
            if !anchor.is_empty() && !pages.get(&file).is_some_and(|page| anchors(page).contains(anchor)) {
                broken.push(format!("{}: no heading {target}", path.display()));
            }
        }
    }

    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn each_file_of_the_project_that_a_page_names_exists() {
    let named = Regex::new(r"`((?:crates|conformance|bench|fuzz|tools|examples|docs)/[\w./-]+)`").unwrap();
    let mut missing = Vec::new();

    for (path, page) in pages() {
        for name in named.captures_iter(&page).map(|found| found.get(1).unwrap().as_str()) {
            if !root().join(name).exists() {
                missing.push(format!("{}: no file {name}", path.display()));
            }
        }
    }

    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// All Rust and Go sources below a directory.
fn sources(directory: &Path, into: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().unwrap_or_default();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, into);
        } else if extension == "rs" || extension == "go" {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn each_test_that_a_page_names_exists() {
    let mut text = String::new();
    for directory in ["crates", "conformance", "bench", "fuzz"] {
        sources(&root().join(directory), &mut text);
    }
    let declared = Regex::new(r"(?:fn|func) (\w+)").unwrap();
    let declared: BTreeSet<&str> = declared.captures_iter(&text).map(|found| found.get(1).unwrap().as_str()).collect();
    // A sentence of five words or more, or the beginning of one.
    let named = Regex::new(r"`((?:Test[A-Z]\w+)|(?:[a-z0-9]+_){4,}[a-z0-9]*)(\.\.\.)?`").unwrap();
    let mut missing = Vec::new();

    for (path, page) in pages() {
        for found in named.captures_iter(&page) {
            let name = found.get(1).unwrap().as_str();
            let is_it = |test: &&str| if found.get(2).is_some() { test.starts_with(name) } else { *test == name };
            // Options have long names as well.
            if !declared.iter().any(is_it) && !text.contains(&format!("\"{name}\"")) {
                missing.push(format!("{}: no test {name}", path.display()));
            }
        }
    }

    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
