//! The light server as a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::light::State;
use super::{Counted, Server, control};
use crate::peers::child::{Child, Start};

const READY_LIMIT: Duration = Duration::from_secs(10);

/// A running light server.
#[derive(Debug)]
pub(crate) struct LightProcess {
    child: Child,
    address: SocketAddr,
}

impl LightProcess {
    /// Starts it on a core; `arguments` as for `bench-peers light-server`.
    pub(crate) fn start(arguments: &[&str], core: usize, folder: &Path) -> Result<Self> {
        let own = std::env::current_exe().context("could not find this program's own file")?;
        let mut all = vec!["light-server"];
        all.extend(arguments);
        let mut child = Child::spawn(&Start::new(&own, &all, core), folder)?;
        let address = child.wait_for(READY_LIMIT, |output| {
            output.trim().strip_prefix("listening on ")?.parse().ok()
        })?;
        Ok(Self { child, address })
    }
}

impl Server for LightProcess {
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn begin(&mut self) -> Result<()> {
        control::get(self.address, "/~/reset").map(drop)
    }

    fn finish(&mut self, rate: Option<u32>) -> Result<Counted> {
        let path = rate.map_or_else(|| "/~/state".to_owned(), |rate| format!("/~/state?rate={rate}"));
        let body = control::get(self.address, &path)?;
        let state: State = serde_json::from_str(&body)
            .with_context(|| format!("the light server's counters are not understood: {body:?}"))?;
        Ok(Counted {
            requests: state.requests,
            state: Some(state),
        })
    }

    fn pid(&self) -> u32 {
        self.child.pid()
    }

    fn name(&self) -> &'static str {
        "light server"
    }
}
