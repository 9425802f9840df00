//! The `cardinal` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    cardinal_cli::cardinal()
}
