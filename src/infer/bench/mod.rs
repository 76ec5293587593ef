//! How fast the networks are here, on random weights of any sizes, and what this machine could do at best.
//!
//! Each network is timed alone, with nothing but arithmetic around it, so that the same sizes can be run through another
//! library and compared (`tests/bench/peer.py` does that with PyTorch). Timing a model on a clip, with decoding and
//! caches, is [`super::timing`]. A whole answer from pixels to the masks of every frame, and the same as the authors'
//! program goes about it, are [`end_to_end`]'s.

mod authors;
mod ceiling;
pub mod end_to_end;
mod fill;
mod held;
mod networks;
mod scripted;
mod sizes;
mod stopwatch;

pub use ceiling::Ceiling;
pub use networks::{STAGES, check_precision, time_networks};
pub use scripted::{SHORTEST_ANSWER, scripted};
pub use sizes::{Inputs, Sizes};
pub(super) use stopwatch::quickest;
pub use stopwatch::{StageTime, cpu_secs};
