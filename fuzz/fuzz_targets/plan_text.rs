//! Any text as a plan, a schedule and a choice of how to compute a convolution: what parses prints as the same,
//! and plans can be checked.

#![no_main]

use cardinal_compiler::kernels::conv::read_choice;
use cardinal_compiler::kernels::registry;
use cardinal_compiler::plan::check::check;
use cardinal_compiler::plan::text;
use cardinal_compiler::schedule;
use cardinal_fuzz::{accepted, must};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    if let Ok(choice) = read_choice(source) {
        assert_eq!(choice.to_string(), source);
        return;
    }
    if let Ok(summary) = schedule::text::parse(source) {
        // Digits of estimates are not kept, so another text comes out.
        let _ = schedule::text::print(&summary);
        return;
    }
    let registry = registry();
    let Some(plan) = accepted(text::parse(source, &registry)) else { return };
    // Unsound plans are internal errors, since they would be ours if the plan came from a graph.
    let _ = check(&plan);
    let printed = text::print(&plan);
    let again = must(text::parse(&printed, &registry));
    assert!(again == plan, "{printed}");
});
