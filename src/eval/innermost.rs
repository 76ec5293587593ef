//! Where a person would click: the pixel of a mask that lies deepest in it. Leaves what a model makes of a click to the model.

use crate::project::{Bitmap, PointPx};

/// The centre of the pixel that is farthest from any pixel outside the mask, in steps of a chess king, the frame's edge being
/// outside; of equally deep ones the first by rows. `None` if the mask is empty.
pub(super) fn innermost(mask: &Bitmap) -> Option<PointPx> {
    let (w, h) = (mask.size.width as usize, mask.size.height as usize);
    // With a ring of pixels around the frame, which are outside.
    let wide = w + 2;
    let mut depth = vec![0_u32; wide * (h + 2)];
    let places: Vec<usize> = (0..w * h)
        .filter(|i| mask.data[*i] != 0)
        .map(|i| (i / w + 1) * wide + i % w + 1)
        .collect();
    for &i in &places {
        let before = [i - 1, i - wide - 1, i - wide, i - wide + 1].map(|c| depth[c]);
        depth[i] = 1 + before.into_iter().min().unwrap_or(0);
    }
    for &i in places.iter().rev() {
        let behind = [i + 1, i + wide - 1, i + wide, i + wide + 1].map(|c| depth[c]);
        depth[i] = behind.into_iter().fold(depth[i] - 1, u32::min) + 1;
    }
    // Of equals, `max_by_key` takes the last.
    let deepest = places.into_iter().rev().max_by_key(|i| depth[*i])?;
    let middle = |v: usize| (v - 1) as f32 + 0.5;
    Some(PointPx {
        x: middle(deepest % wide),
        y: middle(deepest / wide),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{BoxPx, Size};

    #[test]
    fn the_deepest_pixel_is_found_and_the_frames_edge_is_outside() {
        let size = Size {
            width: 12,
            height: 9,
        };
        let filled = |x1, y1, x2, y2| Bitmap::from_box(size, BoxPx { x1, y1, x2, y2 });
        let middle = innermost(&filled(2.0, 1.0, 7.0, 6.0));
        assert_eq!(middle, Some(PointPx { x: 4.5, y: 3.5 }));
        // A thin bar along the frame's edge, with a block at its end.
        let mut mask = filled(0.0, 0.0, 12.0, 1.0);
        for y in 0..3 {
            mask.data[y * 12 + 9..(y + 1) * 12].fill(1);
        }
        assert_eq!(innermost(&mask), Some(PointPx { x: 10.5, y: 1.5 }));
        assert_eq!(innermost(&Bitmap::new(size)), None);
        let whole = innermost(&filled(0.0, 0.0, 12.0, 9.0));
        assert_eq!(whole, Some(PointPx { x: 4.5, y: 4.5 }));
    }
}
