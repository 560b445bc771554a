//! What a backend knows of each source, by the kernel's number for it.

use std::io;

use crate::RawSource;

/// A map from descriptor or socket to `T` in O(1): the table that every backend keeps.
///
/// # Portability
///
/// Unix gives out the smallest free number, so there the table is an array. On Windows a socket
/// may have any number, and the table is a hash map.
#[derive(Debug)]
pub struct Table<T> {
    entries: Entries<T>,
}

#[cfg(unix)]
type Entries<T> = Vec<Option<T>>;
#[cfg(windows)]
type Entries<T> = std::collections::HashMap<RawSource, T>;

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { entries: Entries::default() }
    }
}

impl<T> Table<T> {
    /// Makes an empty table.
    #[must_use]
    pub fn new() -> Table<T> {
        Table::default()
    }

    /// Makes sure that a source is not in the table.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if it is.
    pub fn expect_vacant(&mut self, raw: RawSource) -> io::Result<()> {
        match self.find(raw) {
            None => Ok(()),
            Some(_) => Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("source {raw} is registered already"),
            )),
        }
    }

    /// What is known of a source.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is not in the table.
    pub fn get_mut(&mut self, raw: RawSource) -> io::Result<&mut T> {
        self.find(raw).ok_or_else(|| unknown(raw))
    }

    /// Takes a source out.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is not in the table.
    pub fn remove(&mut self, raw: RawSource) -> io::Result<T> {
        self.take(raw).ok_or_else(|| unknown(raw))
    }
}

#[cfg(unix)]
impl<T> Table<T> {
    /// Puts a source in, over what stood there.
    ///
    /// # Panics
    ///
    /// If `raw` is negative, which no open descriptor is.
    pub fn insert(&mut self, raw: RawSource, value: T) {
        let position = usize::try_from(raw).expect("an open descriptor is not negative");
        if position >= self.entries.len() {
            self.entries.resize_with(position + 1, || None);
        }
        self.entries[position] = Some(value);
    }

    fn find(&mut self, raw: RawSource) -> Option<&mut T> {
        self.entries.get_mut(usize::try_from(raw).ok()?)?.as_mut()
    }

    fn take(&mut self, raw: RawSource) -> Option<T> {
        self.entries.get_mut(usize::try_from(raw).ok()?)?.take()
    }
}

#[cfg(windows)]
impl<T> Table<T> {
    /// Puts a source in, over what stood there.
    pub fn insert(&mut self, raw: RawSource, value: T) {
        self.entries.insert(raw, value);
    }

    fn find(&mut self, raw: RawSource) -> Option<&mut T> {
        self.entries.get_mut(&raw)
    }

    fn take(&mut self, raw: RawSource) -> Option<T> {
        self.entries.remove(&raw)
    }
}

#[cold]
fn unknown(raw: RawSource) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("source {raw} is not registered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in_until_it_is_taken_out() {
        let mut table = Table::new();
        table.expect_vacant(5).unwrap();
        table.insert(5, 'a');
        assert_eq!(table.expect_vacant(5).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(*table.get_mut(5).unwrap(), 'a');
        assert_eq!(table.get_mut(4).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(table.remove(5).unwrap(), 'a');
        assert_eq!(table.remove(5).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
