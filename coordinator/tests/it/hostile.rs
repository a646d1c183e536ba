//! Peers that mean ill: what they send costs them their connection or their seat, and nobody else anything.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Running;

/// The status line of the answer to one plain request.
async fn post(running: &Running, path: &str, fields: &str, body: &[u8]) -> String {
    let address = running.url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{fields}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_give_orders() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::new(folder.path()).await;
    let empty = [0, 0, 0, 0, 0];
    for (path, fields, want) in [
        (
            "/barrage.v1.Runs/Health",
            "content-type: text/plain\r\norigin: http://evil.example\r\n",
            "415",
        ),
        ("/barrage.v1.Runs/Stop", "content-type: application/grpc\r\n", "415"),
        ("/barrage.v1.Fleet/Fetch", "", "415"),
        ("/barrage.v1.Other/Call", "content-type: application/grpc\r\n", "404"),
        ("/", "", "404"),
        ("/metrics", "", "404"),
    ] {
        let got = post(&running, path, fields, &empty).await;
        assert!(
            got.starts_with(&format!("HTTP/1.1 {want} ")),
            "{path} {fields:?}: {got}"
        );
    }
    running.end().await;
}
