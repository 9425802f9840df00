//! Any bytes as a `.npy` or an `.npz`: what is read is written and read again as it was.

#![no_main]

use cardinal_cli::fuzzing::arrays;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for array in arrays(bytes).unwrap_or_default() {
        assert_eq!(arrays(&array).as_deref(), Ok(&[array][..]));
    }
});
