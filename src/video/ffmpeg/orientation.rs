//! How a stream's pictures have to be turned and mirrored for display, as its display matrix says. The mirroring is done in
//! [`super::pixels`], the turning by whoever displays.

use video_rs::ffmpeg::{codec, format};

/// How a picture has to be turned for display.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orientation {
    /// Clockwise quarter turns.
    pub(super) rotation: u8,
    /// Mirrored left to right before turning.
    pub(super) mirrored: bool,
}

/// From the display matrix: 16.16 fixed point, row vectors, so `x' = m0·x + m3·y`.
pub(super) fn orientation(stream: &format::stream::Stream<'_>) -> Orientation {
    let matrix = stream
        .side_data()
        .find(|s| s.kind() == codec::packet::side_data::Type::DisplayMatrix);
    let Some(matrix) = matrix else {
        return Orientation::default();
    };
    let values: Vec<f64> = matrix
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&b| f64::from(i32::from_ne_bytes(b)))
        .collect();
    orientation_of(&values)
}

fn orientation_of(m: &[f64]) -> Orientation {
    let &[a, b, _, c, d, ..] = m else {
        return Orientation::default();
    };
    let mirrored = a * d - b * c < 0.0;
    let (a, b) = if mirrored { (-a, -b) } else { (a, b) };
    let quarters = (b.atan2(a).to_degrees() / 90.0).round() as i32;
    Orientation {
        rotation: u8::try_from(quarters.rem_euclid(4)).unwrap_or(0),
        mirrored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(m: [f64; 5]) -> (u8, bool) {
        let o = orientation_of(&m);
        (o.rotation, o.mirrored)
    }

    #[test]
    fn orientation_comes_from_the_matrix() {
        const ONE: f64 = 65536.0;
        assert_eq!(turned([ONE, 0.0, 0.0, 0.0, ONE]), (0, false));
        assert_eq!(turned([0.0, ONE, 0.0, -ONE, 0.0]), (1, false));
        assert_eq!(turned([-ONE, 0.0, 0.0, 0.0, -ONE]), (2, false));
        assert_eq!(turned([0.0, -ONE, 0.0, ONE, 0.0]), (3, false));
        assert_eq!(turned([-ONE, 0.0, 0.0, 0.0, ONE]), (0, true));
        // Top to bottom is left to right and half a turn.
        assert_eq!(turned([ONE, 0.0, 0.0, 0.0, -ONE]), (2, true));
        assert_eq!(turned([0.0; 5]), (0, false));
    }
}
