//! How fast the networks are here, on random weights of any sizes, and what this machine could do at best.
//!
//! Each network is timed alone, with nothing but arithmetic around it, so that the same sizes can be run through another
//! library and compared (`tests/bench/peer.py` does that with PyTorch). Timing a model on a clip, with decoding and
//! caches, is [`super::timing`].

mod ceiling;
mod fill;
mod networks;
mod sizes;
mod stopwatch;

pub use ceiling::Ceiling;
pub use networks::{STAGES, time_networks};
pub use sizes::{Inputs, Sizes};
pub(super) use stopwatch::quickest;
pub use stopwatch::{StageTime, cpu_secs};
