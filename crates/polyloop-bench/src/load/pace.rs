//! When the next request is due: as soon as the last one was answered (closed loop), or at
//! its time on a schedule that does not wait for the server (open loop).

/// The pace of one phase. Times are nanoseconds of the run's clock.
///
/// In an open loop the requests are due at even distances and go round the active
/// connections in turn. A connection that is still busy when its request is due makes it as
/// soon as it can, and the request keeps the time at which it should have begun. So one that was
/// due before the end is made after it: to drop it would hide the very stall it waited for.
#[derive(Debug)]
pub(super) struct Pace {
    start: u64,
    /// No request is due from here on.
    end: u64,
    /// No request begins from here on, even if it was due before the end.
    last_call: u64,
    /// Requests that may be made in all.
    limit: u64,
    made: u64,
    /// Those of them that began before the end.
    in_time: u64,
    /// Nanoseconds between two requests; `None` in a closed loop.
    interval: Option<f64>,
    active: u64,
    /// Requests of the schedule that have been due.
    passed: u64,
}

impl Pace {
    /// A closed loop, or with a `rate` an open one, which waits for `patience` after its end for
    /// connections whose requests were due.
    pub(super) fn new(
        start: u64,
        end: u64,
        limit: u64,
        rate: Option<f64>,
        active: usize,
        patience: u64,
    ) -> Self {
        Pace {
            start,
            end,
            last_call: if rate.is_some() { end.saturating_add(patience) } else { end },
            limit,
            made: 0,
            in_time: 0,
            interval: rate.map(|rate| 1e9 / rate),
            active: active as u64,
            passed: 0,
        }
    }

    /// When the `request`-th of the schedule should begin.
    fn intended(&self, interval: f64, request: u64) -> u64 {
        self.start.saturating_add((request as f64 * interval) as u64)
    }

    /// Returns the connection whose turn on the schedule has come, once for each turn.
    pub(super) fn due(&mut self, now: u64) -> Option<usize> {
        let at = self.intended(self.interval?, self.passed);
        if at > now || at >= self.end || self.passed >= self.limit {
            return None;
        }
        let connection = self.passed % self.active;
        self.passed += 1;
        Some(connection as usize)
    }

    /// Returns when the next request of a connection should have begun, if it is to begin now.
    /// `begun` is how many requests that connection has begun in this phase.
    pub(super) fn take(&mut self, connection: usize, begun: u64, now: u64) -> Option<u64> {
        if self.made >= self.limit || now >= self.last_call {
            return None;
        }
        let intended = match self.interval {
            None => now,
            Some(interval) => {
                let request = begun * self.active + connection as u64;
                let intended = self.intended(interval, request);
                if intended > now || intended >= self.end || request >= self.limit {
                    return None;
                }
                intended
            }
        };
        self.made += 1;
        self.in_time += u64::from(now < self.end);
        Some(intended)
    }

    /// Says whether no further request will be due.
    pub(super) fn is_over(&self, now: u64) -> bool {
        // The schedule may have passed with fewer made: a connection that failed makes none of its
        // share.
        now >= self.end || self.made >= self.limit || self.passed >= self.limit
    }

    /// When the phase ends, unless that is with its last answer, as in a closed loop of so many
    /// requests. In an open one each of them has as long as any other, the last too.
    pub(super) fn end(&self) -> Option<u64> {
        match self.interval {
            Some(interval) => Some(self.end.min(self.intended(interval, self.limit))),
            None => (self.end < u64::MAX).then_some(self.end),
        }
    }

    /// How long to wait at most so that the next request of the schedule begins in time:
    /// nothing once it is nearer than two milliseconds, for a wait may last one too long.
    pub(super) fn patience(&self, now: u64) -> Option<u64> {
        let next = self.intended(self.interval?, self.passed).min(self.end);
        Some(next.saturating_sub(now).saturating_sub(2_000_000) / 1_000_000 * 1_000_000)
    }

    /// Says whether fewer than 99 % of the requests that were due had begun by the end.
    pub(super) fn missed(&self) -> bool {
        self.interval.is_some() && (self.in_time as f64) < self.passed as f64 * 0.99
    }

    /// How many requests were due and never began.
    pub(super) fn not_made(&self) -> u64 {
        self.passed.saturating_sub(self.made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_closed_loop_begins_at_once_until_its_end() {
        let mut pace = Pace::new(0, 10 * MS, u64::MAX, None, 2, 0);
        assert_eq!(pace.due(MS), None);
        assert_eq!(pace.take(0, 0, MS), Some(MS));
        assert_eq!(pace.take(1, 0, 10 * MS - 1), Some(10 * MS - 1));
        assert_eq!(pace.take(1, 1, 10 * MS), None);
        assert!(pace.is_over(10 * MS) && !pace.missed());
    }

    #[test]
    fn a_number_of_requests_is_kept_exactly() {
        for rate in [None, Some(1e9)] {
            let mut pace = Pace::new(0, u64::MAX, 5, rate, 2, 0);
            let mut made = 0;
            for begun in 0..10 {
                for connection in 0..2 {
                    made += u64::from(pace.take(connection, begun, MS).is_some());
                }
            }
            assert_eq!(made, 5);
            assert!(pace.is_over(MS));
        }
    }

    #[test]
    fn a_schedule_is_as_long_as_its_rate_says() {
        let end = |end, limit, rate| Pace::new(MS, end, limit, rate, 2, 0).end();
        assert_eq!(end(11 * MS, u64::MAX, None), Some(11 * MS));
        assert_eq!(end(11 * MS, u64::MAX, Some(1000.0)), Some(11 * MS));
        assert_eq!(end(u64::MAX, 3, Some(1000.0)), Some(4 * MS));
        assert_eq!(end(u64::MAX, 3, None), None);
    }

    #[test]
    fn a_number_of_requests_is_over_though_a_connection_has_failed() {
        let mut pace = Pace::new(0, u64::MAX, 6, Some(1000.0), 2, 0);
        assert_eq!((pace.due(0), pace.is_over(0)), (Some(0), false));
        let mut begun = 0;
        while let Some(connection) = pace.due(10 * MS) {
            if connection == 1 {
                assert!(pace.take(1, begun, 10 * MS).is_some());
                begun += 1;
            }
        }
        assert!(pace.is_over(10 * MS));
        assert_eq!((begun, pace.not_made()), (3, 3));
    }

    #[test]
    fn an_open_loop_goes_round_the_connections() {
        // A request each millisecond, for five of them.
        let mut pace = Pace::new(0, 5 * MS, u64::MAX, Some(1000.0), 2, 0);
        assert_eq!(pace.due(0), Some(0));
        assert_eq!(pace.take(0, 0, 0), Some(0));
        assert_eq!(pace.due(0), None);
        assert_eq!(pace.take(1, 0, MS / 2), None);
        assert_eq!(pace.due(MS), Some(1));
        assert_eq!(pace.due(2 * MS), Some(0));
    }

    #[test]
    fn a_late_request_keeps_its_intended_time() {
        let mut pace = Pace::new(0, 100 * MS, u64::MAX, Some(1000.0), 2, 0);
        while pace.due(9 * MS).is_some() {}
        // Connection 0 was busy from 0 to 9 ms: its requests of 2, 4, 6 and 8 ms wait.
        assert_eq!(pace.take(0, 1, 9 * MS), Some(2 * MS));
        assert_eq!(pace.take(0, 4, 9 * MS), Some(8 * MS));
        assert_eq!(pace.take(0, 5, 9 * MS), None);
        assert!(pace.missed());
    }

    #[test]
    fn what_was_due_before_the_end_is_made_after_it() {
        // Connection 0 was busy from 8 ms until 2 ms after the end.
        let mut pace = Pace::new(0, 10 * MS, u64::MAX, Some(1000.0), 1, 5 * MS);
        for begun in 0..9 {
            assert_eq!(pace.due(begun * MS), Some(0));
            assert_eq!(pace.take(0, begun, begun * MS), Some(begun * MS));
        }
        assert_eq!(pace.due(12 * MS), Some(0));
        assert_eq!(pace.due(12 * MS), None);
        assert_eq!((pace.not_made(), pace.missed()), (1, true));
        // No longer than its patience.
        assert_eq!(pace.take(0, 9, 15 * MS), None);
        assert_eq!(pace.take(0, 9, 12 * MS), Some(9 * MS));
        // Made at last, but not in time.
        assert_eq!((pace.not_made(), pace.missed()), (0, true));
        assert_eq!(pace.take(0, 10, 12 * MS), None);
    }

    #[test]
    fn a_request_that_is_due_after_the_end_of_time_is_never_due() {
        let mut pace = Pace::new(MS, u64::MAX, u64::MAX, Some(1e-12), 1, 0);
        assert_eq!((pace.due(MS), pace.due(u64::MAX)), (Some(0), None));
        assert_eq!(pace.take(0, 1, u64::MAX - 1), None);
    }

    #[test]
    fn waiting_ends_before_the_next_request_is_due() {
        let mut pace = Pace::new(0, 1000 * MS, u64::MAX, Some(10.0), 1, 0);
        assert_eq!(pace.due(0), Some(0));
        assert_eq!(pace.patience(0), Some(98 * MS));
        assert_eq!(pace.patience(99 * MS), Some(0));
        assert_eq!(pace.patience(500 * MS), Some(0));
    }
}
