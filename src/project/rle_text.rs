//! COCO's compressed run lengths: the text form that every COCO tool reads and writes. Leaves the runs themselves to
//! [`super::mask`].
//!
//! Each count is written in groups of five bits, lowest first, as `group + 48` (plus 32 when another group follows);
//! the last group is sign-extended. From the fourth count on (index 3), what is written is the difference to the count
//! two places earlier. This is `rleToString`/`rleFrString` of the COCO tools, byte for byte.

use super::{
    geometry::Size,
    mask::{MaskError, Rle},
};

impl Rle {
    /// The compressed text of the runs, as COCO writes it.
    pub fn to_coco_string(&self) -> String {
        let mut out = String::with_capacity(self.counts.len() * 2);
        for (i, &count) in self.counts.iter().enumerate() {
            let mut x = i64::from(count);
            if i > 2 {
                x -= i64::from(self.counts[i - 2]);
            }
            loop {
                let group = (x & 0x1f) as u8;
                x >>= 5;
                let more = if group & 0x10 != 0 { x != -1 } else { x != 0 };
                out.push(char::from(group + if more { 0x20 } else { 0 } + 48));
                if !more {
                    break;
                }
            }
        }
        out
    }

    /// Reads COCO's compressed text for a frame of `size`. Runs of zero length inside are joined, so that equal masks
    /// are equal values.
    ///
    /// # Errors
    /// [`MaskError::BadCounts`] for a character or run outside the coding, [`MaskError::WrongLength`] if the runs do
    /// not fill the frame.
    pub fn from_coco_string(size: Size, text: &str) -> Result<Self, MaskError> {
        let bytes = text.as_bytes();
        let mut counts: Vec<u32> = Vec::with_capacity(bytes.len() / 2 + 1);
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            let bad = MaskError::BadCounts { at: start };
            let mut x = 0_i64;
            let mut shift = 0;
            loop {
                let Some(&byte) = bytes.get(at) else {
                    return Err(bad);
                };
                let group = byte.wrapping_sub(48);
                // Seven groups hold 35 bits, more than any count or difference needs.
                if group > 0x3f || shift > 30 {
                    return Err(MaskError::BadCounts { at });
                }
                x |= i64::from(group & 0x1f) << shift;
                shift += 5;
                at += 1;
                if group & 0x20 == 0 {
                    if group & 0x10 != 0 {
                        x |= -1 << shift;
                    }
                    break;
                }
            }
            if counts.len() > 2 {
                x += i64::from(counts[counts.len() - 2]);
            }
            let Ok(count) = u32::try_from(x) else {
                return Err(bad);
            };
            counts.push(count);
        }
        Self::new(size, counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Bitmap;

    fn size(width: u32, height: u32) -> Size {
        Size::new(width, height)
    }

    /// From the COCO tools: `mask.encode` of a 3×4 (h×w) mask with (0,1) and (1,1) set gives counts 3 2 7.
    #[test]
    fn three_counts_are_written_as_they_are() {
        let rle = Rle::new(size(4, 3), vec![3, 2, 7]).unwrap();
        assert_eq!(rle.to_coco_string(), "327");
        assert_eq!(Rle::from_coco_string(size(4, 3), "327").unwrap(), rle);
    }

    #[test]
    fn the_fourth_count_is_a_difference() {
        // 5 1 2 3 4: written 5, 1, 2, 3-1=2, 4-2=2.
        let rle = Rle::new(size(5, 3), vec![5, 1, 2, 3, 4]).unwrap();
        assert_eq!(rle.to_coco_string(), "51222");
        assert_eq!(Rle::from_coco_string(size(5, 3), "51222").unwrap(), rle);
        // A falling count gives a negative difference: 9 8 7 2: 2-8=-6 -> group 26 (0x1a), sign bit set, no more.
        let rle = Rle::new(size(26, 1), vec![9, 8, 7, 2]).unwrap();
        assert_eq!(rle.to_coco_string(), "987J");
        assert_eq!(Rle::from_coco_string(size(26, 1), "987J").unwrap(), rle);
    }

    #[test]
    fn large_counts_take_several_groups() {
        // 409920 = 854·480.
        let empty = Rle::empty(size(854, 480));
        let text = empty.to_coco_string();
        assert_eq!(text, "PZ`<");
        assert_eq!(Rle::from_coco_string(size(854, 480), &text).unwrap(), empty);
    }

    #[test]
    fn damaged_text_is_an_error_never_a_panic() {
        let s = size(4, 3);
        assert_eq!(
            Rle::from_coco_string(s, "3 7"),
            Err(MaskError::BadCounts { at: 1 })
        );
        assert_eq!(
            Rle::from_coco_string(s, "32"),
            Err(MaskError::WrongLength {
                got: 5,
                expected: 12
            })
        );
        // A group that promises another one, then the end.
        assert_eq!(
            Rle::from_coco_string(s, "32P"),
            Err(MaskError::BadCounts { at: 2 })
        );
        // A negative count.
        assert_eq!(
            Rle::from_coco_string(s, "3O"),
            Err(MaskError::BadCounts { at: 1 })
        );
        assert!(Rle::from_coco_string(s, "oooooooooooo0").is_err());
        assert!(Rle::from_coco_string(s, "é").is_err());
        assert!(Rle::from_coco_string(s, "").is_err());
    }

    #[test]
    fn every_small_mask_survives() {
        let s = size(3, 4);
        for bits in 0_u32..1 << 12 {
            let data = (0..12).map(|k| (bits >> k & 1) as u8).collect();
            let rle = Rle::from_bitmap(&Bitmap { size: s, data });
            let back = Rle::from_coco_string(s, &rle.to_coco_string()).unwrap();
            assert_eq!(back, rle);
        }
    }
}
