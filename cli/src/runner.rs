//! What every executable begins with. The model is behind it in the same file.

use std::process::ExitCode;

fn main() -> ExitCode {
    cardinal_cli::executable::main()
}
