//! `docs/messages.md` lists exactly the texts that an operator may meet.
//!
//! A text is a string literal in the sources of a program: an error, a warning, a task event, or a reason that becomes part of
//! one. The first cell of a row has its texts, each in backticks; the words in braces may differ from those in the code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Expr, ExprCall, ExprMethodCall, ImplItemFn, ItemFn, ItemMod, LitStr, Macro, Meta,
    visit::{self, Visit},
};

/// Crates that are not part of either program, and `nomad-jobspec`, whose errors point into the job file.
const LEFT_OUT: [&str; 6] = ["fake-engine", "log-holder", "nomad-jobspec", "pause", "small-program", "wait"];

/// Docker's messages that the programs compare with, and what `longshore` prints of a job when nothing is wrong.
const NO_MESSAGES: [&str; 18] = [
    "Allocation = {} Name = {} Status = {}",
    "Already exists",
    "Download complete",
    "ID = {} Status = {}",
    "Job validation successful",
    "Loaded image ID:",
    "Loaded image:",
    "No images",
    "No jobs",
    "Pull complete",
    "Pulling fs layer",
    "Retrying in",
    "Used by",
    "Verifying Checksum",
    "address already in use",
    "configured logging driver does not support reading",
    "port is already allocated",
    "{} {}: CPU {} %, memory {} (anonymous {}, cache {})",
];

/// A string literal: its normal form, the text itself, and its line.
type Text = (String, String, usize);

/// The texts of one file.
#[derive(Default)]
struct Texts {
    found: Vec<Text>,
    /// Modules that are only compiled for tests.
    test_modules: Vec<String>,
}

impl Texts {
    /// Collects a text that has three words, or two with a value or a capital letter, or that is an error or a warning by its
    /// place.
    fn note(&mut self, text: &str, line: usize, is_message: bool) {
        let normal = normal(text);
        let is_word = |word: &&str| word.chars().filter(|letter| letter.is_alphabetic()).count() > 1;
        let words = normal.replace("{}", " ").split([' ', '-', '/', '=']).filter(is_word).count();
        let is_title = words == 2 && normal.starts_with(char::is_uppercase);
        let is_text = is_title || words > 2 || words == 2 && normal.contains("{}");
        let is_text = is_text && normal.contains(' ') || is_message && words > 0;
        // A file's content, a schema's default, or a pattern.
        let is_code = normal.starts_with(['[', '#']) || normal.starts_with("{ ") || normal.contains(['\\', '^']);
        if is_text && !is_code && !NO_MESSAGES.contains(&normal.as_str()) {
            let text = text.replace(":?}", "}").split_whitespace().collect::<Vec<_>>().join(" ");
            self.found.push((normal, text, line));
        }
    }

    fn note_tokens(&mut self, tokens: TokenStream, is_message: bool) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.note_tokens(group.stream(), is_message),
                TokenTree::Literal(literal) => {
                    if let Ok(text) = syn::parse_str::<LitStr>(&literal.to_string()) {
                        self.note(&text.value(), literal.span().start().line, is_message);
                    }
                }
                _ => {}
            }
        }
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        Meta::Path(path) => path.segments.last().is_some_and(|last| last.ident == "test"),
        Meta::NameValue(_) => false,
    })
}

impl Visit<'_> for Texts {
    fn visit_item_mod(&mut self, module: &ItemMod) {
        if is_for_tests(&module.attrs) {
            self.test_modules.push(module.ident.to_string());
        } else {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &ItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    /// Among attributes, only `#[error("...")]` has texts; documentation has none.
    fn visit_attribute(&mut self, attribute: &Attribute) {
        if let Meta::List(list) = &attribute.meta
            && list.path.is_ident("error")
        {
            self.note_tokens(list.tokens.clone(), true);
        }
    }

    /// The steps at which tests end the driver have names of their own.
    fn visit_expr_call(&mut self, call: &ExprCall) {
        let is_step = |function: &Expr| match function {
            Expr::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "reached"),
            _ => false,
        };
        if !is_step(&call.func) {
            visit::visit_expr_call(self, call);
        }
    }

    fn visit_lit_str(&mut self, text: &LitStr) {
        self.note(&text.value(), text.span().start().line, false);
    }

    fn visit_macro(&mut self, call: &Macro) {
        let name = call.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        match name.as_str() {
            "assert" | "debug" | "debug_assert" | "format_description" | "id" | "info" | "macro_rules" | "panic"
            | "thread_local" | "trace" | "unreachable" => {}
            _ => self.note_tokens(call.tokens.clone(), name == "warn" || name == "error"),
        }
    }

    fn visit_expr_method_call(&mut self, call: &ExprMethodCall) {
        if call.method == "expect" {
            self.visit_expr(&call.receiver);
        } else {
            visit::visit_expr_method_call(self, call);
        }
    }
}

/// The text on one line, with `{}` for each value and without quotes around values.
fn normal(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        out.push_str(before);
        rest = if brace.starts_with("{{") || brace.starts_with("}}") {
            out.push_str(&brace[..1]);
            &brace[2..]
        } else {
            out.push_str("{}");
            brace.split_once('}').map_or("", |(_, rest)| rest)
        };
    }
    out.push_str(rest);
    out.replace("\"{}\"", "{}").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The code in backticks of a cell.
fn code(cell: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = cell;
    while let Some(at) = rest.find('`') {
        let fence = rest[at..].chars().take_while(|letter| *letter == '`').count();
        let fence = &rest[at..at + fence];
        let Some((text, after)) = rest[at + fence.len()..].split_once(fence) else {
            panic!("an open backtick: {cell}")
        };
        found.push(normal(&text.replace("\\|", "|")));
        rest = after;
    }
    found
}

fn sources(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match path.is_dir() {
            true if !["gen", "tests"].contains(&name) => sources(&path, into),
            false if path.extension().is_some_and(|extension| extension == "rs") && name != "tests.rs" => {
                into.push(path);
            }
            _ => {}
        }
    }
}

#[test]
fn each_text_has_its_row_and_each_row_its_text() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        let entry = entry.unwrap();
        if !LEFT_OUT.contains(&entry.file_name().to_str().unwrap()) {
            sources(&entry.path().join("src"), &mut files);
        }
    }
    let mut found: BTreeMap<PathBuf, Vec<Text>> = BTreeMap::new();
    let mut of_tests = BTreeSet::new();
    for path in files {
        let mut texts = Texts::default();
        texts.visit_file(&syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap());
        let below = if path.ends_with("lib.rs") || path.ends_with("main.rs") {
            path.with_file_name("")
        } else {
            path.with_extension("")
        };
        of_tests.extend(texts.test_modules.iter().map(|module| below.join(module).with_extension("rs")));
        found.insert(path, texts.found);
    }
    found.retain(|path, _| !of_tests.iter().any(|test| path == test || path.starts_with(test.with_extension(""))));
    let page = fs::read_to_string(root.join("docs/messages.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let listed: BTreeSet<String> = rows.flat_map(|row| code(row.split(" | ").next().unwrap())).collect();

    let texts: BTreeSet<&String> = found.values().flatten().map(|(text, ..)| text).collect();
    let mut wrong = Vec::new();
    for (path, texts) in &found {
        for (_, text, line) in texts.iter().filter(|(normal, ..)| !listed.contains(normal)) {
            let place = path.strip_prefix(&root).unwrap().display();
            let fence = if text.contains('`') { "``" } else { "`" };
            let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
            wrong.push(format!("no row for the text of {place}:{line}\n| {fence}{space}{text}{space}{fence} | | |"));
        }
    }
    let unsaid = listed.iter().filter(|row| !texts.contains(row));
    wrong.extend(unsaid.map(|row| format!("no text for the row\n| `{row}`")));
    assert!(wrong.is_empty(), "docs/messages.md is not what the programs say\n{}", wrong.join("\n"));
}
