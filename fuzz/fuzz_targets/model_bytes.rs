//! Any bytes as a model: an error that says what is wrong, or a graph that keeps the rules, and that the
//! passes and, where it is small, the rest of the compiler take.

#![no_main]

use cardinal_compiler::Pipeline;
use cardinal_fuzz::{accepted, imported, is_small, options, passed, targets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(model) = imported(bytes.to_vec()) else { return };
    if is_small(&model.graph, 4, 1 << 12) {
        accepted(Pipeline::new(&model, &options()).compile(&targets()[..1]));
    } else if is_small(&model.graph, 500, 1 << 20) {
        passed(&model);
    }
});
