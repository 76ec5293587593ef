//! Which frames of a file are damaged, and which may show it: pure bookkeeping. Finding damage is left to
//! [`super::ffmpeg`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::RangeInclusive,
    sync::Arc,
};

use super::FrameTable;
use crate::project::FrameIndex;

/// Ranges and frames that a warning names one by one.
const NAMED: usize = 8;

/// What is wrong with the picture of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing of it can be decoded. A source gives the picture of another frame in its place.
    Lost {
        /// That other frame: the nearest one before that is not lost, or else the nearest one after.
        shown: Option<FrameIndex>,
    },
    /// Parts of it could not be decoded and are made up.
    Damaged,
    /// It is decoded from the picture of this damaged frame, and may show it.
    BuiltOn(FrameIndex),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { .. } => write!(f, "the file is damaged there"),
            Self::Damaged => write!(f, "it is damaged in the file"),
            Self::BuiltOn(other) => {
                let other = other.0;
                write!(
                    f,
                    "it is built on frame {other}, which is damaged in the file"
                )
            }
        }
    }
}

/// What is known of the damage in a file. It grows as frames are decoded: no file is read through for its sake.
#[derive(Clone, Debug)]
pub struct Damage {
    table: Arc<FrameTable>,
    lost: BTreeSet<u32>,
    damaged: BTreeSet<u32>,
    /// Lost and damaged frames by their place in decoding order.
    by_order: BTreeMap<u32, u32>,
    changes: u64,
}

impl Damage {
    /// Nothing is known to be damaged yet.
    pub fn new(table: Arc<FrameTable>) -> Self {
        Self {
            table,
            lost: BTreeSet::new(),
            damaged: BTreeSet::new(),
            by_order: BTreeMap::new(),
            changes: 0,
        }
    }

    /// The same frames in another table of the same file.
    pub fn on(&self, table: Arc<FrameTable>) -> Self {
        let mut other = Self::new(table);
        self.lost.iter().for_each(|&i| other.lose(i));
        self.damaged.iter().for_each(|&i| other.mark(i));
        other
    }

    /// Counts up with every change: whoever keeps a copy sees by it whether the copy is old.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// No attempt could decode this frame.
    pub fn lose(&mut self, index: u32) {
        if self.lost.insert(index) {
            self.place(index);
        }
    }

    /// This frame is decoded in part, or did not come when it should have.
    pub fn mark(&mut self, index: u32) {
        if self.damaged.insert(index) {
            self.place(index);
        }
    }

    /// This frame was decoded without a fault after all.
    pub fn clear(&mut self, index: u32) {
        if self.damaged.remove(&index) {
            self.changes += 1;
            if !self.lost.contains(&index)
                && let Some(order) = self.order(index)
            {
                self.by_order.remove(&order);
            }
        }
    }

    fn place(&mut self, index: u32) {
        self.changes += 1;
        if let Some(order) = self.order(index) {
            self.by_order.insert(order, index);
        }
    }

    fn order(&self, index: u32) -> Option<u32> {
        self.table.frames().get(index as usize).map(|f| f.order)
    }

    /// Whether no attempt could decode this frame.
    pub fn is_lost(&self, index: FrameIndex) -> bool {
        self.lost.contains(&index.0)
    }

    /// What is known to be wrong with a frame.
    pub fn flaw(&self, index: FrameIndex) -> Option<Flaw> {
        if self.lost.contains(&index.0) {
            let shown = self.stand_ins(index.0).next().map(FrameIndex);
            return Some(Flaw::Lost { shown });
        }
        if self.damaged.contains(&index.0) {
            return Some(Flaw::Damaged);
        }
        let start = self.table.start_for(index.0);
        let from = start.map_or(Some(0), |key| self.order(key))?;
        let mut before = self.by_order.range(from..self.order(index.0)?).rev();
        // Pictures that are shown before an open group's key frame are decoded after it; nothing behind it refers to them.
        let (_, &other) = before.find(|(_, other)| **other >= start.unwrap_or(0))?;
        Some(Flaw::BuiltOn(FrameIndex(other)))
    }

    /// Frames that could stand in for a lost one, nearest first: those before it, then those after.
    pub fn stand_ins(&self, index: u32) -> impl Iterator<Item = u32> + '_ {
        let after = index.saturating_add(1)..self.table.len();
        (0..index.min(self.table.len()))
            .rev()
            .chain(after)
            .filter(|i| !self.lost.contains(i))
    }

    /// What there is to tell the user: one sentence for the frames that can be seen, one for those that cannot.
    pub fn warnings(&self) -> Vec<String> {
        let mut said = Vec::new();
        let flawed = self.flawed();
        if !flawed.is_empty() {
            let names = ranges(&flawed).into_iter().map(|r| {
                let (first, last) = r.into_inner();
                if first == last {
                    first.to_string()
                } else {
                    format!("{first}–{last}")
                }
            });
            let list = listed(names.collect(), flawed.len());
            said.push(format!(
                "damaged frames, and frames built on them, which may show it: {list}"
            ));
        }
        if !self.lost.is_empty() {
            let names = self.lost.iter().map(u32::to_string).collect();
            let list = listed(names, self.lost.len());
            said.push(format!(
                "damaged frames, shown as the nearest whole frame before them: {list}"
            ));
        }
        said
    }

    /// Frames with a picture of their own that is damaged or may be.
    fn flawed(&self) -> BTreeSet<u32> {
        let mut flawed: BTreeSet<u32> = self.damaged.difference(&self.lost).copied().collect();
        // What the first damage in a group reaches, the others reach as well.
        let mut groups: BTreeMap<u32, u32> = BTreeMap::new();
        for (&order, &index) in &self.by_order {
            groups
                .entry(self.table.start_for(index).unwrap_or(0))
                .or_insert(order);
        }
        let keys = self.table.keys();
        for (start, first) in groups {
            let next = keys.partition_point(|&k| k <= start);
            let end = keys.get(next).copied().unwrap_or(self.table.len());
            let reached = |i: &u32| self.order(*i).is_some_and(|o| o > first);
            // An open group reaches back over what is shown before its key frame.
            let early = (0..start).rev().take_while(reached);
            let all = early.chain((start..end).filter(reached));
            flawed.extend(all.filter(|i| !self.lost.contains(i)));
        }
        flawed
    }
}

/// Runs of numbers that follow each other.
fn ranges(numbers: &BTreeSet<u32>) -> Vec<RangeInclusive<u32>> {
    let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some(last) if *last.end() + 1 == number => *last = *last.start()..=number,
            _ => ranges.push(number..=number),
        }
    }
    ranges
}

/// The first few names, and how many frames there are if that is not all.
fn listed(mut names: Vec<String>, frames: usize) -> String {
    if names.len() > NAMED {
        names.truncate(NAMED);
        names.push(format!("{frames} in all"));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::FrameEntry;

    /// Groups of ten frames that are decoded as they are shown.
    fn groups(frames: u32) -> Arc<FrameTable> {
        let entry = |i: u32| FrameEntry {
            pts: i64::from(i),
            order: i,
            pos: -1,
            key: i.is_multiple_of(10),
        };
        let frames = (0..frames).map(entry).collect();
        Arc::new(FrameTable::new((1, 25), false, frames))
    }

    fn flaw(damage: &Damage, index: u32) -> Option<Flaw> {
        damage.flaw(FrameIndex(index))
    }

    #[test]
    fn damage_reaches_to_the_next_key_frame() {
        let mut damage = Damage::new(groups(40));
        assert_eq!(damage.warnings(), [] as [String; 0]);
        damage.mark(13);
        damage.mark(35);
        damage.lose(36);
        let built_on = |i| Some(Flaw::BuiltOn(FrameIndex(i)));
        assert_eq!(flaw(&damage, 12), None);
        assert_eq!(flaw(&damage, 13), Some(Flaw::Damaged));
        assert_eq!(flaw(&damage, 14), built_on(13));
        assert_eq!(flaw(&damage, 19), built_on(13));
        assert_eq!(flaw(&damage, 20), None);
        assert_eq!(flaw(&damage, 37), built_on(36));
        let shown = Some(FrameIndex(35));
        assert_eq!(flaw(&damage, 36), Some(Flaw::Lost { shown }));
        assert_eq!(flaw(&damage, 40), None, "past the end");
        let said = damage.warnings();
        assert!(said[0].ends_with(": 13–19, 35, 37–39"), "{said:?}");
        assert!(said[1].ends_with(": 36"), "{said:?}");
    }

    #[test]
    fn frames_shown_early_but_decoded_late_are_reached_as_well() {
        // 0, 3, 1, 2 in decoding order: the last two are built on frame 3.
        let entry = |pts, order| FrameEntry {
            pts,
            order,
            pos: -1,
            key: order == 0,
        };
        let frames = vec![entry(0, 0), entry(3, 1), entry(1, 2), entry(2, 3)];
        let mut damage = Damage::new(Arc::new(FrameTable::new((1, 25), false, frames)));
        damage.mark(3);
        assert_eq!(flaw(&damage, 0), None);
        assert_eq!(flaw(&damage, 1), Some(Flaw::BuiltOn(FrameIndex(3))));
        assert!(damage.warnings()[0].ends_with(": 1–3"));
    }

    #[test]
    fn what_an_open_group_shows_before_its_key_frame_is_reached_by_it_and_reaches_nothing_behind() {
        // Frame 4 is shown before key frame 5 and decoded after it.
        let entry = |pts, order| FrameEntry {
            pts,
            order,
            pos: -1,
            key: pts == 0 || pts == 5,
        };
        let orders = [0, 1, 2, 3, 5, 4, 6, 7];
        let frames = (0..).zip(orders).map(|(pts, order)| entry(pts, order));
        let table = Arc::new(FrameTable::new((1, 25), false, frames.collect()));
        let mut damage = Damage::new(Arc::clone(&table));
        damage.mark(4);
        assert_eq!([5, 6, 7].map(|i| flaw(&damage, i)), [None; 3]);
        assert!(damage.warnings()[0].ends_with(": 4"));
        let mut damage = Damage::new(table);
        damage.mark(5);
        let built_on = Some(Flaw::BuiltOn(FrameIndex(5)));
        assert_eq!([4, 6, 7].map(|i| flaw(&damage, i)), [built_on; 3]);
        assert_eq!(flaw(&damage, 3), None);
        assert!(damage.warnings()[0].ends_with(": 4–7"));
    }

    #[test]
    fn what_is_decoded_whole_after_all_is_no_damage() {
        let mut damage = Damage::new(groups(40));
        damage.mark(13);
        let before = damage.changes();
        damage.mark(13);
        assert_eq!(damage.changes(), before, "nothing new");
        damage.clear(13);
        assert_ne!(damage.changes(), before);
        assert_eq!(flaw(&damage, 13), None);
        assert_eq!(flaw(&damage, 14), None);
        // What is lost stays so.
        damage.mark(15);
        damage.lose(15);
        damage.clear(15);
        assert!(damage.is_lost(FrameIndex(15)));
        assert_eq!(flaw(&damage, 16), Some(Flaw::BuiltOn(FrameIndex(15))));
    }

    #[test]
    fn a_stand_in_is_the_nearest_frame_that_is_not_lost() {
        let mut damage = Damage::new(groups(12));
        for i in [0, 1, 5, 6] {
            damage.lose(i);
        }
        let first = |i| damage.stand_ins(i).next();
        assert_eq!(first(6), Some(4));
        assert_eq!(first(1), Some(2), "none before it");
        let all = damage.stand_ins(6).collect::<Vec<_>>();
        assert_eq!(all, [4, 3, 2, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        let mut damage = Damage::new(groups(400));
        (0..20).for_each(|i| damage.mark(i * 10 + 9));
        (0..9).for_each(|i| damage.lose(309 + i * 10));
        let said = damage.warnings();
        let first = ": 9, 19, 29, 39, 49, 59, 69, 79, 20 in all";
        assert!(said[0].ends_with(first), "{said:?}");
        assert!(said[1].ends_with("369, 379, 9 in all"), "{said:?}");
    }
}
