//! `cargo xtask bench-fleet`: what a coordinator costs under a large fleet.

use std::process::ExitCode;

fn main() -> ExitCode {
    barrage_bench::fleet::main()
}
