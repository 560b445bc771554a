//! Timers in order of deadline, cancelled in O(1).

use slab::Slab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU64;

use crate::{Tick, Token};

/// The name of one timer. It never names a later one: ids are in the order in which timers were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(NonZeroU64);

impl TimerId {
    /// Bits that name the slot: 16 million timers at once. The others count the timers that were
    /// ever set, which at a million a second takes twelve days to come round; an id kept for
    /// exactly so long could then name a timer in its old slot.
    const SLOT_BITS: u32 = 24;

    const COUNT: u64 = (1 << (64 - TimerId::SLOT_BITS)) - 1;

    fn slot(self) -> usize {
        (self.0.get() & ((1 << TimerId::SLOT_BITS) - 1)) as usize
    }
}

/// A set of timers, each with a deadline and the token that it belongs to.
///
/// Timers are due in order of deadline, and those of one deadline in the order in which they were
/// set. Cancelling frees the timer's slot at once and leaves its place in the heap to be skipped
/// later; when more places are stale than alive, the heap is built anew, so that memory follows
/// the number of pending timers and cancelling stays O(1) on average.
#[derive(Debug)]
pub struct Timers {
    heap: BinaryHeap<Reverse<Place>>,
    pending: Slab<Pending>,
    /// How many of those are no timers, but where a [`TimerList`] begins.
    lists: usize,
    /// How many timers were set, from one.
    set: u64,
}

/// A timer's place in the order of deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    deadline: Tick,
    timer: TimerId,
}

#[derive(Debug)]
struct Pending {
    timer: TimerId,
    token: Token,
    /// The neighbours' slots in the ring of its list; its own, if it is in none.
    next: u32,
    previous: u32,
}

/// Timers that are cancelled together, in one [`Timers`]; empty to begin with. To be given to
/// [`Timers::cancel_all`] in the end: what it holds is pending until it is due.
#[derive(Debug, Default)]
pub struct TimerList(Option<TimerId>);

impl Default for Timers {
    fn default() -> Timers {
        Timers::new()
    }
}

impl Timers {
    /// Stale places that are not worth a sweep.
    const STALE: usize = 64;

    /// Makes an empty set, without allocating.
    #[must_use]
    pub fn new() -> Timers {
        Timers { heap: BinaryHeap::new(), pending: Slab::new(), lists: 0, set: 0 }
    }

    /// How many timers are pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len() - self.lists
    }

    /// Whether no timer is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets a timer for `token`; it is due at `deadline` and not before.
    ///
    /// # Panics
    ///
    /// With 2^24 timers pending.
    pub fn insert(&mut self, deadline: Tick, token: Token) -> TimerId {
        let timer = self.add(token);
        self.heap.push(Reverse(Place { deadline, timer }));
        timer
    }

    /// As [`insert`](Timers::insert), of a timer that belongs to a list.
    ///
    /// # Panics
    ///
    /// With 2^24 timers and lists.
    pub fn insert_into(&mut self, list: &mut TimerList, deadline: Tick, token: Token) -> TimerId {
        let head = *list.0.get_or_insert_with(|| {
            self.lists += 1;
            self.add(token)
        });
        let timer = self.insert(deadline, token);
        let next = self.pending[head.slot()].next;
        self.link(head.slot() as u32, timer.slot() as u32);
        self.link(timer.slot() as u32, next);
        timer
    }

    /// Makes two entries neighbours.
    fn link(&mut self, one: u32, next: u32) {
        self.pending[one as usize].next = next;
        self.pending[next as usize].previous = one;
    }

    fn add(&mut self, token: Token) -> TimerId {
        self.set = self.set % TimerId::COUNT + 1;
        let vacant = self.pending.vacant_entry();
        let slot = vacant.key();
        assert!(slot < 1 << TimerId::SLOT_BITS, "fewer than 2^24 timers are pending");
        let id = NonZeroU64::new(self.set << TimerId::SLOT_BITS | slot as u64);
        let timer = TimerId(id.expect("the count is not zero"));
        // 24 bits.
        let alone = slot as u32;
        vacant.insert(Pending { timer, token, next: alone, previous: alone });
        timer
    }

    /// Cancels a timer and says whether it was still pending.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        let cancelled = self.take(timer).is_some();
        if cancelled {
            self.sweep();
        }
        cancelled
    }

    /// Builds the heap anew if most of its places are stale.
    fn sweep(&mut self) {
        if self.heap.len() > 2 * self.len() + Timers::STALE {
            let pending = &self.pending;
            self.heap.retain(|Reverse(place)| is_alive(pending, place));
        }
    }

    /// Cancels all timers of a list, in time linear in their number. It is empty then.
    pub fn cancel_all(&mut self, list: &mut TimerList) {
        let Some(head) = list.0.take() else { return };
        let mut slot = head.slot();
        loop {
            slot = self.pending.remove(slot).next as usize;
            if slot == head.slot() {
                break;
            }
        }
        self.lists -= 1;
        self.sweep();
    }

    /// The earliest deadline.
    pub fn next_deadline(&mut self) -> Option<Tick> {
        Some(self.earliest()?.deadline)
    }

    /// Appends the timers that are due at `now`, in order, to `due`. They stay pending, and can
    /// be cancelled, until each is [taken](Timers::take).
    pub fn collect_due(&mut self, now: Tick, due: &mut Vec<TimerId>) {
        while let Some(place) = self.earliest().filter(|place| place.deadline <= now) {
            self.heap.pop();
            due.push(place.timer);
        }
    }

    /// Takes out the earliest timer, if it is due at `now`, and returns it with its token.
    pub fn take_due(&mut self, now: Tick) -> Option<(TimerId, Token)> {
        let timer = self.earliest().filter(|place| place.deadline <= now)?.timer;
        self.heap.pop();
        Some((timer, self.take(timer)?))
    }

    /// Takes a timer out and returns its token; `None` if it was cancelled or taken before.
    pub fn take(&mut self, timer: TimerId) -> Option<Token> {
        if self.pending.get(timer.slot())?.timer != timer {
            return None;
        }
        let Pending { token, next, previous, .. } = self.pending.remove(timer.slot());
        if next as usize != timer.slot() {
            self.link(previous, next);
        }
        Some(token)
    }

    /// The place of the earliest pending timer; stale ones before it are dropped.
    fn earliest(&mut self) -> Option<Place> {
        while let Some(&Reverse(place)) = self.heap.peek() {
            if is_alive(&self.pending, &place) {
                return Some(place);
            }
            self.heap.pop();
        }
        None
    }
}

fn is_alive(pending: &Slab<Pending>, place: &Place) -> bool {
    pending.get(place.timer.slot()).is_some_and(|found| found.timer == place.timer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn token(index: usize) -> Token {
        Token::new(index, 0)
    }

    fn due_at(timers: &mut Timers, now: Tick) -> Vec<Token> {
        let mut due = Vec::new();
        timers.collect_due(now, &mut due);
        due.into_iter().filter_map(|timer| timers.take(timer)).collect()
    }

    #[test]
    fn are_due_in_order_of_deadline_then_of_setting() {
        let mut timers = Timers::new();
        let start = Tick::now();
        for (index, millis) in [(1, 20), (2, 10), (3, 20), (4, 30)] {
            timers.insert(start.after(Duration::from_millis(millis)), token(index));
        }
        assert_eq!(timers.next_deadline(), Some(start.after(Duration::from_millis(10))));
        assert_eq!(due_at(&mut timers, start.after(Duration::from_millis(9))), []);
        let due = due_at(&mut timers, start.after(Duration::from_millis(20)));
        assert_eq!(due, [token(2), token(1), token(3)]);
        assert_eq!(timers.len(), 1);
    }

    #[test]
    fn a_due_timer_can_be_cancelled_until_it_is_taken() {
        let mut timers = Timers::new();
        let now = Tick::now();
        let first = timers.insert(now, token(1));
        let second = timers.insert(now, token(2));
        let mut due = Vec::new();
        timers.collect_due(now, &mut due);
        assert_eq!(due, [first, second]);
        assert_eq!(timers.take(first), Some(token(1)));
        assert!(timers.cancel(second));
        assert_eq!(timers.take(second), None);
        assert!(timers.is_empty());
    }

    #[test]
    fn one_due_timer_is_taken_at_a_time() {
        let mut timers = Timers::new();
        let now = Tick::now();
        let later = now.after(Duration::from_secs(1));
        timers.insert(later, token(3));
        timers.insert(now, token(1));
        timers.insert(now, token(2));
        let mut due = |now| timers.take_due(now).map(|(_, token)| token);
        assert_eq!((due(now), due(now), due(now)), (Some(token(1)), Some(token(2)), None));
        assert_eq!((due(later), due(later)), (Some(token(3)), None));
        assert!(timers.is_empty());
    }

    #[test]
    fn an_id_never_reaches_a_later_timer() {
        let mut timers = Timers::new();
        let now = Tick::now();
        let old = timers.insert(now, token(1));
        assert!(timers.cancel(old));
        let new = timers.insert(now, token(2));
        assert_eq!(old.slot(), new.slot(), "the slot is used again, or this test shows nothing");
        assert!(!timers.cancel(old));
        assert_eq!(due_at(&mut timers, now), [token(2)]);
    }

    #[test]
    fn all_timers_of_a_list_can_be_cancelled() {
        let mut timers = Timers::new();
        let mut lists = [TimerList::default(), TimerList::default()];
        let now = Tick::now();
        let mut set = Vec::new();
        for index in [0, 1, 0, 0, 1] {
            set.push(timers.insert_into(&mut lists[index], now, token(index)));
        }
        timers.insert(now, token(2));
        // The first, one in the middle and the last of a list may be gone by then.
        for (gone, left) in [(2, 5), (0, 4)] {
            assert!(timers.cancel(set[gone]));
            assert_eq!(timers.len(), left);
        }
        timers.cancel_all(&mut lists[0]);
        assert!(!timers.cancel(set[3]));
        assert_eq!(due_at(&mut timers, now), [token(1), token(1), token(2)]);
        assert!(timers.is_empty());
        timers.cancel_all(&mut lists[0]); // it is empty
        timers.insert_into(&mut lists[0], now, token(0)); // and may be used again
        timers.cancel_all(&mut lists[0]);
        timers.cancel_all(&mut lists[1]);
        assert!(timers.pending.is_empty());
    }

    #[test]
    fn due_timers_of_a_list_can_be_cancelled_until_they_are_taken() {
        let mut timers = Timers::new();
        let mut list = TimerList::default();
        let now = Tick::now();
        timers.insert_into(&mut list, now, token(1));
        timers.insert(now, token(2));
        let mut due = Vec::new();
        timers.collect_due(now, &mut due);
        timers.cancel_all(&mut list);
        let taken: Vec<_> = due.into_iter().map(|timer| timers.take(timer)).collect();
        assert_eq!(taken, [None, Some(token(2))]);
    }

    #[test]
    fn cancelled_timers_leave_no_memory_behind() {
        let mut timers = Timers::new();
        let far = Tick::now().after(Duration::from_secs(3600));
        timers.insert(far, token(0));
        for index in 0..100_000 {
            let timer = timers.insert(far, token(index));
            timers.cancel(timer);
            let mut list = TimerList::default();
            timers.insert_into(&mut list, far, token(index));
            timers.cancel_all(&mut list);
        }
        assert_eq!((timers.len(), timers.pending.len()), (1, 1));
        assert!(timers.heap.len() <= 2 + Timers::STALE + 1, "{} places", timers.heap.len());
    }
}
