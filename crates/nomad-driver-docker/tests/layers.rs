//! Checks which module of the driver imports which: each may import only those in lower layers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, File, Item};

/// From top to bottom. Modules on one line do not know each other.
const LAYERS: &[&[&str]] = &[
    // One line per RPC.
    &["driver"],
    &["garbage"],
    &["fingerprint", "reaper"],
    &["task"],
    &["session"],
    // Does not know tasks.
    &["network"],
    // Reads and writes the host before a request.
    &["preparation"],
    // Converts a task to a request, without side effects.
    &["container"],
    &["image", "exec", "stats", "process"],
    &["settings"],
    &["config"],
    &["machine", "made", "node"],
    // This kernel.
    &["host"],
    // The ground layer.
    &["alloc_paths", "checkpoint", "events", "glob", "labels", "names", "reference"],
];

#[test]
fn each_module_imports_only_what_stands_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let layers: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(layer, modules)| modules.iter().map(move |module| (*module, layer)))
        .collect();
    let mut wrong = Vec::new();

    for path in sources(&root) {
        let name = path.strip_prefix(&root).unwrap().iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if matches!(name, "lib" | "main") {
            continue;
        }
        let Some(layer) = layers.get(name) else {
            wrong.push(format!("{}: {name} has no layer", path.display()));
            continue;
        };
        for imported in imports(&path).into_iter().filter(|imported| imported != name) {
            if layers.get(imported.as_str()).is_none_or(|below| below <= layer) {
                wrong.push(format!("{}: {name} imports {imported}, which does not stand below it", path.display()));
            }
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The crate's source files, except those that only tests have.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" && name != "snapshots" {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && name != "tests.rs"
            && name != "arbitrary.rs"
        {
            found.push(path);
        }
    }
    found
}

/// The modules of the crate that a file imports, apart from its tests.
fn imports(path: &Path) -> Vec<String> {
    let File { items, .. } = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
    let of_code = items.into_iter().filter(|item| !is_of_tests(item));
    let mut found = Vec::new();
    for item in of_code {
        named(item.into_token_stream(), &mut found);
    }
    found
}

fn is_of_tests(item: &Item) -> bool {
    let is_test = |attribute: &Attribute| attribute.path().is_ident("cfg") && text(attribute).contains("test");
    match item {
        Item::Mod(module) => module.attrs.iter().any(is_test),
        Item::Fn(function) => function.attrs.iter().any(is_test),
        Item::Impl(block) => block.attrs.iter().any(is_test),
        Item::Use(import) => import.attrs.iter().any(is_test),
        _ => false,
    }
}

fn text(attribute: &Attribute) -> String {
    attribute.to_token_stream().to_string()
}

/// What follows each `crate::`: a name, or the names of a group.
fn named(tokens: TokenStream, found: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let is_crate = matches!(token, TokenTree::Ident(name) if name == "crate");
        match (is_crate, tokens.get(index + 3)) {
            (true, Some(TokenTree::Ident(name))) => found.push(name.to_string()),
            (true, Some(TokenTree::Group(group))) if group.delimiter() == Delimiter::Brace => {
                let mut is_first = true;
                for inner in group.stream() {
                    match inner {
                        TokenTree::Ident(name) if is_first => {
                            found.push(name.to_string());
                            is_first = false;
                        }
                        TokenTree::Punct(comma) if comma.as_char() == ',' => is_first = true,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        if let TokenTree::Group(group) = token {
            named(group.stream(), found);
        }
    }
}
