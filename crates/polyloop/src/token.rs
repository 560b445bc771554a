//! Names for what the loop watches, safe against being used again.

use std::fmt;

/// Bits of a token that name the slot; the others hold the generation.
const INDEX_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;
const GENERATION_MASK: usize = usize::MAX >> INDEX_BITS;

/// The name of a source: a slot, and which of the slot's tenants is meant.
///
/// A slot is used again as soon as its source is gone, and so is a descriptor. An event that was
/// on its way to the former tenant must not reach the next one, so a token carries a *generation*
/// beside its index, and whoever holds something by token ([`TokenMap`](crate::TokenMap), the
/// loop's own table) compares it.
///
/// # Portability
///
/// A token fits a `usize`, which is what mio and the kernels carry. With 64 bits there are 2^32
/// slots and 2^32 generations; with 32 bits 2^20 slots and 2^12 generations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(usize);

impl Token {
    /// The largest index of a slot.
    pub const MAX_INDEX: usize = INDEX_MASK - 1;

    /// The token of no source.
    pub const NOBODY: Token = Token::new(Token::MAX_INDEX + 1, 0);

    /// Makes the token of slot `index` in its `generation`; bits that do not fit are cut.
    #[must_use]
    pub const fn new(index: usize, generation: u32) -> Token {
        let generation = generation as usize & GENERATION_MASK;
        Token(generation << INDEX_BITS | (index & INDEX_MASK))
    }

    /// The slot.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 & INDEX_MASK
    }

    /// Which tenant of the slot. A loop counts over all its slots, so that no two sources in a row
    /// have the same.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> INDEX_BITS) as u32
    }
}

impl From<Token> for usize {
    fn from(token: Token) -> usize {
        token.0
    }
}

impl From<usize> for Token {
    /// Takes back what was handed to a kernel as a number.
    fn from(raw: usize) -> Token {
        Token(raw)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index(), self.generation())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_index_and_generation_apart() {
        let token = Token::new(7, 3);
        assert_eq!((token.index(), token.generation()), (7, 3));
        assert_ne!(token, Token::new(7, 4));
        assert_eq!(Token::from(usize::from(token)), token);
        assert_eq!(token.to_string(), "7.3");
    }

    #[test]
    fn cuts_a_generation_that_does_not_fit() {
        let token = Token::new(Token::MAX_INDEX, u32::MAX);
        assert_eq!(token.index(), Token::MAX_INDEX);
        assert_eq!(token.generation() as usize, u32::MAX as usize & GENERATION_MASK);
    }
}
