//! From which of the plan's source addresses a call goes out.
//!
//! The client binds all its connections to one address and tries no target of another family, so where the plan has sources of
//! both families the client is chosen by the target's.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;

use barrage_model::outcome::FailureClass;
use url::{Host, Url};

use super::super::answer::{Cause, Failure};
use super::super::request::Terms;
use super::super::set::EngineShared;
use super::super::timer::DeadlineTimer;
use crate::clock::Stamp;
use crate::net::{ConnectError, Family};

/// Names whose family one slot remembers; when there are more, it begins anew.
const NAMES_MAX: usize = 16;

/// The families of the names that a slot has gone to, so that each is asked for once.
#[derive(Debug, Default)]
pub(super) struct Families(Vec<(String, u16, Family)>);

impl Families {
    /// The family that the source address of a call must have; `None` when any will do or there is none to choose.
    ///
    /// # Errors
    /// The class `dns`, or a timeout, when the target's name has to be looked up for it; [`ConnectError::NoSource`].
    pub(super) async fn needed(
        &mut self,
        shared: &EngineShared,
        url: &str,
        time: (Terms<'_>, Stamp, &mut DeadlineTimer),
    ) -> Result<Option<Family>, Failure> {
        let options = shared.options();
        let has = |family: Family| options.sources.iter().any(|source| family.has(*source));
        if options.sources.is_empty() {
            return Ok(None);
        }
        // Behind a proxy every connection goes to the proxy. What is no URL is refused by the client itself.
        let Ok(peer) = Url::parse(options.proxy.as_deref().unwrap_or(url)) else {
            return Ok(None);
        };
        let port = peer.port_or_known_default().unwrap_or_default();
        let address = match peer.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(name)) if has(Family::V4) && has(Family::V6) => {
                return self.of_name(shared, (name, port), time).await.map(Some);
            }
            // The client picks from the name's addresses.
            None | Some(Host::Domain(_)) => return Ok(None),
        };
        let family = Family::of(address);
        if has(family) {
            return Ok(Some(family));
        }
        let error = ConnectError::NoSource((address, port).into());
        Err(Failure::from_error(Cause::Failed(error.class()), &error))
    }

    async fn of_name(
        &mut self,
        shared: &EngineShared,
        (name, port): (&str, u16),
        (terms, began_at, timer): (Terms<'_>, Stamp, &mut DeadlineTimer),
    ) -> Result<Family, Failure> {
        let same = |known: &&(String, u16, Family)| known.0 == name && known.1 == port;
        if let Some((_, _, family)) = self.0.iter().find(same) {
            return Ok(*family);
        }
        let mut lookup = pin!(shared.resolver().family(name, port));
        let until = |now| terms.connect_by(began_at, now);
        let found = poll_fn(|cx| match lookup.as_mut().poll(cx) {
            Poll::Ready(found) => Poll::Ready(Some(found)),
            Poll::Pending => {
                let passed = timer.poll_put_off(cx, shared.clock(), terms.deadline, until);
                passed.map(|()| None)
            }
        });
        let family = match found.await {
            Some(Ok(family)) => family,
            Some(Err(error)) => return Err(Failure::from_error(Cause::Failed(FailureClass::Dns), &error)),
            None => return Err(Failure::fixed(Cause::Timeout, "timed out in the name lookup")),
        };
        if self.0.len() >= NAMES_MAX {
            self.0.clear();
        }
        self.0.push((name.to_owned(), port, family));
        Ok(family)
    }
}
