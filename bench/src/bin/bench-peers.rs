//! `bench-peers`: Barrage beside other load generators; `cargo xtask bench-peers` builds and starts it.

use std::process::ExitCode;

fn main() -> ExitCode {
    barrage_bench::peers::main()
}
