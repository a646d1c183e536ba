//! One load thread: a machine that decides, and the thread that does.

pub mod machine;
