//! Colours of objects. An object keeps its palette index, and so its colour, unless a person gives it another.

/// Colours that stay apart on video and for the common colour-vision deficiencies; sRGB.
const BASE: [[u8; 3]; 12] = [
    [0x2f, 0x9b, 0xff],
    [0xff, 0x7a, 0x1a],
    [0x35, 0xd0, 0x7f],
    [0xf0, 0x4f, 0xa8],
    [0xff, 0xd2, 0x3d],
    [0x9a, 0x6b, 0xff],
    [0x20, 0xd6, 0xd6],
    [0xe6, 0x3a, 0x46],
    [0xa6, 0xd8, 0x2b],
    [0xc9, 0x8a, 0x5a],
    [0xb8, 0xc7, 0xff],
    [0xff, 0xb3, 0xba],
];

/// The sRGB colour of palette index `index`: twelve chosen ones, then hues a golden angle apart, without end.
pub fn colour_rgb(index: u32) -> [u8; 3] {
    if let Some(&chosen) = BASE.get(index as usize) {
        return chosen;
    }
    // 2^32 / golden ratio: integer arithmetic, so that no platform rounds a colour differently.
    let hue = index.wrapping_mul(2_654_435_769) >> 16;
    let value: u32 = 255 - 28 * (index % 3);
    let low = value * (30 + 15 * (index / 3 % 3)) / 100;
    let sextant = hue * 6;
    let within = (sextant & 0xffff) * (value - low) / 0xffff;
    let (rising, falling) = ((low + within) as u8, (value - within) as u8);
    let (value, low) = (value as u8, low as u8);
    match sextant >> 16 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_differ_and_never_fail() {
        let mut seen: Vec<[u8; 3]> = (0..64).map(colour_rgb).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 64);
        for index in [u32::MAX, u32::MAX - 1, 1 << 31] {
            let c = colour_rgb(index);
            assert!(c.iter().max() > c.iter().min());
        }
        assert_eq!(colour_rgb(0), [0x2f, 0x9b, 0xff]);
    }
}
