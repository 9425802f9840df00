//! Any text as a graph: what parses prints as a text of the same graph, and can be checked.

#![no_main]

use cardinal_compiler::ir::text::{parse, print};
use cardinal_compiler::ir::verify;
use cardinal_fuzz::{accepted, must};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let Some(graph) = accepted(parse(source)) else { return };
    // Breaking its rules is an internal error, since it would be ours if the graph came from a model.
    let _ = verify(&graph);
    let text = print(&graph);
    let again = must(parse(&text));
    assert!(again == graph, "{text}");
    assert_eq!(print(&again), text);
});
