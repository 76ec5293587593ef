//! How work is talked about: requests, updates, job ids, progress and cancel. No work is done here, and nothing in here
//! knows tensors or windows.

mod message;
mod progress;

pub use message::{GroundOptions, JobId, Mode, Prompt, PropagateDirection, Request, Update};
pub use progress::{CancelToken, Cancelled, Progress};
