//! The two servers that everybody is measured against.

pub(crate) mod control;
pub(crate) mod light;
pub(crate) mod nginx;
pub(crate) mod process;
pub(crate) mod request;
pub(crate) mod spacing;

/// The 100 bytes that both servers answer with.
pub(crate) const BODY: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// Path of the JSON answer that the two-step scenario begins with.
pub(crate) const ITEM_PATH: &str = "/item";

/// That answer.
pub(crate) const ITEM: &str = r#"{"result":{"id":"item-4711","price":1999,"tags":["new","sale"]},"next":"/items"}"#;

/// What a server counted of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counted {
    /// Requests, without those that ask for the counters.
    pub(crate) requests: u64,
    /// What only the light server knows.
    pub(crate) state: Option<light::State>,
}

/// A server that counts for itself.
pub(crate) trait Server {
    /// Base URL in the clear, HTTP/1.1, without a path.
    fn url(&self) -> String;
    /// A run begins.
    fn begin(&mut self) -> anyhow::Result<()>;
    /// The run that began last is over; arrivals are judged beside a rate per second.
    fn finish(&mut self, rate: Option<u32>) -> anyhow::Result<Counted>;
    /// The server's process.
    fn pid(&self) -> u32;
    /// The server's name in tables.
    fn name(&self) -> &'static str;
}
