//! The bare loop: writes a request at each instant of a schedule and reads what comes back. The measure of what pacing
//! can be on this machine, without any recording of answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use super::{clock, say};

const TIMER: u64 = u64::MAX;
/// From the connections to the first request.
const LEAD: Duration = Duration::from_millis(100);
/// How long answers are waited for after the last request.
const DRAIN: Duration = Duration::from_millis(200);
const REQUESTS_MAX: u64 = 20_000_000;

/// What the loop does.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Schedule {
    /// Requests per second
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// How long, s
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Connections, taken in turn
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// http://ADDRESS:PORT/
    url: String,
}

/// Runs the schedule and prints one line of JSON.
pub(crate) fn run(schedule: &Schedule) -> Result<()> {
    let address = schedule
        .url
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next());
    let address: SocketAddr = address
        .and_then(|address| address.parse().ok())
        .context("expected http://ADDRESS:PORT/")?;
    let total = u64::from(schedule.rate) * u64::from(schedule.seconds);
    ensure!(total <= REQUESTS_MAX, "at most {REQUESTS_MAX} requests");
    let streams = (0..schedule.connections)
        .map(|_| connect(address))
        .collect::<Result<Vec<_>>>()?;
    let mut lags = send(
        &streams,
        schedule.rate,
        total,
        &format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n"),
    )?;
    lags.sort_unstable();
    let rank = |q: f64| lags[((q * lags.len() as f64).ceil() as usize).clamp(1, lags.len()) - 1] as f64 / 1e3;
    let said = serde_json::json!({
        "requests": total,
        "seconds": schedule.seconds,
        "lag_p50_us": rank(0.5),
        "lag_p99_us": rank(0.99),
    });
    say::line(&said.to_string());
    Ok(())
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("could not connect to {address}"))?;
    stream
        .set_nodelay(true)
        .context("could not switch Nagle's algorithm off")?;
    stream
        .set_nonblocking(true)
        .context("could not make a connection non-blocking")?;
    Ok(stream)
}

/// Sends every request at its instant; returns actual − due in ns, in order.
fn send(streams: &[TcpStream], rate: u32, total: u64, request: &str) -> Result<Vec<u64>> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("could not make an epoll")?;
    for (index, stream) in streams.iter().enumerate() {
        epoll::add(
            &epoll,
            stream,
            epoll::EventData::new_u64(index as u64),
            epoll::EventFlags::IN,
        )
        .context("could not watch a connection")?;
    }
    let timer = timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
    )
    .context("could not make a timer")?;
    epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)
        .context("could not watch the timer")?;
    let start = clock::monotonic_ns() + LEAD.as_nanos() as u64;
    let due = |index: u64| start + index * 1_000_000_000 / u64::from(rate);
    let arm = |at: u64| {
        let value = clock::timespec(Duration::from_nanos(at));
        let once = Itimerspec {
            it_interval: clock::timespec(Duration::ZERO),
            it_value: value,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &once).context("could not set the timer")
    };
    arm(due(0))?;
    let mut lags = Vec::with_capacity(total as usize);
    let mut events = Vec::with_capacity(1024);
    let mut scratch = [0; 16 << 10];
    while (lags.len() as u64) < total {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None).context("could not wait for events")?;
        for event in &events {
            let data = event.data;
            if data.u64() == TIMER {
                loop {
                    let index = lags.len() as u64;
                    let now = clock::monotonic_ns();
                    if index == total || due(index) > now {
                        break;
                    }
                    write(&streams[index as usize % streams.len()], request)?;
                    lags.push(now - due(index));
                }
                arm(due(lags.len() as u64))?;
            } else {
                read(&streams[data.u64() as usize], &mut scratch)?;
            }
        }
    }
    drain(streams, &mut scratch)?;
    Ok(lags)
}

fn write(mut stream: &TcpStream, request: &str) -> Result<()> {
    let count = stream.write(request.as_bytes()).context("could not send a request")?;
    ensure!(count == request.len(), "the server takes no more requests");
    Ok(())
}

fn read(mut stream: &TcpStream, scratch: &mut [u8]) -> Result<()> {
    match stream.read(scratch) {
        Ok(0) => anyhow::bail!("the server closed a connection"),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error).context("could not read an answer"),
        _ => Ok(()),
    }
}

/// Lets the last answers come in before the connections are closed.
fn drain(streams: &[TcpStream], scratch: &mut [u8]) -> Result<()> {
    clock::pause(DRAIN);
    streams.iter().try_for_each(|stream| read(stream, scratch))
}
