//! What a format cannot hold, counted and in words.

use std::{collections::BTreeSet, fmt};

use crate::project::{Document, FrameIndex, FrameMask, Object, ObjectId, counted, have, were};

/// Something of the document that the written dataset does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Pixels that belong to several objects; only the last object of the list keeps them.
    Overlap {
        /// Pixels lost, over all objects and frames.
        pixels: u64,
        /// Frames with such pixels.
        frames: u64,
    },
    /// More objects than the format has ids for; the later ones are left out.
    TooManyObjects {
        /// Objects left out.
        left_out: usize,
        /// Objects that fit.
        limit: usize,
    },
    /// Objects that the official scorer does not see, because it takes the ids of the first frame.
    AbsentFromFirstFrame(Vec<ObjectId>),
    /// Referring phrases and names.
    Phrases {
        /// Objects that have one.
        objects: usize,
    },
    /// Objects that nothing in a dataset of phrases leads to, because they have none.
    WithoutPhrase(Vec<ObjectId>),
    /// Scores, predicted IoUs and provenance.
    Scores {
        /// Masks that have them.
        masks: usize,
    },
    /// Frames on which an object is known to be absent, which look like frames that nobody looked at.
    Absences {
        /// Such masks.
        masks: usize,
    },
    /// Frames on which nothing is known of an object, and which the dataset's readers take for its absence.
    NotLookedAt {
        /// Such frames, over all objects.
        times: usize,
    },
    /// The model's emissions: words, proposals and their scores.
    Emissions {
        /// How many.
        emissions: usize,
    },
    /// Masks left out on request, because no person made or accepted them.
    Unverified {
        /// How many.
        masks: usize,
    },
}

impl Loss {
    /// Whether it was asked for: then the format is not to blame.
    pub fn is_asked(&self) -> bool {
        matches!(self, Self::Unverified { .. })
    }

    /// Whether masks, or pixels of them, are missing that were to be exported.
    pub fn takes_masks(&self) -> bool {
        matches!(
            self,
            Self::Overlap { .. } | Self::TooManyObjects { .. } | Self::WithoutPhrase(_)
        )
    }
}

/// The objects by their numbers.
fn named(ids: &[ObjectId]) -> String {
    let numbers: Vec<String> = ids.iter().map(|id| id.0.to_string()).collect();
    let s = if ids.len() == 1 { "" } else { "s" };
    format!("object{s} {}", numbers.join(", "))
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap { pixels, frames } => write!(
                f,
                "overlapping objects: {} on {} went to the later object of the list",
                counted(*pixels, "pixel"),
                counted(*frames, "frame")
            ),
            Self::TooManyObjects { left_out, limit } => write!(
                f,
                "{} {} left out: the format has ids for {limit}",
                counted(*left_out, "object"),
                were(*left_out)
            ),
            Self::AbsentFromFirstFrame(ids) => {
                let one = ids.len() == 1;
                let (is, it) = if one { ("is", "it") } else { ("are", "them") };
                write!(
                    f,
                    "{} {is} not on the first frame: the official scorer will not see {it}",
                    named(ids)
                )
            }
            Self::Phrases { objects } => write!(
                f,
                "the phrases and names of {} have no place",
                counted(*objects, "object")
            ),
            Self::WithoutPhrase(ids) => {
                let have = have(ids.len());
                write!(
                    f,
                    "{} {have} no phrase: the masks are there, but no expression leads to them",
                    named(ids)
                )
            }
            Self::Scores { masks } => write!(
                f,
                "the scores and provenance of {} have no place",
                counted(*masks, "mask")
            ),
            Self::Absences { masks } => write!(
                f,
                "{} an object is known to be absent: the format cannot tell that from not looked at",
                counted(*masks, "time")
            ),
            Self::NotLookedAt { times } => write!(
                f,
                "{} an object was not looked at on a frame: the format cannot tell that from absent",
                counted(*times, "time")
            ),
            Self::Emissions { emissions } => write!(
                f,
                "the words, proposals and scores of {} have no place",
                counted(*emissions, "emission")
            ),
            Self::Unverified { masks } => write!(
                f,
                "{} that nobody made or accepted {} left out, as asked",
                counted(*masks, "mask"),
                were(*masks)
            ),
        }
    }
}

/// The losses that every format of plain masks shares, without those of nothing.
pub(super) fn common(doc: &Document, verified_only: bool) -> Vec<Loss> {
    let mut out = Vec::new();
    let all = doc.objects.iter().flat_map(|o| o.frames.values());
    let unverified = all.filter(|m| !m.anchor).count();
    if verified_only && unverified > 0 {
        out.push(Loss::Unverified { masks: unverified });
    }
    if !doc.emissions.is_empty() {
        out.push(Loss::Emissions {
            emissions: doc.emissions.len(),
        });
    }
    out
}

/// The losses of a format in which an object has a mask on a frame or is not there. `frames` are those that its readers
/// take for looked at.
pub(super) fn of_presence(
    doc: &Document,
    verified_only: bool,
    frames: &BTreeSet<FrameIndex>,
) -> Vec<Loss> {
    let tells = |m: &FrameMask| m.anchor || !verified_only;
    let all = doc.objects.iter().flat_map(|o| o.frames.values());
    let masks = all.filter(|m| m.rle.is_empty() && tells(m)).count();
    let absences = (masks > 0).then_some(Loss::Absences { masks });
    let unknown = not_looked_at(doc.objects.iter(), frames, tells);
    absences.into_iter().chain(unknown).collect()
}

/// Frames among `frames` on which one of `objects` has nothing that `tells` where it is.
pub(super) fn not_looked_at<'a>(
    objects: impl Iterator<Item = &'a Object>,
    frames: &BTreeSet<FrameIndex>,
    tells: impl Fn(&FrameMask) -> bool,
) -> Option<Loss> {
    let told = |o: &Object| {
        let there = o.frames.iter().filter(|(f, _)| frames.contains(f));
        there.filter(|(_, m)| tells(m)).count()
    };
    let times: usize = objects.map(|o| frames.len() - told(o)).sum();
    (times > 0).then_some(Loss::NotLookedAt { times })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_of_one_thing_is_told_as_one() {
        let one = [
            Loss::Overlap {
                pixels: 1,
                frames: 1,
            },
            Loss::AbsentFromFirstFrame(vec![ObjectId(3)]),
            Loss::WithoutPhrase(vec![ObjectId(3)]),
            Loss::Unverified { masks: 1 },
        ];
        let said = one.map(|loss| loss.to_string());
        assert!(said[0].contains("1 pixel on 1 frame went"), "{}", said[0]);
        assert!(said[1].starts_with("object 3 is not"), "{}", said[1]);
        assert!(said[2].starts_with("object 3 has no"), "{}", said[2]);
        assert!(
            said[3].starts_with("1 mask that nobody made or accepted was"),
            "{}",
            said[3]
        );
        let several = Loss::WithoutPhrase(vec![ObjectId(3), ObjectId(7)]);
        assert!(several.to_string().starts_with("objects 3, 7 have no"));
    }
}
