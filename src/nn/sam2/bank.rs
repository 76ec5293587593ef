//! Which memories a frame looks at.
//!
//! The rule of the released `_prepare_memory_conditioned_features` as pure data, apart from tensors: the tracker and the
//! trainer share it.

/// The frame that is to be conditioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// Its index.
    pub frame: usize,
    /// Frames of the clip; fewer than the pointer limit lower that limit.
    pub num_frames: usize,
    /// Time runs backward.
    pub reverse: bool,
    /// At most this many conditioning frames, the nearest ones; `None` = all, as released.
    pub max_conditioning: Option<usize>,
}

impl FrameInfo {
    /// A frame of a clip that is walked forward, all conditioning frames in use.
    pub fn forward(frame: usize, num_frames: usize) -> Self {
        Self {
            frame,
            num_frames,
            reverse: false,
            max_conditioning: None,
        }
    }

    /// `steps` frames back in the order of walking.
    fn earlier(&self, steps: usize) -> Option<usize> {
        if self.reverse {
            Some(self.frame + steps).filter(|f| *f < self.num_frames)
        } else {
            self.frame.checked_sub(steps)
        }
    }
}

/// What a bank holds of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Frame index.
    pub frame: usize,
    /// A person (or the prompt) made this frame's mask.
    pub conditioning: bool,
}

/// Chosen entries, by their index in the bank.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slots {
    /// Entry and time slot: 0 = conditioning, else how far from the oldest slot.
    pub spatial: Vec<(usize, usize)>,
    /// Entry and signed distance in frames, positive = earlier in the order of walking.
    pub pointers: Vec<(usize, i64)>,
    /// Frames within the pointer limit; scales the distances.
    pub max_pointers: usize,
}

/// Chooses memories (at most `num_maskmem − 1` besides the conditioning ones) and pointers (within `max_obj_ptrs`
/// frames).
pub fn select(
    bank: &[Remembered],
    info: FrameInfo,
    num_maskmem: usize,
    max_obj_ptrs: usize,
) -> Slots {
    let conditioning = nearest_conditioning(bank, info);
    let is_chosen = |i: usize| conditioning.contains(&i);
    // A conditioning frame that is not among the nearest still counts as an ordinary recent frame.
    let at = |frame: usize| {
        let here = |ordinary: bool| {
            bank.iter()
                .enumerate()
                .position(|(i, r)| r.frame == frame && r.conditioning != ordinary && !is_chosen(i))
        };
        here(true).or_else(|| here(false))
    };

    let mut spatial: Vec<_> = conditioning.iter().map(|i| (*i, 0)).collect();
    for slot in 1..num_maskmem {
        let recent = info.earlier(num_maskmem - slot).and_then(at);
        spatial.extend(recent.map(|i| (i, slot)));
    }

    let max_pointers = info.num_frames.min(max_obj_ptrs);
    let mut pointers = Vec::new();
    for &i in &conditioning {
        let distance = info.frame as i64 - bank[i].frame as i64;
        let distance = if info.reverse { -distance } else { distance };
        // A pointer says what the object was, so one from ahead is left out.
        if distance >= 0 {
            pointers.push((i, distance));
        }
    }
    for steps in 1..max_pointers {
        let Some(frame) = info.earlier(steps) else {
            break;
        };
        pointers.extend(at(frame).map(|i| (i, steps as i64)));
    }
    Slots {
        spatial,
        pointers,
        max_pointers,
    }
}

/// Conditioning entries in use: all, or the nearest, with one on either side in time where there is one.
fn nearest_conditioning(bank: &[Remembered], info: FrameInfo) -> Vec<usize> {
    let all: Vec<usize> = (0..bank.len()).filter(|i| bank[*i].conditioning).collect();
    let Some(limit) = info.max_conditioning.filter(|limit| *limit < all.len()) else {
        return all;
    };
    let distance = |i: &usize| bank[*i].frame.abs_diff(info.frame);
    let before = all.iter().copied().filter(|i| bank[*i].frame < info.frame);
    let after = all.iter().copied().filter(|i| bank[*i].frame >= info.frame);
    let mut chosen: Vec<usize> = before
        .min_by_key(distance)
        .into_iter()
        .chain(after.min_by_key(distance))
        .collect();
    chosen.sort_by_key(distance);
    let mut rest: Vec<usize> = all.into_iter().filter(|i| !chosen.contains(i)).collect();
    rest.sort_by_key(distance);
    chosen.extend(rest);
    chosen.truncate(limit);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bank(conditioning: &[usize], ordinary: &[usize]) -> Vec<Remembered> {
        let entry = |conditioning| {
            move |frame: &usize| Remembered {
                frame: *frame,
                conditioning,
            }
        };
        let mut bank: Vec<_> = conditioning.iter().map(entry(true)).collect();
        bank.extend(ordinary.iter().map(entry(false)));
        bank
    }

    #[test]
    fn a_long_forward_walk_sees_one_conditioning_and_six_recent_frames() {
        let bank = bank(&[0], &(1..20).collect::<Vec<_>>());
        let slots = select(&bank, FrameInfo::forward(20, 100), 7, 16);
        assert_eq!(
            slots.spatial,
            [(0, 0), (14, 1), (15, 2), (16, 3), (17, 4), (18, 5), (19, 6)]
        );
        assert_eq!(slots.pointers.len(), 16);
        assert_eq!(slots.pointers[0], (0, 20));
        assert_eq!(slots.pointers[15], (5, 15));
    }

    #[test]
    fn a_short_clip_lowers_the_pointer_limit() {
        let bank = bank(&[0], &[1, 2, 3]);
        let slots = select(&bank, FrameInfo::forward(4, 3), 7, 16);
        assert_eq!(slots.max_pointers, 3);
        assert_eq!(slots.pointers, [(0, 4), (3, 1), (2, 2)]);
    }

    #[test]
    fn backward_looks_the_other_way_and_never_at_pointers_ahead() {
        let bank = bank(&[0, 9], &[8, 7]);
        let info = FrameInfo {
            reverse: true,
            ..FrameInfo::forward(6, 10)
        };
        let slots = select(&bank, info, 4, 4);
        assert_eq!(slots.spatial, [(0, 0), (1, 0), (2, 2), (3, 3)]);
        assert_eq!(slots.pointers, [(1, 3), (3, 1), (2, 2)]);
    }

    #[test]
    fn distant_conditioning_frames_give_way_but_recent_ones_stay_as_ordinary() {
        let bank = bank(&[0, 40, 48, 60, 90], &[49]);
        let info = FrameInfo {
            max_conditioning: Some(2),
            ..FrameInfo::forward(50, 100)
        };
        let slots = select(&bank, info, 4, 4);
        assert_eq!(slots.spatial, [(2, 0), (3, 0), (5, 3)]);
        assert_eq!(slots.pointers, [(2, 2), (5, 1)]);
    }
}
