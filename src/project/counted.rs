//! Numbers with their nouns, for messages. Leaves the sentences to those who say them.

use std::fmt::Display;

/// So many things in words: "1 mask", "3 masks". The noun takes an s.
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(n: N, noun: &str) -> String {
    let s = if n == N::from(1) { "" } else { "s" };
    format!("{n} {noun}{s}")
}

/// The verb that goes with so many things: "was" or "were".
pub fn were<N: Copy + PartialEq + From<u8>>(n: N) -> &'static str {
    if n == N::from(1) { "was" } else { "were" }
}

/// The verb that goes with so many things: "has" or "have".
pub fn have<N: Copy + PartialEq + From<u8>>(n: N) -> &'static str {
    if n == N::from(1) { "has" } else { "have" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_no_plural() {
        let all = [0_usize, 1, 2].map(|n| format!("{} {} kept", counted(n, "mask"), were(n)));
        let said = ["0 masks were kept", "1 mask was kept", "2 masks were kept"];
        assert_eq!(all, said);
        assert_eq!([0_usize, 1, 2].map(have), ["have", "has", "have"]);
        assert_eq!(counted(1_u32, "finished frame"), "1 finished frame");
        assert_eq!(counted(21_u64, "frame"), "21 frames");
    }
}
