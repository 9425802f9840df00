//! The `cardinal` command.
fn main() {}
