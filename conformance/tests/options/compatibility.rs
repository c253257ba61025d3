//! `docs/compatibility.md` has a row for every option, with a test that exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use conformance::Fixture;
use nomad_plugin::hclspec::Spec;

struct Row {
    is: String,
    meaning: String,
    test: String,
}

/// The rows below a heading, by option.
fn rows(page: &str, heading: &str) -> BTreeMap<String, Row> {
    let below = page.split_once(heading).unwrap_or_else(|| panic!("no heading {heading:?}")).1;
    let table =
        below.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    let mut rows = BTreeMap::new();
    for line in table {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(|cell| cell.trim_matches([' ', '|'])).collect();
        let [options, is, meaning, test] = cells[..] else { panic!("no row of four cells: {line}") };
        for option in options.split(", ") {
            let test = test.trim_matches('`').to_owned();
            let row = Row { is: is.to_owned(), meaning: meaning.to_owned(), test };
            let twice = rows.insert(option.trim_matches('`').to_owned(), row).is_some();
            assert!(!twice, "{option} has two rows");
        }
    }
    rows
}

/// The options of a schema: `name` or `block.name`.
fn options(spec: &Spec, prefix: &str) -> BTreeSet<String> {
    let named = |name: &str| BTreeSet::from([format!("{prefix}{name}")]);
    match spec {
        Spec::Object(children) => children.values().flat_map(|child| options(child, prefix)).collect(),
        Spec::Default { primary, .. } => options(primary, prefix),
        Spec::Attr { name, .. } | Spec::BlockAttrs { name, .. } => named(name),
        // The same body as that of `mount`.
        Spec::BlockList { name, .. } if name == "mounts" => named(name),
        Spec::Block { name, nested, .. } | Spec::BlockList { name, nested, .. } => {
            options(nested, &format!("{prefix}{name}."))
        }
        other => panic!("no schema of ours has {other:?}"),
    }
}

/// All source text of the tests.
fn sources() -> String {
    fn collect(directory: &Path, into: &mut String) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                collect(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut text = String::new();
    collect(&root.join("conformance/tests"), &mut text);
    collect(&root.join("crates/nomad-driver-docker"), &mut text);
    text
}

#[tokio::test]
async fn every_option_has_its_row_and_every_row_its_option_and_test() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let text = fs::read_to_string(path).unwrap();
    let sources = sources();
    let fixture = Fixture::start().await;
    let plugin = options(&fixture.driver.config_schema().await.unwrap(), "");
    let task = options(&fixture.driver.task_config_schema().await.unwrap(), "");

    for (heading, options) in [("### The plugin", plugin), ("### A task", task)] {
        let rows = rows(&text, heading);
        assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), options, "{heading}");
        for (option, Row { is, meaning, test }) in rows {
            assert!(["same", "better", "differs", "new"].contains(&is.as_str()), "{option} is {is:?}");
            assert!(!meaning.is_empty(), "{option} has no meaning");
            assert!(sources.contains(&format!("fn {test}(")), "{option}: there is no test {test:?}");
        }
    }
    fixture.end().await;
}
