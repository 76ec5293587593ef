//! Hot paths, timed by hand: `cargo bench`. Never a test, never a gate.
fn main() {}
