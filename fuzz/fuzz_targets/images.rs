//! Any bytes as a PNG or a JPEG: an error, or an input of the shape that the model takes.

#![no_main]

use cardinal_cli::fuzzing::image;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The last byte, since formats are known by their first.
    let channels = if bytes.last().is_some_and(|byte| byte % 2 == 0) { 1 } else { 3 };
    if let Ok(shape) = image(bytes, channels) {
        assert_eq!(shape, [1, channels, 8, 8]);
    }
});
