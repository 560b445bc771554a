//! The backend's duties, line by line of the contract.

mod caps;
mod fairness;
mod interest;
mod many;
mod readiness;
mod registration;
mod removal;
mod waiting;
mod waking;

pub use caps::*;
pub use fairness::*;
pub use interest::*;
pub use many::*;
pub use readiness::*;
pub use registration::*;
pub use removal::*;
pub use waiting::*;
pub use waking::*;
