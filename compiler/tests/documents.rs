//! The documents name files that exist, and commands that run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

use std::collections::BTreeSet;
use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};

/// The folders at the top of the repository, as paths in documents begin with them.
const FOLDERS: [&str; 10] = [
    "cli/",
    "compiler/",
    "docs/",
    "examples/",
    "fuzz/",
    "python/",
    "runtime/",
    "scripts/",
    "snapshots/",
    "workbench/",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The chapters of the book, and its list of them.
fn pages() -> Vec<PathBuf> {
    let all = read_dir(root().join("docs/src")).unwrap();
    let pages = all.map(|entry| entry.unwrap().path());
    pages.filter(|path| path.extension().is_some_and(|e| e == "md")).collect()
}

/// The paths in backticks that begin with one of these folders. What follows a path is not part of it.
fn quoted<'t>(text: &'t str, folders: &[&str]) -> Vec<&'t str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let words = quoted.filter_map(|quoted| quoted.split_whitespace().next());
    let paths = words.filter(|word| folders.iter().any(|folder| word.starts_with(folder)));
    paths.filter(|path| !path.contains('*')).collect()
}

/// The files that a document links to.
fn linked(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).filter_map(|target| target.split('#').next())
}

fn assert_there(document: &Path, folder: &Path, path: &str) {
    let document = document.display();
    assert!(folder.join(path).exists(), "{document} names {path}, which is not there");
}

/// Checks a document's links, and the paths that it names from the top of the repository.
fn check(document: &Path) {
    let text = read_to_string(document).unwrap();
    for path in quoted(&text, &FOLDERS) {
        assert_there(document, &root(), path);
    }
    for path in linked(&text).filter(|path| !path.is_empty()) {
        assert_there(document, document.parent().unwrap(), path);
    }
}

#[test]
fn files_named_in_the_architecture_exist() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = folder.join("ARCHITECTURE.md");
    let text = read_to_string(&document).unwrap();
    let paths = quoted(&text, &["src/", "tests/", "../"]);
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths {
        assert_there(&document, folder, path);
    }
    check(&document);
}

#[test]
fn files_named_in_the_readme_exist() {
    let document = root().join("README.md");
    check(&document);
    for path in ["examples/digits/mnist_resnest.onnx", "examples/digits/images/00000.png"] {
        assert_there(&document, &root(), path);
    }
}

#[test]
fn files_named_for_contributors_exist() {
    let document = root().join("CONTRIBUTING.md");
    let text = read_to_string(&document).unwrap();
    assert!(quoted(&text, &FOLDERS).len() > 20, "{text}");
    check(&document);
}

#[test]
fn files_named_for_security_exist() {
    check(&root().join("SECURITY.md"));
}

#[test]
fn files_named_in_the_book_exist() {
    let pages = pages();
    assert!(pages.len() > 6, "{pages:?}");
    for page in pages {
        check(&page);
    }
}

/// The blocks of a text in Markdown that are fenced as text.
fn fenced(markdown: &str) -> Vec<&str> {
    let blocks = markdown.split("```text\n").skip(1);
    blocks.filter_map(|block| Some(block.split_once("```")?.0)).collect()
}

/// The grammar, and the example before it, stand where the parser is and in the book.
#[test]
fn the_book_has_the_grammar_of_the_parser() {
    let page = read_to_string(root().join("docs/src/ir.md")).unwrap();
    let source = read_to_string(root().join("compiler/src/ir/text/mod.rs")).unwrap();
    let comment = source.lines().filter_map(|line| line.strip_prefix("//!"));
    let comment: Vec<&str> = comment.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let comment = comment.join("\n");
    let (in_book, in_source) = (fenced(&page), fenced(&comment));
    assert_eq!(in_source.len(), 2, "{in_source:?}");
    for block in in_source {
        assert!(in_book.contains(&block), "the book has not:\n{block}");
    }
}

/// Every operator of the graph has its row, and no row is of an operator that there is not.
#[test]
fn the_book_names_every_operator_of_the_graph() {
    let page = read_to_string(root().join("docs/src/ir.md")).unwrap();
    let first = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let mut named: Vec<&str> = first.flat_map(|names| names.split('`').step_by(2)).collect();
    named.retain(|name| !name.is_empty());
    let mut there: Vec<&str> = cardinal_compiler::ir::text::mnemonics().collect();
    named.sort_unstable();
    there.sort_unstable();
    assert_eq!(named, there);
}

#[test]
fn the_book_names_every_function_of_c() {
    let page = read_to_string(root().join("docs/src/c.md")).unwrap();
    let header = root().join("runtime/c/include/cardinal_runtime.h");
    let header = read_to_string(header).unwrap();
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("cardinal_")).map(str::to_owned).collect()
    };
    let mut there = words(&header);
    // The library's own name.
    there.remove("cardinal_runtime");
    let mut named = words(&page);
    named.remove("cardinal_runtime");
    assert_eq!(named, there);
}

/// In the order in which they run.
#[test]
fn the_book_names_every_pass() {
    let page = read_to_string(root().join("docs/src/passes.md")).unwrap();
    let headings = page.lines().filter_map(|line| line.strip_prefix("## "));
    let named: Vec<&str> = headings.flat_map(|heading| heading.split(", ")).collect();
    let there: Vec<&str> = cardinal_compiler::passes::TABLE.iter().map(|pass| pass.name).collect();
    assert_eq!(named, there);
}

#[test]
fn the_book_lists_every_chapter() {
    let summary = root().join("docs/src/SUMMARY.md");
    let text = read_to_string(&summary).unwrap();
    let listed: Vec<&str> = linked(&text).collect();
    for page in pages().into_iter().filter(|page| page.file_name() != summary.file_name()) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(listed.contains(&name), "{name} is not listed in SUMMARY.md");
    }
}

/// The README's first command names no binary, and there are two.
#[test]
fn the_command_is_what_cargo_runs() {
    let manifest = read_to_string(root().join("cli/Cargo.toml")).unwrap();
    assert!(manifest.lines().any(|line| line == "default-run = \"cardinal\""), "{manifest}");
}
