//! nginx with one worker: HTTP/1.1, HTTP/2 in the clear, and HTTP/1.1 under TLS with a certificate of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{BODY, Counted, ITEM, ITEM_PATH, Server, control};
use crate::peers::child::{Child, Start};

const STATUS_PATH: &str = "/status-of-the-server";
const READY_LIMIT: Duration = Duration::from_secs(10);

/// A running nginx.
#[derive(Debug)]
pub(crate) struct Nginx {
    child: Child,
    ports: Ports,
    /// The counter at the run's begin.
    before: u64,
}

/// Where it listens, on loopback.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// HTTP/1.1 in the clear.
    pub(crate) plain: u16,
    /// HTTP/2 in the clear.
    pub(crate) h2c: u16,
    /// HTTP/1.1 under TLS.
    pub(crate) tls: u16,
}

impl Nginx {
    /// Starts nginx on a core, with its files below `folder`.
    pub(crate) fn start(program: &Path, core: usize, folder: &Path) -> Result<Self> {
        let folder = folder.join("nginx");
        std::fs::create_dir_all(&folder).context("could not make nginx's folder")?;
        write_certificate(&folder)?;
        let ports = free_ports()?;
        let config = folder.join("nginx.conf");
        std::fs::write(&config, configuration(&folder, ports)).context("could not write nginx.conf")?;
        let (config, prefix) = (
            config.to_string_lossy().into_owned(),
            folder.to_string_lossy().into_owned(),
        );
        let child = Child::spawn(
            &Start::new(program, &["-c", &config, "-p", &prefix, "-e", "stderr"], core),
            &folder,
        )?;
        let mut nginx = Self {
            child,
            ports,
            before: 0,
        };
        nginx.wait_until_ready()?;
        Ok(nginx)
    }

    /// Where it listens.
    pub(crate) fn ports(&self) -> Ports {
        self.ports
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let address = self.address();
        self.child
            .wait_for(READY_LIMIT, |_| parse_status(&control::get(address, STATUS_PATH).ok()?))?;
        Ok(())
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.plain))
    }

    fn read(&self) -> Result<u64> {
        let answer = control::get(self.address(), STATUS_PATH)?;
        parse_status(&answer).with_context(|| format!("nginx's counters are not understood: {answer:?}"))
    }
}

impl Server for Nginx {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.plain)
    }

    fn begin(&mut self) -> Result<()> {
        self.before = self.read()?;
        Ok(())
    }

    fn finish(&mut self, _rate: Option<u32>) -> Result<Counted> {
        // The question itself is in the counter too.
        let requests = self
            .read()?
            .checked_sub(self.before + 1)
            .context("nginx's counter went backwards")?;
        Ok(Counted { requests, state: None })
    }

    fn pid(&self) -> u32 {
        self.child.pid()
    }

    fn name(&self) -> &'static str {
        "nginx"
    }
}

/// The number of requests in the answer of `stub_status`: the third number of its third line.
fn parse_status(text: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with("server accepts handled requests"));
    lines.nth(1)?.split_whitespace().nth(2)?.parse().ok()
}

/// Ports that nobody listens on at this moment.
fn free_ports() -> Result<Ports> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback");
    let listeners = [listen()?, listen()?, listen()?];
    let port = |listener: &TcpListener| -> Result<u16> { Ok(listener.local_addr().context("no address")?.port()) };
    Ok(Ports {
        plain: port(&listeners[0])?,
        h2c: port(&listeners[1])?,
        tls: port(&listeners[2])?,
    })
}

fn write_certificate(folder: &Path) -> Result<()> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).context("could not make a certificate")?;
    let write = |name: &str, text: String| {
        let path: PathBuf = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))
    };
    write("cert.pem", made.cert.pem())?;
    write("key.pem", made.signing_key.serialize_pem())
}

/// One process, so that nothing of it outlives this program; what serves is the same as a single worker.
fn configuration(folder: &Path, ports: Ports) -> String {
    let folder = folder.display();
    let Ports { plain, h2c, tls } = ports;
    let locations = format!(
        "default_type text/plain;
    location / {{ return 200 \"{BODY}\"; }}
    location = {ITEM_PATH} {{ default_type application/json; return 200 '{ITEM}'; }}
    location = {STATUS_PATH} {{ stub_status; }}"
    );
    format!(
        "worker_processes 1;
daemon off;
master_process off;
pid {folder}/nginx.pid;
worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  ssl_certificate {folder}/cert.pem;
  ssl_certificate_key {folder}/key.pem;
  ssl_protocols TLSv1.2 TLSv1.3;
  server {{
    listen 127.0.0.1:{plain};
    {locations}
  }}
  server {{
    listen 127.0.0.1:{h2c} http2;
    {locations}
  }}
  server {{
    listen 127.0.0.1:{tls} ssl;
    {locations}
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_the_third_number_below_the_heading() {
        let text =
            "Active connections: 1 \nserver accepts handled requests\n 4 5 678 \nReading: 0 Writing: 1 Waiting: 0 \n";
        assert_eq!(parse_status(text), Some(678));
        assert_eq!(parse_status("Active connections: 1 \n"), None);
        assert_eq!(parse_status("server accepts handled requests\n 4 5\n"), None);
    }
}
