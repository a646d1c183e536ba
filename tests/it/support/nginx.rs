//! nginx with a configuration, a port and a log of its own; ends with the test.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::wait;

/// Where the program may be besides the search path of an ordinary user.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];
/// Another process may take the free port before nginx does; then there is another one.
const ATTEMPTS: usize = 5;
/// How long nginx may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    /// Its base URL.
    pub url: String,
    log: PathBuf,
    child: Child,
    _folder: TempDir,
}

/// The program, where it is installed.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(PLACES.iter().map(PathBuf::from))
        .map(|folder| folder.join("nginx"))
        .find(|program| program.is_file())
}

impl Nginx {
    /// Starts nginx: one process, every path answers 200 but `/missing`.
    #[track_caller]
    pub fn start(program: &Path) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("barrage-nginx-")
            .tempdir()
            .expect("a temporary folder can be made");
        let log = folder.path().join("access.log");
        for _ in 0..ATTEMPTS {
            let port = free_port();
            let config = folder.path().join("nginx.conf");
            std::fs::write(&config, configuration(folder.path(), port)).expect("a configuration can be written");
            let mut child = Command::new(program)
                .arg("-p")
                .arg(folder.path())
                .arg("-e")
                .arg(folder.path().join("error.log"))
                .arg("-c")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("nginx starts");
            let listens = wait::until("nginx listening", START_LIMIT, || {
                if child.try_wait().expect("nginx can be asked").is_some() {
                    return Some(false);
                }
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(|_| true)
            });
            if listens {
                return Self {
                    url: format!("http://127.0.0.1:{port}"),
                    log,
                    child,
                    _folder: folder,
                };
            }
        }
        let errors = std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
        panic!("nginx does not start: {errors}");
    }

    /// The lines of its log so far: `STATUS URI`. It writes a line after the answer, so a line may come a little later.
    pub fn lines(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).expect("the log can be read");
        log.lines().map(str::to_owned).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Both fail only when it has ended and been waited for. It is one process, so nothing of it is left.
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a listener has an address").port()
}

fn configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  log_format short '$status $request_uri';
  access_log {folder}/access.log short;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    default_type text/plain;
    location / {{ return 200 \"ok\\n\"; }}
    location /missing {{ return 404 \"missing\\n\"; }}
  }}
}}
"
    )
}
