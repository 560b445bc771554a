//! What is asked of a backend, and what it tells.

use std::fmt;
use std::num::NonZeroU8;
use std::ops::{BitOr, BitOrAssign};

/// What the caller wants to be told about a source. *None* is a legal interest: silence.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interest(NonZeroU8);

/// A bit that every interest has, so that an `Option` of one takes no more room: backends keep
/// one for each source.
const SOME: u8 = 128;

impl Interest {
    /// Nothing, hang-ups and errors included.
    pub const NONE: Interest = Interest::of(0);
    /// Input, an end of input, a waiting connection, a failure.
    pub const READABLE: Interest = Interest::of(1);
    /// Room for output, a connect that ended, a failure.
    pub const WRITABLE: Interest = Interest::of(2);
    /// Out-of-band data. A backend whose [`Caps::priority`](crate::Caps) is false ignores it.
    pub const PRIORITY: Interest = Interest::of(4);

    const fn of(bits: u8) -> Interest {
        match NonZeroU8::new(bits | SOME) {
            Some(bits) => Interest(bits),
            None => unreachable!(),
        }
    }

    #[inline]
    const fn bits(self) -> u8 {
        self.0.get() & !SOME
    }

    /// Whether all of `other` is asked for.
    #[must_use]
    #[inline]
    pub const fn contains(self, other: Interest) -> bool {
        self.bits() & other.bits() == other.bits()
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.bits() == 0
    }

    /// Whether input is asked for.
    #[must_use]
    #[inline]
    pub const fn is_readable(self) -> bool {
        self.contains(Interest::READABLE)
    }

    /// Whether room for output is asked for.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.contains(Interest::WRITABLE)
    }

    /// Whether out-of-band data is asked for.
    #[must_use]
    pub const fn is_priority(self) -> bool {
        self.contains(Interest::PRIORITY)
    }

    /// This interest without `other`.
    #[must_use]
    #[inline]
    pub const fn without(self, other: Interest) -> Interest {
        Interest::of(self.bits() & !other.bits())
    }
}

impl Default for Interest {
    fn default() -> Interest {
        Interest::NONE
    }
}

impl BitOr for Interest {
    type Output = Interest;
    #[inline]
    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

impl BitOrAssign for Interest {
    #[inline]
    fn bitor_assign(&mut self, other: Interest) {
        *self = *self | other;
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Readiness::from(*self).fmt(f)
    }
}

/// What a source is ready for, with two hints about why.
///
/// A hint never stands alone: a backend folds a hang-up and an error into *readable* and
/// *writable*, as far as these were asked for, because the answer to all of them is the same: call
/// `read` or `write` and see. What `read` then says is the truth on every system; the hints only
/// tell the loop that it may not stop reading early.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Readiness(u8);

impl Readiness {
    /// Nothing.
    pub const EMPTY: Readiness = Readiness(0);
    /// A read, an accept would not block.
    pub const READABLE: Readiness = Readiness(1);
    /// A write would not block, or a connect has ended, well or badly.
    pub const WRITABLE: Readiness = Readiness(2);
    /// Out-of-band data has come.
    pub const PRIORITY: Readiness = Readiness(4);
    /// Hint: the peer closed its sending half, or both.
    pub const HANGUP: Readiness = Readiness(8);
    /// Hint: an error waits on the source.
    pub const ERROR: Readiness = Readiness(16);

    /// All of these.
    pub const ALL: Readiness = Readiness(31);

    /// The bits that an [`Interest`] can ask for.
    const ASKABLE: u8 = 7;

    /// Whether nothing is ready.
    #[must_use]
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is told.
    #[must_use]
    #[inline]
    pub const fn contains(self, other: Readiness) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is told.
    #[must_use]
    #[inline]
    pub const fn intersects(self, other: Readiness) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether a read would not block.
    #[must_use]
    #[inline]
    pub const fn is_readable(self) -> bool {
        self.contains(Readiness::READABLE)
    }

    /// Whether a write would not block.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.contains(Readiness::WRITABLE)
    }

    /// Whether out-of-band data has come.
    #[must_use]
    pub const fn is_priority(self) -> bool {
        self.contains(Readiness::PRIORITY)
    }

    /// Whether the peer was seen to close its sending half, or both.
    #[must_use]
    pub const fn is_hangup(self) -> bool {
        self.contains(Readiness::HANGUP)
    }

    /// Whether an error was seen waiting.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.contains(Readiness::ERROR)
    }

    /// What of this readiness is in `other`.
    #[inline]
    #[must_use]
    pub const fn only(self, other: Readiness) -> Readiness {
        Readiness(self.0 & other.0)
    }

    /// This readiness without `other`.
    #[must_use]
    #[inline]
    pub const fn without(self, other: Readiness) -> Readiness {
        Readiness(self.0 & !other.0)
    }

    /// What was told at which a read stops short, whatever stands behind.
    pub(crate) const STOPS: Readiness =
        Readiness(Readiness::HANGUP.0 | Readiness::ERROR.0 | Readiness::PRIORITY.0);

    /// Takes note of a read that stopped short of its buffer, and returns whether that proves the
    /// stream empty: not if something of `stops` was told.
    #[inline]
    pub(crate) fn use_up_by_short_read(&mut self, stops: Readiness) -> bool {
        let proof = !self.intersects(stops);
        if proof {
            *self = self.without(Readiness::READABLE);
        }
        proof
    }

    /// What of this is wanted, with the hints; empty if nothing is.
    #[inline]
    #[must_use]
    pub const fn masked(self, wanted: Interest) -> Readiness {
        if self.0 & wanted.bits() == 0 {
            Readiness::EMPTY
        } else {
            Readiness(self.0 & (wanted.bits() | !Readiness::ASKABLE))
        }
    }

    /// What a backend tells of this to someone who asked for `asked`: the hints folded into what
    /// they mean, masked by what was asked.
    ///
    /// A hang-up can be read, an error can be read and written. If neither was asked for, it is
    /// told as whatever was: a level that can't be told would end every wait.
    #[must_use]
    pub const fn folded(self, asked: Interest) -> Readiness {
        let mut told = self;
        if self.is_hangup() {
            told.0 |= Readiness::READABLE.0;
        }
        if self.is_error() {
            told.0 |= Readiness::READABLE.0 | Readiness::WRITABLE.0;
        }
        let hints = told.0 & !Readiness::ASKABLE;
        if told.0 & asked.bits() == 0 && hints != 0 && !asked.is_none() {
            return Readiness(asked.bits() | hints);
        }
        told.masked(asked)
    }
}

impl From<Interest> for Readiness {
    fn from(interest: Interest) -> Readiness {
        Readiness(interest.bits())
    }
}

impl BitOr for Readiness {
    type Output = Readiness;
    #[inline]
    fn bitor(self, other: Readiness) -> Readiness {
        Readiness(self.0 | other.0)
    }
}

impl BitOrAssign for Readiness {
    #[inline]
    fn bitor_assign(&mut self, other: Readiness) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Readiness, &str); 5] = [
            (Readiness::READABLE, "readable"),
            (Readiness::WRITABLE, "writable"),
            (Readiness::PRIORITY, "priority"),
            (Readiness::HANGUP, "hangup"),
            (Readiness::ERROR, "error"),
        ];
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut between = "";
        for (bit, name) in NAMES {
            if self.contains(bit) {
                write!(f, "{between}{name}")?;
                between = "|";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_in_the_direction_that_was_asked() {
        let error = Readiness::ERROR;
        assert_eq!(error.folded(Interest::NONE), Readiness::EMPTY);
        assert_eq!(error.folded(Interest::WRITABLE), Readiness::WRITABLE | error);
        assert_eq!(error.folded(Interest::READABLE), Readiness::READABLE | error);
        assert_eq!(error.folded(Interest::PRIORITY), Readiness::PRIORITY | error);
    }

    #[test]
    fn a_hangup_is_readable_and_says_nothing_of_writing() {
        let hangup = Readiness::HANGUP;
        let both = Interest::READABLE | Interest::WRITABLE;
        assert_eq!(hangup.folded(both), Readiness::READABLE | hangup);
        assert_eq!(hangup.masked(both), Readiness::EMPTY);
    }

    #[test]
    fn prints_what_it_holds() {
        assert_eq!(format!("{:?}", Interest::READABLE | Interest::WRITABLE), "readable|writable");
        assert_eq!(format!("{:?}", Readiness::EMPTY), "none");
    }
}
