//! Whether a network at work should stop half-way: looked at between layers, and between tensors of a file that is read.
//!
//! What a forward pass takes and gives is tensors alone; to hand a flag down through every one of them would be a second
//! argument to all of them for the sake of a few loops. So the flag lies on the thread that does the work, as the ledger of
//! [`super::precision`] does. What a stop means to whoever asked is left to them.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use candle_core::Result;

thread_local! {
    static FLAG: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Puts back the flag that lay there before, also after a panic.
struct Before(Option<Arc<AtomicBool>>);

impl Drop for Before {
    fn drop(&mut self) {
        FLAG.set(self.0.take());
    }
}

/// Does `work`; what networks do for it on this thread ends with an error soon after `flag` is set.
pub fn until<T>(flag: Arc<AtomicBool>, work: impl FnOnce() -> T) -> T {
    let _before = Before(FLAG.replace(Some(flag)));
    work()
}

/// Whether the work on this thread was asked to stop.
pub fn asked() -> bool {
    FLAG.with_borrow(|flag| flag.as_ref().is_some_and(|f| f.load(Ordering::Relaxed)))
}

/// # Errors
/// If the work on this thread was asked to stop.
pub(super) fn check() -> Result<()> {
    if asked() {
        candle_core::bail!("stopped on request");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_counts_for_its_own_work_alone() {
        let flag = |set| Arc::new(AtomicBool::new(set));
        assert!(!asked() && check().is_ok());
        let later = flag(false);
        until(Arc::clone(&later), || {
            assert!(!asked());
            until(flag(true), || {
                assert!(asked() && check().is_err());
                let elsewhere = std::thread::scope(|s| s.spawn(asked).join().unwrap());
                assert!(!elsewhere, "another thread's work goes on");
            });
            assert!(!asked());
            later.store(true, Ordering::Relaxed);
            assert!(asked());
        });
        assert!(!asked());
    }

    #[test]
    fn a_panic_leaves_no_flag_behind() {
        let flag = Arc::new(AtomicBool::new(true));
        let fell = std::panic::catch_unwind(|| until(flag, || panic!("half-way")));
        assert!(fell.is_err() && !asked());
    }
}
