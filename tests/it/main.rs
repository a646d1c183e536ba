//! System tests: they drive the `barrage` binary as a user does, against real servers on loopback.

mod support;
