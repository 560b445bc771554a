//! Who is watched for what: what a backend keeps whose kernel tells tokens.

use std::io;

use crate::{Interest, RawSource, Table, Token, TokenMap};

/// The token and the interest of each source; and the interest by token, which masks what kernels
/// tell unasked.
#[derive(Debug, Default)]
pub struct Registrations {
    sources: Table<(Token, Interest)>,
    asked: TokenMap<Interest>,
}

impl Registrations {
    /// Nobody.
    #[must_use]
    pub fn new() -> Registrations {
        Registrations::default()
    }

    /// Makes sure that a source is not among them.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if it is.
    pub fn expect_vacant(&mut self, raw: RawSource) -> io::Result<()> {
        self.sources.expect_vacant(raw)
    }

    /// Puts a source in.
    pub fn insert(&mut self, raw: RawSource, token: Token, interest: Interest) {
        self.sources.insert(raw, (token, interest));
        self.asked.insert(token, interest);
    }

    /// What is asked of a source.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is not among them.
    pub fn interest(&mut self, raw: RawSource) -> io::Result<Interest> {
        self.sources.get_mut(raw).map(|(_, interest)| *interest)
    }

    /// Gives a source another token, another interest, or both.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is not among them.
    pub fn replace(&mut self, raw: RawSource, token: Token, interest: Interest) -> io::Result<()> {
        self.remove(raw)?;
        self.insert(raw, token, interest);
        Ok(())
    }

    /// Takes a source out, and says what was asked of it.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is not among them.
    pub fn remove(&mut self, raw: RawSource) -> io::Result<Interest> {
        let (token, interest) = self.sources.remove(raw)?;
        self.asked.remove(token);
        Ok(interest)
    }

    /// What is asked of a token: none of one that is gone.
    #[inline]
    pub fn asked(&mut self, token: Token) -> Interest {
        self.asked.get_mut(token).map_or(Interest::NONE, |asked| *asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sources_of_one_name_are_two() {
        let mut registrations = Registrations::new();
        let token = Token::new(1, 0);
        registrations.insert(7, token, Interest::READABLE);
        registrations.insert(8, token, Interest::WRITABLE);
        assert_eq!(registrations.remove(7).unwrap(), Interest::READABLE);
        assert_eq!(registrations.remove(8).unwrap(), Interest::WRITABLE);
    }

    #[test]
    fn a_source_that_is_named_anew_has_one_name() {
        let mut registrations = Registrations::new();
        let (old, new) = (Token::new(1, 0), Token::new(2, 0));
        registrations.insert(7, old, Interest::READABLE);
        assert_eq!(
            registrations.expect_vacant(7).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        registrations.replace(7, new, Interest::WRITABLE).unwrap();
        assert_eq!(registrations.asked(old), Interest::NONE);
        assert_eq!(registrations.asked(new), Interest::WRITABLE);
        assert_eq!(registrations.interest(7).unwrap(), Interest::WRITABLE);
        assert_eq!(registrations.remove(7).unwrap(), Interest::WRITABLE);
        assert_eq!(registrations.asked(new), Interest::NONE);
        let gone = [
            registrations.interest(7).unwrap_err(),
            registrations.replace(7, new, Interest::READABLE).unwrap_err(),
            registrations.remove(7).unwrap_err(),
        ];
        assert!(gone.iter().all(|error| error.kind() == io::ErrorKind::NotFound), "{gone:?}");
    }
}
