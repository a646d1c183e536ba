//! HTTP/2 under TLS.

use barrage_model::plan::Resolve;

use super::failures::settings_and;
use super::server::{Http2Server, Manner};
use super::{PATIENCE_MS, get, on_a_shard, post, slots};
use crate::engine::EngineOptions;
use crate::engine::testing::{Do, Server, Slot, certificate, certified};
use crate::net::TlsOptions;
use crate::net::wire::CUT;

fn offering(protocols: &[&str]) -> (rustls::ServerConfig, TlsOptions) {
    let (mut config, pem) = certificate(&["127.0.0.1"]);
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let tls = TlsOptions {
        extra_roots_pem: Some(pem),
        ..TlsOptions::default()
    };
    (config, tls)
}

#[test]
fn it_is_spoken_where_the_server_chooses_it() {
    let table: [(&[&str], &str, &str); 4] = [
        (&["h2"], "200 hello", ""),
        (&["http/1.1", "h2"], "200 hello", ""),
        (&["http/1.1"], "failed tls", ""),
        (&[], "failed tls", "did not choose HTTP/2"),
    ];
    on_a_shard(async {
        for (protocols, word, said) in table {
            let (config, tls) = offering(protocols);
            let server = Http2Server::tls(Manner::default(), config).await;
            let mut slot = Slot::with(EngineOptions::default(), &tls, &[]);
            let result = get("/").by(&mut slot, &server.origin(), PATIENCE_MS).await;
            assert_eq!(slot.word(&result), word, "{protocols:?}: {result:?}");
            if let Err(failure) = result {
                let message = failure.message.to_ascii_lowercase();
                assert!(message.contains(&said.to_ascii_lowercase()), "{message}");
                assert_eq!((slot.answer.sent_at, server.seen().len()), (None, 0));
            } else {
                assert!(slot.answer.timings.tls.is_some());
            }
        }
    });
}

#[test]
fn certificates_are_checked_unless_told_otherwise() {
    on_a_shard(async {
        for (insecure, word) in [(false, "failed tls"), (true, "200 hello")] {
            let (config, _) = offering(&["h2"]);
            let server = Http2Server::tls(Manner::default(), config).await;
            let tls = TlsOptions {
                insecure,
                ..TlsOptions::default()
            };
            let mut slot = Slot::with(EngineOptions::default(), &tls, &[]);
            let result = get("/").by(&mut slot, &server.origin(), PATIENCE_MS).await;
            assert_eq!(slot.word(&result), word, "{result:?}");
        }
    });
}

#[test]
fn a_client_certificate_is_shown_to_who_asks_for_it() {
    on_a_shard(async {
        for (shown, wanted) in [(true, "200 hello"), (false, "failed tls")] {
            let (mut config, identity) = certified(&["127.0.0.1"], true);
            config.alpn_protocols = vec!["h2".into()];
            let tls = TlsOptions {
                extra_roots_pem: Some(identity.0.clone()),
                client_identity_pem: shown.then_some(identity),
                ..TlsOptions::default()
            };
            let server = Http2Server::tls(Manner::default(), config).await;
            let mut slot = Slot::with(EngineOptions::default(), &tls, &[]);
            let result = get("/").by(&mut slot, &server.origin(), PATIENCE_MS).await;
            assert_eq!(slot.word(&result), wanted, "{result:?}");
        }
    });
}

#[test]
fn an_end_without_a_farewell_is_told_in_the_words_of_http1() {
    on_a_shard(async {
        let (config, tls) = offering(&["h2"]);
        let server = Server::tls(vec![vec![Do::ReadHttp2, settings_and(&[]), Do::Cut]], config).await;
        let mut slot = Slot::with(EngineOptions::default(), &tls, &[]);
        let result = get("/").by(&mut slot, &server.origin(0), PATIENCE_MS).await;
        assert_eq!(slot.word(&result), "failed reset");
        assert_eq!(*result.unwrap_err().message, CUT);
    });
}

#[test]
fn large_bodies_pass_under_tls() {
    on_a_shard(async {
        let (config, tls) = offering(&["h2"]);
        let server = Http2Server::tls(Manner::default(), config).await;
        let options = EngineOptions {
            streams_per_connection: 2,
            ..EngineOptions::default()
        };
        let mut all = slots(Slot::with(options, &tls, &[]), 2);
        let [one, two] = &mut all[..] else { unreachable!() };
        let (origin, up, down) = (
            server.origin(),
            post("/echo", vec![7_u8; 2_000_000]),
            get("/bytes/3000000"),
        );
        let results = tokio::join!(up.by(one, &origin, PATIENCE_MS), down.by(two, &origin, PATIENCE_MS));
        assert_eq!(results, (Ok(()), Ok(())));
        assert_eq!((one.answer.body.len(), two.answer.body.len()), (2_000_000, 3_000_000));
        let wire = [one.answer.wire.unwrap(), two.answer.wire.unwrap()];
        let received: u64 = wire.iter().map(|wire| wire.received).sum();
        let sent: u64 = wire.iter().map(|wire| wire.sent).sum();
        // More than the bodies, less than the bodies and a fiftieth: frames, records and the handshake.
        assert!((5_000_000..5_100_000).contains(&received), "{received}");
        assert!((2_000_000..2_040_000).contains(&sent), "{sent}");
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn fixed_addresses_hold_here_too() {
    on_a_shard(async {
        let server = Http2Server::start(Manner::default()).await;
        let mut origin = server.origin();
        let fixed = Resolve {
            host: "shop.test".to_owned(),
            port: None,
            address: "127.0.0.1".parse().unwrap(),
        };
        origin.authority = format!("shop.test:{}", origin.port);
        "shop.test".clone_into(&mut origin.host);
        let mut slot = Slot::with(EngineOptions::default(), &TlsOptions::default(), &[fixed]);
        let result = get("/").by(&mut slot, &origin, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), "200 hello", "{result:?}");
        assert!(server.seen()[0].uri.starts_with("http://shop.test:"));
    });
}
