//! The header that C programs include is the one that the code makes.
//!
//!     CARDINAL_BLESS=1 cargo test -p cardinal-runtime-c --test header      # writes it anew

#![allow(clippy::unwrap_used, reason = "a failing test is a panic")]

use std::path::Path;

/// The files with functions and types for C, in the header's order.
const SOURCES: [&str; 4] = ["status.rs", "info.rs", "program.rs", "session.rs"];

fn generate(root: &Path) -> String {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = SOURCES.iter().fold(builder, |b, file| b.with_src(root.join("src").join(file)));
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("include/cardinal_runtime.h");
    let generated = generate(root);
    if std::env::var_os("CARDINAL_BLESS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(stored, generated, "make it anew: see the head of this test");
}
