//! The loop's duties, on every backend: one handler, correct on edges and on levels.

mod connecting;
mod counting;
mod messages;
mod partial_io;
mod pausing;
mod removal;
mod timers;
mod turns;
mod writing;

pub use connecting::*;
pub use counting::*;
pub use messages::*;
pub use partial_io::*;
pub use pausing::*;
pub use removal::*;
pub use timers::*;
pub use turns::*;
pub use writing::*;
