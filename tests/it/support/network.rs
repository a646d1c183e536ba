//! A network of its own for a test that changes how the system gives out ports.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::barrage::{Ended, binary};
use super::strain::barrage;

/// What says that there is none here.
const NONE: &str = "no network namespace can be made here";

/// Runs a shell script with nothing but a loopback device of its own, in the folder `home`. Its `$0` is the binary.
///
/// # Errors
/// Why it cannot be done on this machine.
pub fn alone(home: &TempDir, script: &str) -> Result<Ended, &'static str> {
    let script = format!("ip link set lo up || exit 77\n{script}");
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &script]).arg(binary());
    for (name, value) in barrage(home, [""; 0]).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.current_dir(home.path()).stdin(Stdio::null()).output();
    let ended = Ended::new(&output.map_err(|_| "there is no unshare")?);
    if ended.code == 77 || ended.stderr.contains("unshare") {
        return Err(NONE);
    }
    Ok(ended)
}
