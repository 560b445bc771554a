//! select(2), which is handed three sets with each call.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use nix::sys::select::{select, FdSet, FD_SETSIZE};
use nix::sys::time::{TimeVal, TimeValLike};
use polyloop::{Interest, RawSource, Source};
use rustix::fd::{AsRawFd, BorrowedFd};

use super::super::stage::Watcher;
use super::{names, Answer};

#[derive(Default)]
pub(super) struct Select {
    asked: HashMap<RawSource, Interest>,
}

impl Watcher for Select {
    fn watch(&mut self, source: &mut dyn Source, asked: Interest) -> Result<(), Answer> {
        let raw = source.raw();
        if usize::try_from(raw).map_or(true, |raw| raw >= FD_SETSIZE) {
            return Err(Answer::Refused { refused: "FD_SETSIZE".to_owned() });
        }
        self.asked.insert(raw, asked);
        Ok(())
    }

    fn change(&mut self, source: &mut dyn Source, asked: Interest) -> Result<(), Answer> {
        self.watch(source, asked)
    }

    fn look(&mut self, source: BorrowedFd<'_>, limit: Duration) -> io::Result<Answer> {
        let asked = self.asked[&source.as_raw_fd()];
        let set_if = |is: bool| {
            let mut set = FdSet::new();
            if is {
                set.insert(source);
            }
            set
        };
        let mut read = set_if(asked.is_readable());
        let mut write = set_if(asked.is_writable());
        let mut except = set_if(asked.is_priority());
        let mut limit = TimeVal::microseconds(limit.as_micros() as i64);
        Ok(match select(None, &mut read, &mut write, &mut except, &mut limit) {
            Ok(_) => {
                let sets = [(&read, "read"), (&write, "write"), (&except, "except")];
                names(&sets, |set| set.contains(source))
            }
            Err(error) => Answer::Refused { refused: format!("{error:?}") },
        })
    }
}
