//! Compiles a model in memory and runs it, with no file in between.
fn main() {}
