//! Buffers that no user of the shard needs right now. A user that thinks, or a slot without an iteration, holds none that is
//! large: there may be many thousands of them, and few that are in the middle of a request.

use std::cell::RefCell;

use super::exchange::Buffers;
use crate::engine::Body;

/// A smaller buffer stays where it is.
const LARGE: usize = 4 * 1024;
/// Most that are kept of each kind; more are given back to the system.
const KEPT: usize = 32;

/// Of one shard.
#[derive(Debug, Default)]
pub struct Spare {
    bodies: RefCell<Vec<Body>>,
    buffers: RefCell<Vec<Buffers>>,
}

impl Spare {
    /// Gives buffers to a user that is about to send and has none.
    pub(super) fn lend(&self, body: Option<&mut Body>, buffers: &mut Buffers) {
        if let Some(body) = body.filter(|body| body.capacity() == 0) {
            *body = self.bodies.borrow_mut().pop().unwrap_or_default();
        }
        if buffers.capacity() == 0 {
            *buffers = self.buffers.borrow_mut().pop().unwrap_or_default();
        }
    }

    /// Takes a body that is needed no more.
    pub(super) fn take_body(&self, body: &mut Body) {
        if body.capacity() > LARGE {
            put(&self.bodies, std::mem::take(body));
        }
    }

    /// Takes what a request was rendered in.
    pub(super) fn take_buffers(&self, buffers: &mut Buffers) {
        if buffers.capacity() > LARGE {
            put(&self.buffers, std::mem::take(buffers));
        }
    }
}

fn put<T>(all: &RefCell<Vec<T>>, one: T) {
    let mut all = all.borrow_mut();
    if all.len() < KEPT {
        all.push(one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_go_from_one_user_to_the_next() {
        let spare = Spare::default();
        let (mut body, mut small) = (Body::from(vec![1; LARGE + 1]), Body::from(vec![1; 10]));
        spare.take_body(&mut body);
        spare.take_body(&mut small);
        assert_eq!((body.capacity(), small.len()), (0, 10));
        let mut buffers = Buffers::default();
        spare.lend(Some(&mut small), &mut buffers);
        assert_eq!((small.len(), spare.bodies.borrow().len()), (10, 1));
        spare.lend(None, &mut buffers);
        assert_eq!(spare.bodies.borrow().len(), 1);
        spare.lend(Some(&mut body), &mut buffers);
        assert!(body.capacity() > LARGE && spare.bodies.borrow().is_empty());
        for _ in 0..KEPT * 2 {
            spare.take_body(&mut Body::from(vec![1; LARGE + 1]));
        }
        assert_eq!(spare.bodies.borrow().len(), KEPT);
    }
}
