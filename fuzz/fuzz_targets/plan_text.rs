//! Any text as a plan and as a choice of how to compute a convolution: what parses prints as the same,
//! and plans can be checked.

#![no_main]

use cardinal_compiler::kernels::conv::read_choice;
use cardinal_compiler::kernels::registry;
use cardinal_compiler::plan::check::check;
use cardinal_compiler::plan::text;
use cardinal_fuzz::{accepted, must};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    if let Ok(choice) = read_choice(source) {
        assert_eq!(choice.to_string(), source);
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
