//! What ends a wait at a deadline that is far away.

use std::time::Duration;

use io_uring::types::Timespec;
use io_uring::{opcode, squeue};
use polyloop::Tick;

/// The alarm that is set, for the earliest deadline that was ever asked for since one rang. Those
/// that were set for later are left to ring in vain.
pub(super) struct Alarm {
    /// When it rings; never if none is set.
    rings: Tick,
    /// Which of those that were set it is.
    number: u16,
    /// For the kernel to read when it is handed the operation.
    time: Box<Timespec>,
}

impl Default for Alarm {
    fn default() -> Alarm {
        Alarm { rings: Tick::NEVER, number: 0, time: Box::default() }
    }
}

impl Alarm {
    /// A deadline that is as far away as this most likely moves further before it comes: to have
    /// every call wait for it would cost a timer of the kernel a call.
    pub(super) const FAR: Duration = Duration::from_millis(100);

    /// The operation that rings after `left`, and its number; `None` if one rings before that.
    pub(super) fn set(&mut self, now: Tick, left: Duration) -> Option<(squeue::Entry, u16)> {
        let rings = now.after(left);
        if rings >= self.rings {
            return None;
        }
        self.rings = rings;
        self.number = self.number.wrapping_add(1);
        *self.time = left.into();
        Some((opcode::Timeout::new(&*self.time).build(), self.number))
    }

    /// The alarm of that number has rung.
    pub(super) fn rang(&mut self, number: usize) {
        if number == usize::from(self.number) {
            self.rings = Tick::NEVER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_set_for_later_rings_in_vain() {
        let (now, mut alarm) = (Tick::now(), Alarm::default());
        let set = |alarm: &mut Alarm, seconds| {
            alarm.set(now, Duration::from_secs(seconds)).map(|(_, number)| usize::from(number))
        };
        let later = set(&mut alarm, 20).expect("none rings before that");
        let sooner = set(&mut alarm, 10).expect("the other rings after that");
        alarm.rang(later);
        assert_eq!(set(&mut alarm, 10), None);
        alarm.rang(sooner);
        assert!(set(&mut alarm, 20).is_some());
    }
}
