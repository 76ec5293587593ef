//! Masks as the overlay wants them: one bit per object, in as few byte layers as it takes, transposed.

use crate::project::{Rle, Size};

/// The overlay draws at most this many objects at once (`MOST_OBJECTS` in the shader); further ones are left out.
pub const MOST_OBJECTS: usize = 64;

/// Bit planes of a frame's masks. Byte `x × height + y` of layer `i / 8` holds object `i` in bit `i % 8`: the order of
/// run lengths, so a run is one straight stretch of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskLayers {
    /// The frame's size.
    pub size: Size,
    /// One `width × height` plane per eight objects, column by column.
    pub layers: Vec<Vec<u8>>,
    /// Objects added so far.
    pub objects: usize,
}

impl MaskLayers {
    /// No object yet.
    pub fn new(size: Size) -> Self {
        Self {
            size,
            layers: Vec::new(),
            objects: 0,
        }
    }

    fn next(&mut self) -> Option<(usize, u8)> {
        let index = self.objects;
        if index >= MOST_OBJECTS {
            return None;
        }
        self.objects += 1;
        if index / 8 >= self.layers.len() {
            self.layers.push(vec![0; self.size.area() as usize]);
        }
        Some((index / 8, 1 << (index % 8)))
    }

    /// Adds the next object from run lengths. A mask of another size than the frame's stays empty. Returns the object's
    /// index, or `None` when there is no room.
    pub fn push(&mut self, rle: &Rle) -> Option<usize> {
        let (layer, bit) = self.next()?;
        if rle.size == self.size {
            let plane = &mut self.layers[layer];
            let mut at = 0_usize;
            for (i, &count) in rle.counts.iter().enumerate() {
                let end = at.saturating_add(count as usize).min(plane.len());
                if i % 2 == 1 {
                    for byte in &mut plane[at..end] {
                        *byte |= bit;
                    }
                }
                at = end;
            }
        }
        Some(self.objects - 1)
    }

    /// Adds the next object from a column-major plane of 0 and 1 (a mask being painted).
    pub fn push_columns(&mut self, columns: &[u8]) -> Option<usize> {
        let (layer, bit) = self.next()?;
        for (byte, &on) in self.layers[layer].iter_mut().zip(columns) {
            if on != 0 {
                *byte |= bit;
            }
        }
        Some(self.objects - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Bitmap;

    #[test]
    fn a_run_lands_in_its_column_and_bit() {
        let size = Size::new(3, 2);
        let mut bitmap = Bitmap::new(size);
        // Row 1, column 2.
        bitmap.data[5] = 1;
        let mut layers = MaskLayers::new(size);
        assert_eq!(layers.push(&Rle::empty(size)), Some(0));
        assert_eq!(layers.push(&Rle::from_bitmap(&bitmap)), Some(1));
        assert_eq!(layers.layers, vec![vec![0, 0, 0, 0, 0, 0b10]]);
    }

    #[test]
    fn a_ninth_object_opens_a_layer_and_a_sixty_fifth_is_refused() {
        let size = Size::new(1, 1);
        let mut layers = MaskLayers::new(size);
        let full = Rle {
            size,
            counts: vec![0, 1],
        };
        for i in 0..MOST_OBJECTS {
            assert_eq!(layers.push(&full), Some(i));
        }
        assert_eq!(layers.layers.len(), 8);
        assert!(layers.layers.iter().all(|l| l == &[0xff]));
        assert_eq!(layers.push(&full), None);
    }

    #[test]
    fn runs_past_the_frame_and_masks_of_another_size_do_no_harm() {
        let size = Size::new(2, 2);
        let mut layers = MaskLayers::new(size);
        let long = Rle {
            size,
            counts: vec![3, u32::MAX],
        };
        let other = Rle {
            size: Size::new(1, 1),
            counts: vec![0, 1],
        };
        layers.push(&long);
        layers.push(&other);
        assert_eq!(layers.layers, vec![vec![0, 0, 0, 1]]);
    }
}
