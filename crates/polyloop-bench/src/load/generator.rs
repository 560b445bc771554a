//! The loop of the load generator.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{bail, Context};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use mio::{Events, Poll, Token};
use polyloop::Address;

use super::client::Client;
use super::connection::{source, Fault, Wire};
use super::messages::Messages;
use super::pace::Pace;
use super::report::{Errors, Latency, Losses, Report, SATURATED};
use super::Settings;
use crate::transport::Transport;
use crate::units;

/// Connections that are opened before the first of them must have answered: fewer than any
/// usual backlog.
const BATCH: usize = 100;
/// Failures in a row after which short connections give up.
const HOPELESS: u32 = 100;
/// How often the loop looks for requests without an answer and moves its progress bar.
const TICK: u64 = 100_000_000;

/// What one phase came to.
pub(super) struct Window {
    /// Nanoseconds from its start to its end, or to its last answer if that came later.
    elapsed: u64,
    /// Open loop: fewer than 99 % of the requests that were due had begun when it ended.
    missed_rate: bool,
    /// Open loop: requests that were due and never began.
    not_made: u64,
}

/// One place for a connection.
#[derive(Default)]
struct Slot {
    connection: Option<Client>,
    /// Requests begun in this phase.
    begun: u64,
}

pub(super) struct Generator<'a> {
    settings: &'a Settings,
    clock: Instant,
    poll: Poll,
    wire: Wire,
    slots: Vec<Slot>,
    /// Connections that live, of those that make requests.
    living: usize,
    /// Requests under way.
    under_way: usize,
    /// Connections that were up when all had been opened, and how many of them make requests; of
    /// short ones, how many there are at a time.
    held: (usize, usize),
    /// Connections opened so far.
    opened: u64,
    spread_sources: bool,
    latency: Histogram<u64>,
    uncorrected: Histogram<u64>,
    requests: u64,
    errors: Errors,
    /// Failures since the last success.
    failures: u32,
    /// A request was answered at some time.
    answered: bool,
    /// Datagrams that were not answered in time.
    lost: u64,
    /// Short connections are not tried any more.
    gave_up: bool,
    /// When the last answer was complete.
    last_answer: u64,
}

impl<'a> Generator<'a> {
    pub(super) fn new(settings: &'a Settings) -> anyhow::Result<Self> {
        let Settings { protocol, size, seed, .. } = *settings;
        // Up to an hour at three digits: fixed bounds, so that recording never allocates.
        let histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3)?;
        Ok(Generator {
            settings,
            clock: Instant::now(),
            poll: Poll::new().context("cannot make an event queue")?,
            wire: Wire::new(Messages::new(protocol, size, seed)?),
            slots: (0..settings.connections).map(|_| Slot::default()).collect(),
            living: 0,
            under_way: 0,
            held: (settings.connections, settings.active),
            opened: 0,
            spread_sources: settings.short && can_spread(&settings.target),
            latency: histogram.clone(),
            uncorrected: histogram,
            requests: 0,
            errors: Errors::default(),
            failures: 0,
            answered: false,
            lost: 0,
            gave_up: false,
            last_answer: 0,
        })
    }

    fn now(&self) -> u64 {
        // 584 years of nanoseconds.
        self.clock.elapsed().as_nanos() as u64
    }

    pub(super) fn alive(&self) -> usize {
        self.slots.iter().filter(|slot| slot.connection.is_some()).count()
    }

    /// Forgets what was measured so far, but no error.
    pub(super) fn forget(&mut self) {
        self.latency.reset();
        self.uncorrected.reset();
        self.requests = 0;
        self.lost = 0;
        self.wire.late = 0;
        for slot in &mut self.slots {
            if let Some(connection) = &mut slot.connection {
                connection.forget();
            }
        }
    }

    /// Establishes the long connections in batches; each exchanges one request.
    pub(super) fn open(&mut self) -> anyhow::Result<()> {
        if self.settings.short {
            return Ok(());
        }
        let mut events = Events::with_capacity(1024);
        let bar = bar(self.slots.len() as u64, "connecting", self.slots.len() > 5000);
        for first in (0..self.slots.len()).step_by(BATCH) {
            let now = self.now();
            for index in first..(first + BATCH).min(self.slots.len()) {
                self.begin(index, now, now);
            }
            while self.under_way > 0 {
                self.poll(&mut events, Duration::from_nanos(TICK))?;
                for event in &events {
                    self.advance(event);
                }
                self.drop_late(self.now());
            }
            bar.set_position(first as u64);
            if self.alive() == 0 {
                break;
            }
        }
        bar.finish_and_clear();
        // Nobody will ask on the idle ones again.
        for index in self.settings.active..self.slots.len() {
            let connection = self.slots[index].connection.as_mut();
            if let Some(fault) = connection.and_then(Client::take_end) {
                self.fail(index, &fault);
            }
        }
        self.held = (self.alive(), self.living);
        if !self.answered {
            let target = &self.settings.target;
            let first = self.errors.first.take();
            let first = first.unwrap_or_else(|| "datagrams were lost".to_owned());
            match self.settings.transport {
                Transport::Tcp if self.errors.connect > 0 => {
                    bail!("no connection to {target}: {first}; is a server listening there?")
                }
                Transport::Tcp => bail!("no answer from {target}: {first}"),
                Transport::Udp => {
                    bail!("no answer from {target}: {first}; is a server listening there?")
                }
            }
        }
        Ok(())
    }

    /// Makes requests for `duration`, or exactly `requests` of them, and waits until none is
    /// under way any more; in an open loop until those that were due are made, too, for as long as
    /// one request may take.
    pub(super) fn measure(
        &mut self,
        duration: Duration,
        requests: Option<u64>,
    ) -> anyhow::Result<Window> {
        let mut events = Events::with_capacity(1024);
        let start = self.now();
        let mut pace = Pace::new(
            start,
            requests.map_or(start + duration.as_nanos() as u64, |_| u64::MAX),
            requests.unwrap_or(u64::MAX),
            self.settings.rate,
            self.settings.active,
            self.settings.timeout.as_nanos() as u64,
        );
        self.last_answer = start;
        for slot in &mut self.slots {
            slot.begun = 0;
        }
        let bar = match requests {
            Some(requests) => bar(requests, "measuring", duration > SHOWN || requests > 500_000),
            None => bar(duration.as_millis() as u64, "measuring", duration > SHOWN),
        };
        let mut tick = start + TICK;

        if self.settings.rate.is_none() {
            for index in 0..self.settings.active {
                self.next(index, start, &mut pace);
            }
        }
        let stopped = loop {
            let now = self.now();
            while let Some(index) = pace.due(now) {
                if !self.slots[index].is_busy() {
                    self.next(index, now, &mut pace);
                }
            }
            let over = pace.is_over(now) || self.is_hopeless();
            if over && self.under_way == 0 {
                break now;
            }
            let patience = if over { TICK } else { pace.patience(now).unwrap_or(TICK) };
            self.poll(&mut events, Duration::from_nanos(patience.min(TICK)))?;
            for event in &events {
                if self.advance(event) {
                    let now = self.now();
                    self.record(event.token().0, now);
                    self.next(event.token().0, now, &mut pace);
                }
            }
            if now >= tick {
                tick = now + TICK;
                self.drop_late(now);
                self.start_again(now, &mut pace);
                bar.set_position(match requests {
                    Some(_) => self.requests,
                    None => (now - start) / 1_000_000,
                });
                let seconds = (now - start) as f64 / 1e9;
                bar.set_message(units::rate(self.requests as f64 / seconds) + " requests/s");
            }
        };
        bar.finish_and_clear();
        // A server that stopped answering was measured until its time was up all the same.
        let end = match pace.end() {
            Some(end) if self.is_hopeless() => end.min(stopped),
            Some(end) => end,
            None => start,
        };
        Ok(Window {
            elapsed: self.last_answer.max(end) - start,
            missed_rate: pace.missed(),
            not_made: pace.not_made(),
        })
    }

    /// No connection is left that could make a request.
    fn is_hopeless(&self) -> bool {
        if self.settings.short {
            self.gave_up
        } else {
            self.living == 0
        }
    }

    fn poll(&mut self, events: &mut Events, timeout: Duration) -> anyhow::Result<()> {
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result.context("cannot wait for events"),
        }
    }

    /// Begins the next request of a slot if one is due there.
    fn next(&mut self, index: usize, now: u64, pace: &mut Pace) {
        let slot = &mut self.slots[index];
        if index >= self.settings.active
            || (slot.connection.is_none() && !self.settings.short)
            || self.gave_up
        {
            return;
        }
        if let Some(intended) = pace.take(index, slot.begun, now) {
            slot.begun += 1;
            self.begin(index, now, intended);
        }
    }

    /// Begins a request, on a new connection if the slot has none.
    fn begin(&mut self, index: usize, now: u64, intended: u64) {
        if let Err(fault) = self.try_begin(index, now, intended) {
            self.fail(index, &fault);
        }
    }

    fn try_begin(&mut self, index: usize, now: u64, intended: u64) -> Result<(), Fault> {
        let slot = &mut self.slots[index];
        if let Some(connection) = &mut slot.connection {
            self.under_way += 1;
            return connection.begin(now, intended, &mut self.wire);
        }
        let source: Option<Ipv4Addr> = self.spread_sources.then(|| source(self.opened));
        let opened = Client::open(self.opened as u32, self.settings, source);
        self.opened += 1;
        let connection = slot.connection.insert(opened.map_err(Fault::Connect)?);
        self.living += usize::from(index < self.settings.active);
        self.under_way += 1;
        // Sending first often spares the wait for the connection: on the loopback network it
        // is established when `connect` returns.
        connection.begin(now, intended, &mut self.wire)?;
        let registry = self.poll.registry();
        connection
            .register(registry, Token(index), self.settings.short, &self.wire)
            .map_err(Fault::Connect)
    }

    /// Lets a connection go on after an event; true when that completed an answer.
    fn advance(&mut self, event: &mio::event::Event) -> bool {
        let index = event.token().0;
        let Some(connection) = &mut self.slots[index].connection else {
            return false;
        };
        let was_busy = connection.is_busy();
        match connection.advance(event.into(), &mut self.wire) {
            Ok(false) => false,
            Ok(true) => {
                self.under_way -= 1;
                self.failures = 0;
                self.answered = true;
                true
            }
            Err(fault) => {
                // A fault may follow the last byte of an answer: too many of them.
                self.under_way -= usize::from(was_busy && !connection.is_busy());
                self.fail(index, &fault);
                false
            }
        }
    }

    /// Notes a complete answer; a short connection is closed with it.
    fn record(&mut self, index: usize, now: u64) {
        let Some(connection) = &self.slots[index].connection else { return };
        let (began, intended) = connection.times();
        self.requests += 1;
        self.last_answer = now;
        self.latency.saturating_record(now - intended);
        if self.settings.rate.is_some() {
            self.uncorrected.saturating_record(now - began);
        }
        if self.settings.short {
            self.close(index);
        }
    }

    fn close(&mut self, index: usize) {
        if let Some(connection) = self.slots[index].connection.take() {
            self.under_way -= usize::from(connection.is_busy());
            self.living -= usize::from(index < self.settings.active);
        }
    }

    /// Counts a failure and closes its connection.
    fn fail(&mut self, index: usize, fault: &Fault) {
        self.close(index);
        self.failures = self.failures.saturating_add(1);
        let all_failed = !self.answered && self.failures as usize >= self.settings.active;
        self.gave_up |= self.settings.short && (all_failed || self.failures >= HOPELESS);
        let counter = match fault {
            Fault::Connect(_) => &mut self.errors.connect,
            Fault::Broken(_) => &mut self.errors.broken,
            Fault::Wrong(_) => &mut self.errors.wrong,
            Fault::TimedOut(_) => &mut self.errors.timed_out,
        };
        *counter += 1;
        self.errors.first.get_or_insert_with(|| fault.to_string());
        if let Fault::Wrong(text) = fault {
            self.errors.first_wrong.get_or_insert_with(|| text.clone());
        }
    }

    /// Gives up the requests that have waited too long.
    fn drop_late(&mut self, now: u64) {
        let timeout = self.settings.timeout.as_nanos() as u64;
        for index in 0..self.slots.len() {
            let Some(connection) = &mut self.slots[index].connection else {
                continue;
            };
            let (began, _) = connection.times();
            if connection.is_busy() && now.saturating_sub(began) > timeout {
                match connection.give_up(&self.wire) {
                    Some(fault) => self.fail(index, &fault),
                    None => {
                        self.under_way -= 1;
                        self.lost += 1;
                    }
                }
            }
        }
    }

    /// Begins requests where none is under way: where a short connection failed, or a datagram was
    /// lost.
    fn start_again(&mut self, now: u64, pace: &mut Pace) {
        for index in 0..self.settings.active {
            if !self.slots[index].is_busy() {
                self.next(index, now, pace);
            }
        }
    }

    pub(super) fn report(
        &self,
        window: &Window,
        processor_ns: Option<u64>,
        raised_descriptor_limit: Option<(u64, u64)>,
    ) -> Report {
        let settings = self.settings;
        let seconds = window.elapsed as f64 / 1e9;
        let share = |part: f64| if seconds > 0.0 { part / seconds } else { 0.0 };
        let utilisation = processor_ns.map(|used| share(used as f64 / 1e9));
        Report {
            protocol: settings.protocol,
            requests: self.requests,
            seconds,
            requests_per_second: share(self.requests as f64),
            latency: Latency::from(&self.latency),
            uncorrected: settings.rate.map(|_| Latency::from(&self.uncorrected)),
            errors: self.errors.clone(),
            connections: self.held.0,
            active: self.held.1,
            utilisation,
            // An open loop spins while it waits for the next request to be due.
            saturated: settings.rate.is_none() && utilisation.is_some_and(|u| u > SATURATED),
            rate: settings.rate,
            missed_rate: window.missed_rate,
            not_made: window.not_made,
            closes_first: settings.short.then(|| "client".to_owned()),
            spread_sources: self.spread_sources,
            raised_descriptor_limit,
            pinned: settings.pin,
            losses: (settings.transport == Transport::Udp).then_some(Losses {
                lost: self.lost,
                late: self.wire.late,
                timeout_s: settings.timeout.as_secs_f64(),
            }),
        }
    }
}

impl Slot {
    fn is_busy(&self) -> bool {
        self.connection.as_ref().is_some_and(Client::is_busy)
    }
}

/// Says whether the system lets a socket bind to any address of 127.0.0.0/8, as Linux and
/// Windows do, and the target is there.
fn can_spread(target: &Address) -> bool {
    matches!(target, Address::Ip(SocketAddr::V4(target)) if target.ip().is_loopback())
        && TcpListener::bind((source(0), 0)).is_ok()
}

/// How long something lasts before a progress bar is worth it.
const SHOWN: Duration = Duration::from_secs(2);

fn bar(length: u64, name: &'static str, shown: bool) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    // The template is a constant that the tests draw.
    let style = ProgressStyle::with_template("{prefix} {bar:40} {percent} % {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_prefix(name)
}
