//! How many connections lead to each address: the system gives local ports out for each address on its own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

/// What the connections of one shard, or of several, use of the local ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortsUsed {
    /// Connections to the address that has most of them.
    pub fullest: u32,
    /// Most addresses that had connections at once.
    pub addresses: u32,
    /// Whether the system has had none for an address that can be reached.
    pub ran_out: bool,
}

impl PortsUsed {
    /// Adds what another shard uses. Shards go through the addresses of a name in turn, so the same ones are full.
    pub fn add(&mut self, other: Self) {
        self.fullest = self.fullest.saturating_add(other.fullest);
        self.addresses = self.addresses.max(other.addresses);
        self.ran_out |= other.ran_out;
    }
}

/// The connections of one shard, by the address that they lead to.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    open: RefCell<HashMap<SocketAddr, u32>>,
    addresses: Cell<u32>,
    ran_out: Cell<bool>,
}

impl Ports {
    /// Counts one connection, or one that is being made, as long as what is returned is kept.
    pub(crate) fn take(self: &Rc<Self>, to: SocketAddr) -> Port {
        let mut open = self.open.borrow_mut();
        *open.entry(to).or_default() += 1;
        let addresses = u32::try_from(open.len()).unwrap_or(u32::MAX);
        self.addresses.set(self.addresses.get().max(addresses));
        drop(open);
        let of = Rc::clone(self);
        Port { to, of }
    }

    /// The system had none.
    pub(crate) fn run_out(&self) {
        self.ran_out.set(true);
    }

    /// What is used now; whether there was none since this was asked last.
    pub(crate) fn used(&self) -> PortsUsed {
        PortsUsed {
            fullest: self.open.borrow().values().copied().max().unwrap_or(0),
            addresses: self.addresses.get(),
            ran_out: self.ran_out.take(),
        }
    }
}

/// The port of one connection.
#[derive(Debug)]
pub(crate) struct Port {
    to: SocketAddr,
    of: Rc<Ports>,
}

impl Port {
    /// The address that its connection leads to.
    pub(crate) fn to(&self) -> SocketAddr {
        self.to
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let mut open = self.of.open.borrow_mut();
        if let Some(count) = open.get_mut(&self.to) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_with_most_connections_counts() {
        let [one, other]: [SocketAddr; 2] = ["127.0.0.1:80", "127.0.0.2:80"].map(|text| text.parse().unwrap());
        let ports = Rc::new(Ports::default());
        let used = |fullest, addresses, ran_out| PortsUsed {
            fullest,
            addresses,
            ran_out,
        };
        assert_eq!(ports.used(), used(0, 0, false));
        let held = [ports.take(one), ports.take(other), ports.take(one)];
        ports.run_out();
        assert_eq!(ports.used(), used(2, 2, true));
        assert_eq!(ports.used(), used(2, 2, false), "a shortage is told once");
        drop(held);
        assert_eq!(ports.used(), used(0, 2, false));
        assert!(ports.open.borrow().is_empty(), "addresses are not kept");
        let mut sum = used(3, 1, false);
        sum.add(used(2, 4, true));
        assert_eq!(sum, used(5, 4, true));
    }
}
