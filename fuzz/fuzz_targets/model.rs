//! Models of random operators, mostly sound: an error that says what is wrong, or plans.

#![no_main]

use cardinal_compiler::Pipeline;
use cardinal_fuzz::models::Random;
use cardinal_fuzz::{accepted, imported, is_small, options, targets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|model: Random| {
    let Some(model) = imported(model.to_bytes()) else { return };
    if is_small(&model.graph, 500, 4 << 20) {
        accepted(Pipeline::new(&model, &options()).plans(&targets()));
    }
});
