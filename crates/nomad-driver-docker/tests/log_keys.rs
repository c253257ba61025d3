//! Checks the keys of the driver's log lines: one word per thing, listed in one table of docs/operating.md.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};

/// The crates whose log lines the driver writes.
const CRATES: [&str; 7] =
    ["background", "beneath", "engine", "go-plugin", "logs", "nomad-driver-docker", "nomad-plugin"];

/// The macros that write a line or open a span.
const MACROS: [&str; 10] =
    ["trace", "debug", "info", "warn", "error", "trace_span", "debug_span", "info_span", "warn_span", "error_span"];

#[test]
fn each_key_of_a_log_line_has_its_row_and_each_row_its_key() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut used = BTreeSet::new();
    for name in CRATES {
        for path in sources(&root.join("crates").join(name).join("src")) {
            keys(fs::read_to_string(&path).unwrap().parse().unwrap(), &mut used);
        }
    }

    let page = fs::read_to_string(root.join("docs/operating.md")).unwrap();
    let table = page.split("| key | what |").nth(1).expect("a table of keys");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let listed: BTreeSet<String> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split(',')).map(|key| key.trim().replace('`', "")).collect();

    assert_eq!(used, listed, "the keys in the code, and those in docs/operating.md");
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" && name != "gen" {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" {
            found.push(path);
        }
    }
    found
}

/// The keys of each call of a `tracing` macro, except in test modules.
fn keys(tokens: TokenStream, used: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token.to_string() == text);
    let mut index = 0;
    while index < tokens.len() {
        if is(index, "mod") && is(index + 1, "tests") {
            index += 3;
            continue;
        }
        if let TokenTree::Ident(name) = &tokens[index]
            && MACROS.iter().any(|known| name == known)
            && is(index + 1, "!")
            && let Some(TokenTree::Group(group)) = tokens.get(index + 2)
        {
            used.extend(keys_of_call(group.stream()));
        } else if let TokenTree::Group(group) = &tokens[index] {
            keys(group.stream(), used);
        }
        index += 1;
    }
}

/// The names before an equals sign, or alone, in comma-separated arguments.
fn keys_of_call(arguments: TokenStream) -> Vec<String> {
    let mut parts = vec![Vec::new()];
    for token in arguments {
        match &token {
            TokenTree::Punct(comma) if comma.as_char() == ',' => parts.push(Vec::new()),
            _ => parts.last_mut().unwrap().push(token),
        }
    }
    let key = |part: &Vec<TokenTree>| {
        let part: Vec<&TokenTree> = part
            .iter()
            .skip_while(|token| matches!(token, TokenTree::Punct(sigil) if ['%', '?'].contains(&sigil.as_char())))
            .collect();
        let is_key = part.len() == 1 || part.get(1).is_some_and(|token| token.to_string() == "=");
        match part.first() {
            Some(TokenTree::Ident(name)) if is_key => Some(name.to_string()),
            _ => None,
        }
    };
    parts.iter().filter_map(key).collect()
}
