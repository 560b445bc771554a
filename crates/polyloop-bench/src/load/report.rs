//! What a load run found, as JSON and as text.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::protocols::Builtin;
use crate::text::{wrap, WIDTH};
use crate::units;

/// The share of one processor above which the load generator itself was a limit.
pub const SATURATED: f64 = 0.95;

/// What a load run found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was spoken.
    #[serde(default)]
    pub protocol: Builtin,
    /// Requests whose answer came back complete and right.
    pub requests: u64,
    /// From the first request to the end of the time in which requests were made, or to the last
    /// answer if that came later, in seconds. With a number of requests in a closed loop it is
    /// always the latter.
    pub seconds: f64,
    /// Requests a second.
    pub requests_per_second: f64,
    /// Closed loop: from sending a request to its complete answer. Open loop: from the moment
    /// at which it should have been sent. Short connections: from `connect` on.
    pub latency: Latency,
    /// Open loop only: from the moment at which the request was really sent. It hides the
    /// time that a request waited for its turn.
    pub uncorrected: Option<Latency>,
    /// What went wrong.
    pub errors: Errors,
    /// How many connections were held at the same time: up when the first phase began. Short
    /// connections: how many of them were made at a time.
    pub connections: usize,
    /// How many of them made requests.
    pub active: usize,
    /// The processor time that the load generator used, as a share of one processor.
    pub utilisation: Option<f64>,
    /// The load generator used more than 95 % of a processor: it was a limit, whatever the
    /// server was.
    pub saturated: bool,
    /// Open loop only: the rate asked for, in requests a second.
    pub rate: Option<f64>,
    /// Open loop only: fewer than 99 % of the requests that were due had begun when the time was
    /// up. The rest waited for a busy connection, and the latency counts that.
    pub missed_rate: bool,
    /// Open loop only: requests that were due and never made, for their connection had failed or
    /// was still busy when the time was up and that of a request, too. No latency counts them.
    #[serde(default)]
    pub not_made: u64,
    /// Short connections only: which side closes first.
    pub closes_first: Option<String>,
    /// Short connections only: whether their source addresses were spread over 127.0.0.0/8.
    pub spread_sources: bool,
    /// The soft limit of descriptors before and after, if it was raised.
    pub raised_descriptor_limit: Option<(u64, u64)>,
    /// Datagrams only: how many were lost.
    #[serde(default)]
    pub losses: Option<Losses>,
    /// The processor that the load generator was pinned to.
    pub pinned: Option<usize>,
}

/// The latencies of the requests that were answered, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The mean.
    pub mean_ns: f64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 99 % of them took no longer.
    pub p99_ns: u64,
    /// 99.9 % of them took no longer.
    pub p999_ns: u64,
    /// The slowest of them.
    pub max_ns: u64,
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Self {
        Latency {
            mean_ns: histogram.mean(),
            p50_ns: histogram.value_at_quantile(0.5),
            p99_ns: histogram.value_at_quantile(0.99),
            p999_ns: histogram.value_at_quantile(0.999),
            max_ns: histogram.max(),
        }
    }
}

/// What became of the datagrams that were not answered in time. No latency counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Requests that were not answered in time, and given up.
    pub lost: u64,
    /// Answers to such requests that came later.
    pub late: u64,
    /// How long a request had, in seconds.
    pub timeout_s: f64,
}

/// How many connections failed, by what went wrong, and what the first one said. No latency counts
/// their requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// Connections that could not be established.
    pub connect: u64,
    /// Connections that failed or were closed by the server.
    pub broken: u64,
    /// Connections on which no answer came in time.
    pub timed_out: u64,
    /// Connections on which something else came back than was sent.
    pub wrong: u64,
    /// The text of the first error.
    pub first: Option<String>,
    /// The text of the first error that is a wrong byte: others may have come before.
    #[serde(default)]
    pub first_wrong: Option<String>,
}

impl Errors {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.connect + self.broken + self.timed_out + self.wrong
    }
}

impl Report {
    /// Says why the run must count as failed, if it must: a wrong byte, or nothing answered.
    pub fn failure(&self) -> Option<String> {
        let Errors { wrong, first, first_wrong, .. } = &self.errors;
        if *wrong > 0 {
            Some(format!("wrong bytes came back: {}", first_wrong.as_deref().unwrap_or("")))
        } else if self.requests == 0 {
            Some(first.clone().unwrap_or_else(|| "no request was made".to_owned()))
        } else {
            None
        }
    }

    /// Writes the report for a person to read, with a line's end behind each line.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = self.write(&mut text);
        text.lines().map(|line| wrap(line, WIDTH) + "\n").collect()
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "{} requests in {} {} {}, {} of them active: {} requests/s",
            units::count(self.requests),
            units::time(self.seconds * 1e9),
            if self.losses.is_some() { "from" } else { "on" },
            match (self.connections as u64, self.losses) {
                (connections, None) => format!("{} connections", units::count(connections)),
                (clients, Some(_)) => format!("{} clients", units::count(clients)),
            },
            units::count(self.active as u64),
            units::rate(self.requests_per_second),
        )?;
        let name = match (self.rate, &self.closes_first) {
            (Some(_), _) => "latency from the intended time",
            (None, Some(_)) => "latency from connect to answer",
            (None, None) => "latency",
        };
        writeln!(out, "{}", quantiles(name, &self.latency))?;
        if let Some(uncorrected) = &self.uncorrected {
            writeln!(out, "{}", quantiles("uncorrected, from sending", uncorrected))?;
        }
        if let Some(utilisation) = self.utilisation {
            writeln!(
                out,
                "load generator: {} of a processor{}",
                units::percent(utilisation),
                if self.saturated { ", saturated: it was a limit itself" } else { "" },
            )?;
        }
        if let (Some(rate), true) = (self.rate, self.missed_rate) {
            writeln!(
                out,
                "missed rate: {} requests/s were asked for; server or load generator cannot keep up",
                units::rate(rate),
            )?;
        }
        if self.not_made > 0 {
            writeln!(
                out,
                "not made: {} requests that were due, on connections that had failed or stayed busy; \
                 no latency counts them",
                units::count(self.not_made),
            )?;
        }
        if let Some(side) = &self.closes_first {
            writeln!(
                out,
                "short connections: the {side} closes first, {}",
                if self.spread_sources {
                    "sources spread over 127.0.0.0/8"
                } else {
                    "one source address: ports in TIME_WAIT may limit this run"
                },
            )?;
        }
        if let Some(losses) = &self.losses {
            let time = units::time(losses.timeout_s * 1e9);
            match losses.lost {
                0 => writeln!(out, "datagrams: none lost, all were answered within {time}")?,
                lost => writeln!(
                    out,
                    "datagrams: {} lost, not answered within {time}; {} of them were answered later; no \
                     latency counts them",
                    units::count(lost),
                    units::count(losses.late),
                )?,
            }
        }
        if let Some((soft, hard)) = self.raised_descriptor_limit {
            writeln!(
                out,
                "descriptor limit raised from {} to {}",
                units::count(soft),
                units::count(hard),
            )?;
        }
        if let Some(processor) = self.pinned {
            writeln!(out, "pinned to processor {processor}")?;
        }
        if self.errors.total() > 0 {
            writeln!(
                out,
                "errors: {} could not connect, {} broken, {} timed out, {} with wrong bytes; no latency \
                 counts them; the first: {}",
                self.errors.connect,
                self.errors.broken,
                self.errors.timed_out,
                self.errors.wrong,
                self.errors.first.as_deref().unwrap_or(""),
            )?;
        }
        Ok(())
    }
}

fn quantiles(name: &str, latency: &Latency) -> String {
    let time = |nanoseconds: u64| units::time(nanoseconds as f64);
    format!(
        "{name}: p50 {}, p99 {}, p99.9 {}, max {}",
        time(latency.p50_ns),
        time(latency.p99_ns),
        time(latency.p999_ns),
        time(latency.max_ns),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_spoils_a_result_is_told_and_only_then() {
        let clean = Report { rate: Some(1e3), utilisation: Some(0.5), ..Report::default() };
        let spoilt = Report {
            saturated: true,
            missed_rate: true,
            not_made: 3,
            raised_descriptor_limit: Some((1024, 4096)),
            pinned: Some(7),
            errors: Errors { broken: 2, ..Errors::default() },
            ..clean.clone()
        };
        let (clean, spoilt) = (clean.text(), spoilt.text());
        for words in ["saturated", "missed rate", "not made", "limit raised", "pinned", "errors"] {
            assert!(spoilt.contains(words), "{words}: {spoilt}");
            assert!(!clean.contains(words), "{words}: {clean}");
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        (1..=1000).for_each(|latency| histogram.record(latency).unwrap());
        let expected =
            Latency { mean_ns: 500.5, p50_ns: 500, p99_ns: 990, p999_ns: 999, max_ns: 1000 };
        assert_eq!(Latency::from(&histogram), expected);
    }

    #[test]
    fn no_line_is_too_long() {
        let first = "connection 12: request 3456: no answer in time, after 200 ms ".repeat(3);
        let report = Report {
            rate: Some(123_456.0),
            missed_rate: true,
            not_made: 1_234_567,
            closes_first: Some("client".to_owned()),
            losses: Some(Losses { lost: 1_234_567, late: 1_234_567, timeout_s: 0.123 }),
            errors: Errors { timed_out: 1_234_567, first: Some(first), ..Errors::default() },
            ..Report::default()
        };
        let text = report.text();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.ends_with("after 200 ms\n"), "{text}");
    }

    #[test]
    fn what_no_latency_counts_is_told_to_be_missing() {
        let timed_out = Errors { timed_out: 1, ..Errors::default() };
        let lost = Losses { lost: 1, ..Losses::default() };
        let spoilt = [
            Report { not_made: 1, ..Report::default() },
            Report { errors: timed_out, ..Report::default() },
            Report { losses: Some(lost), ..Report::default() },
        ];
        for report in spoilt {
            let text = report.text().replace('\n', " ");
            assert!(text.contains("no latency counts them"), "{text}");
        }
        let none_lost = Report { losses: Some(Losses::default()), ..Report::default() };
        assert!(!none_lost.text().contains("no latency counts"), "{none_lost:?}");
    }
}
