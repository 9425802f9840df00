//! Which modules know of which: in no folder do two know of each other, be it through others.
//!
//! What is read are the paths in the code, so this needs no build of the crates that it looks at.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is a panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The sources of each crate, seen from the workspace.
const CRATES: [&str; 5] =
    ["runtime/src", "runtime/c/src", "compiler/src", "cli/src", "workbench/src"];

/// A module: the names on the way to it from the root of its crate.
type Module = Vec<String>;

/// One source file.
struct Source {
    module: Module,
    /// The paths of its own crate that it writes.
    paths: Vec<Module>,
    /// The modules that these lead into.
    names: BTreeSet<Module>,
}

/// The files of a crate, and what each names.
fn sources(root: &Path) -> Vec<Source> {
    let files = files(root);
    let modules: BTreeSet<Module> = files.iter().map(|file| module(root, file)).collect();
    let source = |file: &PathBuf| {
        let (module, text) = (module(root, file), std::fs::read_to_string(file).unwrap());
        let paths = paths(&code(&text), &module);
        let names = paths.iter().map(|path| longest(&modules, path.clone())).collect();
        Source { module, paths, names }
    };
    files.iter().map(source).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push(path);
        }
    }
    all
}

fn module(root: &Path, file: &Path) -> Module {
    let path = file.strip_prefix(root).unwrap().with_extension("");
    let mut module: Module = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    module
}

/// A file without comments, and without the tests at its end, which may know everything.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every path in the code that begins at `crate` or at `super`, from the crate's root.
fn paths(code: &str, module: &[String]) -> Vec<Module> {
    let mut all = Vec::new();
    for (at, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let before = code[..at].chars().next_back();
        // `x_crate::`, `$crate::`, and the later ones of `super::super::`, which the first has.
        if before.is_some_and(|c| c.is_alphanumeric() || "_$:".contains(c)) {
            continue;
        }
        let (start, tree) = match code[at..].strip_prefix("crate::") {
            Some(rest) => (Vec::new(), rest),
            None => above(&code[at..], module),
        };
        leaves(&start, tree, &mut all);
    }
    all
}

/// The module that `super::super::…` means, and what follows.
fn above<'c>(mut code: &'c str, module: &[String]) -> (Module, &'c str) {
    let mut start = module.to_vec();
    while let Some(rest) = code.strip_prefix("super::") {
        start.pop();
        code = rest;
    }
    (start, code)
}

/// The paths of a tree such as `a::{b, c::d}` after `start`. Gives what follows the tree.
fn leaves<'c>(start: &[String], mut tree: &'c str, all: &mut Vec<Module>) -> &'c str {
    let mut path = start.to_vec();
    loop {
        tree = tree.trim_start();
        if let Some(mut rest) = tree.strip_prefix('{') {
            loop {
                rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
                match rest.strip_prefix('}') {
                    Some(after) => return after,
                    None if rest.is_empty() => return rest,
                    None => rest = leaves(&path, rest, all),
                }
            }
        }
        let end = tree.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(tree.len());
        path.push(tree[..end].to_owned());
        tree = &tree[end..];
        match tree.strip_prefix("::") {
            Some(rest) => tree = rest,
            None => break,
        }
    }
    all.push(path);
    // `as NAME`, `*`: nothing that names a module.
    &tree[tree.find([',', '}', ';']).unwrap_or(tree.len())..]
}

/// The module that a path leads into: what stands behind it are items.
fn longest(modules: &BTreeSet<Module>, mut path: Module) -> Module {
    while !modules.contains(&path) && !path.is_empty() {
        path.pop();
    }
    path
}

/// For each module right inside `folder`, those beside it that it names, and the file that does.
type Arrows = BTreeMap<String, BTreeMap<String, String>>;

fn arrows(sources: &[Source], folder: &[String]) -> Arrows {
    let inside = |module: &Module| match module.strip_prefix(folder) {
        Some([child, ..]) => Some(child.clone()),
        Some([]) | None => None,
    };
    let mut arrows = Arrows::new();
    for source in sources {
        let Some(from) = inside(&source.module) else { continue };
        for to in source.names.iter().filter_map(inside).filter(|to| *to != from) {
            arrows.entry(from.clone()).or_default().insert(to, source.module.join("/"));
        }
    }
    arrows
}

/// A chain of modules that ends where it begins.
fn circle(arrows: &Arrows) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|start| closed(arrows, vec![start.clone()], &mut done))
}

fn closed(arrows: &Arrows, chain: Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
    let last = chain.last()?;
    for to in arrows.get(last).into_iter().flat_map(BTreeMap::keys) {
        let next = [&chain[..], std::slice::from_ref(to)].concat();
        if let Some(begin) = chain.iter().position(|module| module == to) {
            return Some(next[begin..].to_vec());
        }
        if !done.contains(to)
            && let Some(circle) = closed(arrows, next, done)
        {
            return Some(circle);
        }
    }
    done.insert(last.clone());
    None
}

/// The chain with the files that make its arrows.
fn described(arrows: &Arrows, circle: &[String]) -> String {
    let arrow =
        |pair: &[String]| format!("{} -> {} (in {})", pair[0], pair[1], arrows[&pair[0]][&pair[1]]);
    circle.windows(2).map(arrow).collect::<Vec<_>>().join(", ")
}

/// The files below `folder` that name `item`, a path from the crate's root.
fn users(sources: &[Source], folder: &[&str], item: &[&str]) -> Vec<String> {
    let inside =
        |source: &&Source| source.module.iter().zip(folder).filter(|(a, b)| a == b).count();
    let below = sources.iter().filter(|source| inside(source) == folder.len());
    let naming = below.filter(|source| source.paths.iter().any(|path| path == item));
    naming.map(|source| source.module.join("/")).collect()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn no_two_modules_of_a_folder_know_each_other() {
    let mut wrong = Vec::new();
    for root in CRATES {
        let sources = sources(&workspace().join(root));
        let parents = sources.iter().filter_map(|source| source.module.split_last());
        let folders: BTreeSet<Module> = parents.map(|(_, folder)| folder.to_vec()).collect();
        for folder in folders {
            let at = format!("{root}/{}", folder.join("/"));
            let arrows = arrows(&sources, &folder);
            if let Some(circle) = circle(&arrows) {
                wrong.push(format!("{at}: {}", described(&arrows, &circle)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn plans_know_no_graphs() {
    let sources = sources(&workspace().join("compiler/src"));
    for item in ["Graph", "NodeId"] {
        let users = users(&sources, &["plan"], &["ir", item]);
        assert!(users.is_empty(), "{item} is named in {users:?}");
    }
}

#[test]
fn paths_are_read_as_rust_reads_them() {
    let module = |path: &str| path.split('/').map(str::to_owned).collect::<Module>();
    let read = |code: &str| {
        let paths = paths(code, &module("a/b/c"));
        paths.into_iter().map(|path| path.join("/")).collect::<Vec<_>>()
    };
    assert_eq!(
        read("use crate::x::{y, z::{self, W as V}, u};"),
        ["x/y", "x/z/self", "x/z/W", "x/u"]
    );
    assert_eq!(read("use super::super::x::y; let v = super::z();"), ["a/x/y", "a/b/z"]);
    assert_eq!(read("pub(in crate::x) fn f(x: &crate::y::Z<'_>)"), ["x", "y/Z"]);
    assert!(read("my_crate::x, $crate::y").is_empty());
}

#[test]
fn circles_are_found_and_spelled_out() {
    let source = |module: &str, names: &[&str]| Source {
        module: vec![module.to_owned()],
        paths: Vec::new(),
        names: names.iter().map(|name| vec![(*name).to_owned()]).collect(),
    };
    let all =
        [source("a", &["b"]), source("b", &["c", "d"]), source("c", &["b"]), source("d", &[])];
    let found = arrows(&all, &[]);
    let chain = circle(&found).unwrap();
    assert_eq!(described(&found, &chain), "b -> c (in b), c -> b (in c)");
    assert_eq!(circle(&arrows(&all[..2], &[])), None);
}
