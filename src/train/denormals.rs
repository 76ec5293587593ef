//! Numbers too small for their format are taken as zero while training: gradients of sharp attention are full of them, and
//! processors are many times slower with each than with any other number. Leaves inference as it is, where there are few.

/// From now on this thread and those of the shared pool read and write denormal numbers as zeros. Threads that these
/// make inherit it on some systems; processors other than x86-64 and arm64 stay as they are.
pub fn flush() {
    set();
    rayon::broadcast(|_| set());
}

#[cfg(target_arch = "x86_64")]
fn set() {
    /// "Flush to zero" and "denormals are zero".
    const BITS: u32 = 1 << 15 | 1 << 6;
    let mut control = 0_u32;
    #[expect(unsafe_code, reason = "no safe way to the control register")]
    // SAFETY: both instructions touch four bytes of `control` and the thread's own register, and no exception is unmasked. The
    // compiler takes the register for unchanged, so what it folds beforehand may keep a denormal number that the processor
    // would drop; training does not depend on either. Nothing but training calls this.
    unsafe {
        core::arch::asm!("stmxcsr [{}]", in(reg) &raw mut control, options(nostack, preserves_flags));
        control |= BITS;
        core::arch::asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack, preserves_flags));
    }
}

#[cfg(target_arch = "aarch64")]
fn set() {
    /// "Flush to zero", which covers what is read, too.
    const BITS: u64 = 1 << 24;
    #[expect(unsafe_code, reason = "no safe way to the control register")]
    // SAFETY: the thread's own register is read and written; only how denormal numbers are rounded changes.
    unsafe {
        let mut control: u64;
        core::arch::asm!("mrs {}, fpcr", out(reg) control, options(nomem, nostack, preserves_flags));
        control |= BITS;
        core::arch::asm!("msr fpcr, {}", in(reg) control, options(nomem, nostack, preserves_flags));
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn set() {}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn small_numbers_become_zero_on_a_thread_that_asked_for_it() {
        let half = || std::hint::black_box(f32::MIN_POSITIVE) * std::hint::black_box(0.5);
        assert!(half() > 0.0);
        // On a thread of its own: others' tests shall not notice.
        let flushed = std::thread::Builder::new()
            .name("flushed".into())
            .spawn(move || {
                super::set();
                half()
            })
            .unwrap();
        assert_eq!(flushed.join().ok(), Some(0.0));
    }
}
