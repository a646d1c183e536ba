//! Failures that are the generator's own: it had run out of something.

use std::error::Error;
use std::io;
use std::sync::Arc;

use barrage_model::delta::Shortages;
use rustix::io::Errno;

use crate::aside::NoThread;
use crate::engine::NoRoom;
use crate::net::ConnectError;

/// What the generator, or its host, has run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scarce {
    /// Descriptors of the process or the system.
    Descriptors,
    /// Local ports, or addresses that fit the target's.
    Ports,
    /// Memory for sockets, or for bodies that are kept.
    Memory,
    /// Threads, as name lookups need them.
    Threads,
    /// Time: it stood still while a deadline passed, or the time that a check allows.
    Time,
}

/// Most causes of an error that are looked at.
const CAUSES_MAX: usize = 16;

impl Scarce {
    /// What an error of any layer comes down to; `None` for one that is not about this host.
    pub fn cause_of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        for _ in 0..CAUSES_MAX {
            let cause = next?;
            if cause.is::<NoThread>() {
                return Some(Self::Threads);
            }
            if cause.is::<NoRoom>() {
                return Some(Self::Memory);
            }
            if matches!(cause.downcast_ref(), Some(ConnectError::NoSource(_))) {
                return Some(Self::Ports);
            }
            let system = cause
                .downcast_ref::<io::Error>()
                .or_else(|| cause.downcast_ref::<Arc<io::Error>>().map(|shared| &**shared));
            if let Some(scarce) = system.and_then(Self::in_system_error) {
                return Some(scarce);
            }
            next = cause.source();
        }
        None
    }

    fn in_system_error(error: &io::Error) -> Option<Self> {
        // An error may hold one of the system's without being one.
        match error.raw_os_error() {
            Some(code) => Self::of_code(Errno::from_raw_os_error(code)),
            None => Self::cause_of(error.get_ref()?),
        }
    }

    fn of_code(code: Errno) -> Option<Self> {
        match code {
            Errno::MFILE | Errno::NFILE => Some(Self::Descriptors),
            Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => Some(Self::Ports),
            // The last is what epoll says where the user may watch no further descriptor (`fs.epoll.max_user_watches`), a limit
            // that follows from the memory; nothing else here can meet it.
            Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC => Some(Self::Memory),
            _ => None,
        }
    }

    /// What an error sample says first.
    pub(crate) fn blame(self) -> &'static str {
        match self {
            Self::Descriptors => "the generator has no descriptor left",
            Self::Ports => "the generator has no local port or address left",
            Self::Memory => "the generator has no memory left",
            Self::Threads => "the generator has no thread left",
            Self::Time => "the generator stood still meanwhile",
        }
    }

    /// Counts one more.
    pub(crate) fn count(self, shortages: &mut Shortages) {
        let count = match self {
            Self::Descriptors => &mut shortages.descriptors,
            Self::Ports => &mut shortages.ports,
            Self::Memory => &mut shortages.memory,
            Self::Threads => &mut shortages.threads,
            Self::Time => &mut shortages.time,
        };
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(source: io::Error) -> ConnectError {
        let address = "127.0.0.1:80".parse().unwrap();
        ConnectError::Connect { address, source }
    }

    #[test]
    fn what_is_the_generators_own() {
        for (code, want) in [
            (Errno::MFILE, Some(Scarce::Descriptors)),
            (Errno::NFILE, Some(Scarce::Descriptors)),
            (Errno::ADDRNOTAVAIL, Some(Scarce::Ports)),
            (Errno::ADDRINUSE, Some(Scarce::Ports)),
            (Errno::NOBUFS, Some(Scarce::Memory)),
            (Errno::NOMEM, Some(Scarce::Memory)),
            (Errno::NOSPC, Some(Scarce::Memory)),
            (Errno::CONNREFUSED, None),
            (Errno::CONNRESET, None),
            (Errno::TIMEDOUT, None),
            (Errno::HOSTUNREACH, None),
        ] {
            let error = || io::Error::from_raw_os_error(code.raw_os_error());
            assert_eq!(Scarce::cause_of(&wrapped(error())), want, "{code:?}");
            assert_eq!(Scarce::cause_of(&wrapped(io::Error::other(error()))), want, "{code:?}");
            assert_eq!(Scarce::cause_of(&io::Error::other(wrapped(error()))), want, "{code:?}");
            let shared: Arc<dyn Error + Send + Sync> = Arc::new(Arc::new(error()));
            assert_eq!(Scarce::cause_of(&*shared), want, "{code:?}");
        }
        assert_eq!(Scarce::cause_of(&io::Error::other("no code")), None);
        let no_source = ConnectError::NoSource("127.0.0.1:80".parse().unwrap());
        assert_eq!(Scarce::cause_of(&no_source), Some(Scarce::Ports));
    }
}
