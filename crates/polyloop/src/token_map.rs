//! Whatever a handler holds, by token.

use crate::Token;

/// A map from [`Token`] to `T`: an array by the token's index, with its generation compared.
///
/// Looking up costs an array access; a token whose source is gone finds nothing, even if its slot
/// has a new tenant.
#[derive(Debug)]
pub struct TokenMap<T> {
    slots: Vec<Option<(u32, T)>>,
    len: usize,
}

impl<T> Default for TokenMap<T> {
    fn default() -> TokenMap<T> {
        TokenMap { slots: Vec::new(), len: 0 }
    }
}

impl<T> TokenMap<T> {
    /// Makes an empty map.
    #[must_use]
    pub fn new() -> TokenMap<T> {
        TokenMap::default()
    }

    /// How many tokens have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a value in, over what stood in the token's slot.
    pub fn insert(&mut self, token: Token, value: T) {
        if token.index() >= self.slots.len() {
            let missing = token.index() + 1 - self.slots.len();
            if self.slots.capacity() - self.slots.len() < missing {
                // By a quarter, where a vector would double: a slot holds a whole connection.
                self.slots.reserve_exact(missing + self.slots.len() / 4);
            }
            self.slots.resize_with(token.index() + 1, || None);
        }
        let slot = &mut self.slots[token.index()];
        self.len += usize::from(slot.is_none());
        *slot = Some((token.generation(), value));
    }

    /// The token's value.
    #[inline]
    pub fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        match self.slots.get_mut(token.index()) {
            Some(Some((generation, value))) if *generation == token.generation() => Some(value),
            _ => None,
        }
    }

    /// As [`get_mut`](TokenMap::get_mut), for a token whose generation the caller has compared:
    /// the one that the loop dispatches.
    #[inline]
    pub(crate) fn tenant_mut(&mut self, token: Token) -> Option<&mut T> {
        match self.slots.get_mut(token.index()) {
            Some(Some((generation, value))) => {
                debug_assert_eq!(*generation, token.generation(), "{token} is not its tenant");
                Some(value)
            }
            _ => None,
        }
    }

    /// Takes the token's value out.
    pub fn remove(&mut self, token: Token) -> Option<T> {
        self.get_mut(token)?;
        self.len -= 1;
        self.slots[token.index()].take().map(|(_, value)| value)
    }

    /// All tokens that have a value.
    pub fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            slot.as_ref().map(|(generation, _)| Token::new(index, *generation))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_tenant_finds_nothing() {
        let mut map = TokenMap::new();
        let (old, new) = (Token::new(3, 1), Token::new(3, 2));
        map.insert(old, 'a');
        assert_eq!(map.remove(old), Some('a'));
        map.insert(new, 'b');
        assert_eq!(map.get_mut(old), None);
        assert_eq!(map.remove(old), None);
        assert_eq!(map.get_mut(new), Some(&mut 'b'));
        assert_eq!(map.tokens().collect::<Vec<_>>(), [new]);
        assert_eq!(map.len(), 1);
    }
}
