//! Random graphs, compiled and run, against the interpreter.

#![no_main]

use cardinal_compiler::ir::verify;
use cardinal_fuzz::graphs::Case;
use cardinal_fuzz::{must, running};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|case: Case| {
    must(verify(&case.graph));
    running::check(&case);
});
