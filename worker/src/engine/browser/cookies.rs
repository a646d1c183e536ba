//! The cookies of one user, bounded whatever a server sets.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use cookie_store::RawCookie;
use reqwest::cookie::CookieStore;
use reqwest::header::HeaderValue;
use url::Url;

/// Bytes of `Set-Cookie` fields, with what tells the cookies apart, that one user keeps. A cookie beyond is ignored until the
/// cookies are forgotten; one that takes the place of an earlier one counts only for itself.
const BYTES_MAX: usize = 256 * 1024;

/// The cookies of one user, which can be exchanged without closing the user's connections.
#[derive(Debug, Default)]
pub(super) struct SlotJar(RwLock<Cookies>);

/// Cookies that a user has, or had.
#[derive(Clone, Debug, Default)]
pub struct Cookies {
    jar: cookie_store::CookieStore,
    /// What each cookie counts for.
    known: BTreeMap<Key, usize>,
    bytes: usize,
}

/// What tells cookies apart: host and directory of the URL unless the cookie names a domain and a path, and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: String,
    domain: String,
    path: String,
}

impl Key {
    /// `None` for what is no cookie; the jar does not take it either.
    fn of(field: &HeaderValue, url: &Url) -> Option<Self> {
        let mut parts = std::str::from_utf8(field.as_bytes()).ok()?.split(';');
        let (name, _) = parts.next()?.split_once('=')?;
        let mut key = Self {
            name: name.trim().to_owned(),
            domain: url.host_str().unwrap_or_default().to_owned(),
            path: url
                .path()
                .rsplit_once('/')
                .map_or("", |(directory, _)| directory)
                .to_owned(),
        };
        for part in parts {
            let (word, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim();
            if word.trim().eq_ignore_ascii_case("domain") {
                value.to_ascii_lowercase().clone_into(&mut key.domain);
            } else if word.trim().eq_ignore_ascii_case("path") {
                value.clone_into(&mut key.path);
            }
        }
        Some(key)
    }

    fn bytes(&self) -> usize {
        self.name.len() + self.domain.len() + self.path.len()
    }
}

impl Cookies {
    /// Counts a cookie; false when there is no room for it.
    fn admit(&mut self, field: &HeaderValue, url: &Url) -> bool {
        let Some(key) = Key::of(field, url) else {
            return false;
        };
        let cost = field.len() + key.bytes();
        let before = self.known.get(&key).copied().unwrap_or_default();
        let total = self.bytes - before + cost;
        if total > BYTES_MAX {
            return false;
        }
        self.known.insert(key, cost);
        self.bytes = total;
        true
    }
}

impl SlotJar {
    /// Takes these cookies in place of its own.
    pub(super) fn replace(&self, held: Cookies) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = held;
    }

    pub(super) fn held(&self) -> Cookies {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl CookieStore for SlotJar {
    fn set_cookies(&self, fields: &mut dyn Iterator<Item = &HeaderValue>, url: &Url) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for field in fields {
            let cookie = std::str::from_utf8(field.as_bytes()).ok();
            let cookie = cookie.and_then(|field| RawCookie::parse(field).ok());
            let Some(cookie) = cookie.map(RawCookie::into_owned) else {
                continue;
            };
            if held.admit(field, url) {
                held.jar.store_response_cookies(std::iter::once(cookie), url);
            }
        }
    }

    fn cookies(&self, url: &Url) -> Option<HeaderValue> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let pairs = held.jar.get_request_values(url);
        let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() {
            return None;
        }
        HeaderValue::try_from(pairs.join("; ")).ok()
    }
}
