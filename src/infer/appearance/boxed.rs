//! Masks of boxes: what a person or the proposer drew a box around. Colours inside and around it are learnt and the box is
//! divided, by turns. Leaves the next frames to [`super::carried`].

use super::{
    AppearanceConfig, NEVER, barrier,
    canvas::{Area, Canvas},
    carried::depth,
    clicks::{Click, said},
    colours::Colours,
    count,
    mixture::{Mixture, Rgb},
};
use crate::{
    infer::{masks::LowRes, preprocess::Bounds},
    project::BoxPx,
};

/// A mask fills a box that a person drew if its own box has this IoU with it: less is probably a part of the object, or something else
/// in the box. Well below 1, for nobody draws to the pixel.
const FILLED: f32 = 0.7;
/// What a part of that IoU that is missing weighs against the weakness of a border, 0 … 1.
const UNFILLED: f32 = 3.0;
/// Odds that are given to the object, as natural logarithms, one after the other, as long as nothing fills the box.
const LIFTS: [f32; 3] = [1.0, 2.0, 3.0];
/// Rounds of dividing and of learning colours anew.
const ROUNDS: usize = 4;
/// Less than this part of a box is too little to be its object: for [`PLAIN`] divisions, and for what the decoder paints.
const LEAST: f32 = 0.15;
/// As much of a box must look like the object does elsewhere.
const RECOGNISED: f32 = 0.02;
/// Two masks whose IoU is smaller say something else.
const ALIKE: f32 = 0.7;
/// IoU of the box with that of the mask that it corrects, from which it lies around it.
const SAME_BOX: f32 = 0.7;
/// What has a smaller IoU with that mask is of something else.
const WHOLLY_ELSE: f32 = 0.5;
/// Where the box lies elsewhere, a cut of a smaller IoU with what it holds of that mask has left it …
const LEFT: f32 = 0.3;
/// … and is of something else if it looks less like the object by this much, see [`Colours::likeness`] …
const LESS_ALIKE: f32 = 0.15;
/// … and what comes of the mask is larger, or has a box of its own with this IoU with the box.
const HALF_FILLED: f32 = 0.5;
/// A round that leaves this IoU with the one before was the last.
const SETTLED: f32 = 0.99;
/// Where a box's object is looked for first: within this part of its half axes.
const CORE: f32 = 0.7;
/// A colour is unusual if it is less likely than this part of the surroundings are.
const UNUSUAL: f32 = 0.05;
/// What the middle of a box says for the object.
const CENTRED: f32 = 0.5;

/// What a person asked for: a box, in parts of the image, and clicks.
#[derive(Clone, Copy)]
pub(in crate::infer) struct Asked<'a> {
    pub(in crate::infer) bounds: Bounds,
    pub(in crate::infer) clicks: &'a [Click],
    /// What the object looks like on other frames.
    pub(in crate::infer) known: Option<&'a Colours>,
    /// The mask on the grid that the box corrects.
    pub(in crate::infer) carried: Option<&'a [bool]>,
    /// Whether the object meets all sides of the box: a person drew it.
    pub(in crate::infer) met: bool,
}

/// The mask of a box. `None` where colours do not tell: the decoder's mask is the better one.
///
/// Several ways of beginning are tried. What comes of each is a cut that no other cut betters, and which of these cuts is the
/// object's, their costs do not say: each was made with colours of its own. Of those that fill a
/// box that a person drew (where none does, the object is given better odds until one does), the one whose border follows the
/// picture's edges most closely is taken; but where this cut is of something wholly else than the mask that the box corrects, that
/// mask is what is divided.
pub(in crate::infer) fn in_box(
    canvas: &Canvas,
    decoded: &LowRes,
    asked: Asked<'_>,
    config: &AppearanceConfig,
) -> Option<Divided> {
    let scene = Scene::new(canvas, decoded, &asked, config);
    let mut tried = scene.tried(0.0, config);
    for lift in LIFTS {
        if tried.is_empty() || tried.iter().any(|t| t.unfilled == 0.0) {
            break;
        }
        tried.extend(scene.tried(lift, config));
    }
    let Tried { weakness, mask, .. } = tried
        .into_iter()
        .min_by(|a, b| a.cost().total_cmp(&b.cost()))?;
    let (weakness, mask) = match scene.corrected(&mask, config) {
        Some(mask) => (scene.weakness(&mask), mask),
        None => (weakness, mask),
    };
    // Two opinions that differ much: a decoder that is sure of itself is mostly right, on what it was trained on.
    let overruled = scene.said.is_empty()
        && decoded.iou >= config.trust
        && alike(&mask, |i| scene.inside(i) && scene.logits[i] > 0.0) < ALIKE;
    (!overruled).then(|| Divided {
        mask: decoded.divided(&mask, canvas.side),
        weakness,
    })
}

/// A mask of a box.
#[derive(Debug)]
pub(in crate::infer) struct Divided {
    pub(in crate::infer) mask: LowRes,
    /// How badly its border follows the picture's edges, 0 … 1.
    pub(in crate::infer) weakness: f32,
}

/// A way of beginning.
struct Start {
    /// What is looked for first.
    seed: Seed,
    /// Most that fences say, see [`barrier`].
    fence: f32,
    /// A division into less than this part of the box has lost the object.
    least: f32,
    /// Of borders that follow the picture's edges about equally well, the one with the larger favour is taken.
    favour: f32,
}

/// What an object is looked for with.
#[derive(Clone, Copy, PartialEq)]
enum Seed {
    /// Colours in the middle that are unusual around the box, if they fill this part of it; else all of the middle.
    Unusual(f32),
    /// Colours that the object has on other frames.
    Known,
    /// The mask that is corrected, and its colours.
    Carried,
}

const PLAIN: Start = Start {
    seed: Seed::Unusual(0.075),
    fence: 0.0,
    least: LEAST,
    favour: 0.0,
};

/// What is fenced off may be small: ropes make a wide box.
const FENCED: Start = Start {
    seed: Seed::Unusual(0.02),
    fence: 4.0,
    least: 0.05,
    favour: 0.0,
};

const KNOWN: Start = Start {
    seed: Seed::Known,
    fence: 0.0,
    least: 0.04,
    favour: 0.01,
};

const CARRIED: Start = Start {
    seed: Seed::Carried,
    fence: 0.0,
    least: 0.04,
    favour: 0.0,
};

/// A box with all that is known of it.
struct Scene<'a> {
    canvas: &'a Canvas,
    area: Area,
    ring: Area,
    logits: Vec<f32>,
    said: Vec<(usize, bool)>,
    /// −1 where a pixel is reached from outside without a step, up to 1.
    fences: Vec<f32>,
    /// `None` if the box is all there is.
    around: Option<Surroundings>,
    known: Option<&'a Colours>,
    /// `None` if the box holds nothing of a mask that it corrects.
    carried: Option<Carried>,
    met: bool,
}

/// What a box holds of the mask that it corrects.
struct Carried {
    mask: Vec<bool>,
    /// Whether the box lies around the whole of it, and not somewhere else.
    same_box: bool,
}

impl Carried {
    fn of(mask: &[bool], area: Area, side: usize) -> Option<Self> {
        let there = Area::around(mask, side)?;
        let inside = |i: usize| mask[i] && area.contains(i, side);
        let held: Vec<bool> = (0..mask.len()).map(inside).collect();
        held.contains(&true).then(|| Self {
            mask: held,
            same_box: overlap(there, area) >= SAME_BOX,
        })
    }
}

/// What came of one way of beginning.
struct Tried {
    mask: Vec<bool>,
    weakness: f32,
    unfilled: f32,
    favour: f32,
}

impl Tried {
    fn cost(&self) -> f32 {
        self.weakness + self.unfilled - self.favour
    }
}

/// Colours around a box.
struct Surroundings {
    colours: Mixture,
    /// Colours of a smaller logarithm of likelihood are unusual there.
    usual: f32,
}

impl Surroundings {
    fn of(pixels: &[Rgb], config: &AppearanceConfig) -> Option<Self> {
        let colours = Mixture::fit(pixels, config.around())?;
        let mut all: Vec<f32> = pixels.iter().map(|c| colours.log_likelihood(*c)).collect();
        let at = (all.len() as f32 * UNUSUAL) as usize;
        let (_, usual, _) = all.select_nth_unstable_by(at, f32::total_cmp);
        let usual = *usual;
        Some(Self { colours, usual })
    }
}

impl<'a> Scene<'a> {
    fn new(
        canvas: &'a Canvas,
        decoded: &LowRes,
        asked: &Asked<'a>,
        config: &AppearanceConfig,
    ) -> Self {
        let side = canvas.side;
        let [x1, y1, x2, y2] = asked.bounds;
        let (x, y) = (config.slack * (x2 - x1), config.slack * (y2 - y1));
        let area = Area::of([x1 - x, y1 - y, x2 + x, y2 + y], side);
        let ring = area.surroundings(side);
        let outside = canvas.of(|i| ring.contains(i, side) && !area.contains(i, side));
        let around = Surroundings::of(&outside, config);
        Self {
            canvas,
            area,
            ring,
            logits: decoded.spread(side),
            said: said(asked.clicks, side),
            fences: match &around {
                Some(_) => fences(canvas, area, ring),
                None => vec![0.0; side * side],
            },
            around,
            known: asked.known,
            carried: asked.carried.and_then(|mask| Carried::of(mask, area, side)),
            met: asked.met,
        }
    }

    fn inside(&self, i: usize) -> bool {
        self.area.contains(i, self.canvas.side)
    }

    /// Pixels of a part of the box.
    fn part(&self, share: f32) -> f32 {
        share * (self.area.width() * self.area.height()) as f32
    }

    /// What comes of each way of beginning.
    fn tried(&self, lift: f32, config: &AppearanceConfig) -> Vec<Tried> {
        let starts = [PLAIN, FENCED, KNOWN].into_iter();
        let found = starts.filter_map(|start| {
            let mask = self.divided(&start, lift, config)?;
            Some(Tried {
                unfilled: self.unfilled(&mask),
                weakness: self.weakness(&mask),
                favour: start.favour,
                mask,
            })
        });
        found.collect()
    }

    /// What comes of the mask that is corrected, if a cut has left it for something else. A mask that the box lies around was of the
    /// object; of another, the object's colours have to say so, and what comes of it must not be a scrap beside the cut.
    fn corrected(&self, cut: &[bool], config: &AppearanceConfig) -> Option<Vec<bool>> {
        let carried = self.carried.as_ref()?;
        let common = alike(cut, |i| carried.mask[i]);
        if carried.same_box {
            return (common < WHOLLY_ELSE)
                .then(|| self.divided(&CARRIED, 0.0, config))
                .flatten();
        }
        let known = self.known.filter(|_| common < LEFT && self.met)?;
        let like = |mask: &[bool]| known.likeness(self.canvas, mask);
        if like(&carried.mask) - like(cut) < LESS_ALIKE {
            return None;
        }
        let mask = self.divided(&CARRIED, 0.0, config)?;
        let larger = count(&mask) > count(cut);
        (larger || self.filled(&mask) >= HALF_FILLED).then_some(mask)
    }

    /// How badly a mask's border follows the picture's edges, 0 … 1.
    fn weakness(&self, mask: &[bool]) -> f32 {
        let rim = self.area.grown(1, 1, self.canvas.side);
        self.canvas.weakness(rim, mask)
    }

    /// What it costs that a mask leaves a part of the box empty, if the object is known to meet its sides.
    fn unfilled(&self, mask: &[bool]) -> f32 {
        if !self.met {
            return 0.0;
        }
        UNFILLED * (FILLED - self.filled(mask)).max(0.0)
    }

    /// IoU of a mask's own box with the box.
    fn filled(&self, mask: &[bool]) -> f32 {
        let own = Area::around(mask, self.canvas.side);
        own.map_or(0.0, |own| overlap(own, self.area))
    }

    /// What is divided from a beginning, with so much said for the object everywhere; `None` if it comes to nothing.
    fn divided(&self, start: &Start, lift: f32, config: &AppearanceConfig) -> Option<Vec<bool>> {
        let (canvas, side) = (self.canvas, self.canvas.side);
        // 0 in the middle, 1 where the box's sides are met.
        let radius = |i: usize| {
            let at = |v: usize, (a, b): (usize, usize)| {
                (2.0 * (v as f32 + 0.5) - (a + b) as f32) / (b - a) as f32
            };
            at(i % side, self.area.x).hypot(at(i / side, self.area.y))
        };
        let (known, mut mask) = match start.seed {
            Seed::Known => (Some(self.known?), self.recognised(self.known?)?),
            Seed::Unusual(part) => (None, self.core(part)),
            Seed::Carried => (None, self.carried.as_ref()?.mask.clone()),
        };
        // Where it was carried to says something, as while it is carried.
        let places = (start.seed == Seed::Carried)
            .then(|| (depth(&mask, side), config.reach_of(count(&mask))));
        let of_place = |i: usize| match &places {
            Some((depth, reach)) => config.of_place(depth[i], *reach),
            None => 0.0,
        };
        for &(i, on) in &self.said {
            mask[i] = on && self.inside(i);
        }
        let mut found = false;
        for round in 0..ROUNDS {
            // At first only what lies around the box is known not to be the object; a box around everything has nothing there.
            let anew;
            let around = match &self.around {
                Some(around) if round == 0 => Some(&around.colours),
                _ => {
                    let rest = canvas.of(|i| self.ring.contains(i, side) && !mask[i]);
                    anew = Mixture::fit(&rest, config.around());
                    anew.as_ref()
                }
            };
            let object = Mixture::fit(&canvas.of(|i| mask[i]), config.colours);
            let (Some(object), Some(around)) = (object, around) else {
                break;
            };
            let mut evidence = vec![-NEVER; side * side];
            for i in self.area.pixels(side) {
                let colour = canvas.pixels[i];
                let mut of_object = object.log_likelihood(colour);
                if let Some(known) = known {
                    of_object = of_object.max(known.object.log_likelihood(colour));
                }
                let odds = of_object - around.log_likelihood(colour);
                evidence[i] = odds.clamp(-config.colour, config.colour)
                    + config.of_decoder(self.logits[i])
                    + CENTRED * (1.0 - radius(i))
                    + start.fence * self.fences[i]
                    + of_place(i)
                    + lift;
            }
            for &(i, on) in self.said.iter().filter(|(i, _)| self.inside(*i)) {
                evidence[i] = if on { NEVER } else { -NEVER };
            }
            // With a rim that is not the object: a border through one colour costs where the box cuts through it, too.
            let now = canvas.divide(self.area.grown(1, 1, side), &evidence, config.border);
            // What a person has clicked on may be as thin as it is.
            let least = if self.said.is_empty() {
                self.part(start.least)
            } else {
                1.0
            };
            if (count(&now) as f32) < least {
                break;
            }
            let settled = found && alike(&mask, |i| now[i]) >= SETTLED;
            (mask, found) = (now, true);
            if settled {
                break;
            }
        }
        found.then_some(mask)
    }

    /// The pixels in the box that look like the object elsewhere, and not like anything else there or around the box.
    fn recognised(&self, known: &Colours) -> Option<Vec<bool>> {
        let side = self.canvas.side;
        let mut mask = vec![false; side * side];
        for i in self.area.pixels(side) {
            let at = |m: &Mixture| m.log_likelihood(self.canvas.pixels[i]);
            let around = self.around.as_ref().map(|a| &a.colours);
            let other = around.map_or(f32::NEG_INFINITY, at);
            mask[i] = at(&known.object) > other.max(at(&known.elsewhere));
        }
        (count(&mask) as f32 >= self.part(RECOGNISED)).then_some(mask)
    }

    /// Where a box's object is looked for first: near its middle, where the decoder sees it and where colours are not those
    /// around the box; of these conditions, as many as leave something.
    fn core(&self, unusual_part: f32) -> Vec<bool> {
        let (side, area) = (self.canvas.side, self.area);
        let mut mask = vec![false; side * side];
        let half = |(a, b): (usize, usize)| (0.5 * (a + b) as f32, 0.5 * (b - a) as f32 * CORE);
        let ((cx, rx), (cy, ry)) = (half(area.x), half(area.y));
        for i in area.pixels(side) {
            let (x, y) = ((i % side) as f32 + 0.5, (i / side) as f32 + 0.5);
            mask[i] = ((x - cx) / rx).hypot((y - cy) / ry) < 1.0;
        }
        let painted = area.pixels(side).filter(|i| self.logits[*i] > 0.0).count();
        if painted as f32 >= self.part(LEAST) {
            for (m, logit) in mask.iter_mut().zip(&self.logits) {
                *m &= *logit > 0.0;
            }
        }
        if let Some(around) = &self.around {
            let unusual: Vec<bool> = mask
                .iter()
                .zip(&self.canvas.pixels)
                .map(|(m, c)| *m && around.colours.log_likelihood(*c) < around.usual)
                .collect();
            if count(&unusual) as f32 >= self.part(unusual_part) {
                return unusual;
            }
        }
        mask
    }
}

/// How well each pixel of a box is fenced off from what is around it: −1 not at all, 1 at least twice as well as what parts the
/// box's pixels best; 0 outside.
fn fences(canvas: &Canvas, area: Area, ring: Area) -> Vec<f32> {
    let side = canvas.side;
    let high = barrier::barriers(canvas, ring, |i| !area.contains(i, side));
    let inside: Vec<f32> = area.pixels(side).map(|i| high[i]).collect();
    let threshold = barrier::threshold(&inside);
    let mut fences = vec![0.0; side * side];
    for i in area.pixels(side) {
        fences[i] = ((high[i] - threshold) / threshold).clamp(-1.0, 1.0);
    }
    fences
}

/// Intersection over union.
fn overlap(one: Area, other: Area) -> f32 {
    let corners = |a: Area| BoxPx::from_array([a.x.0, a.y.0, a.x.1, a.y.1].map(|v| v as f32));
    corners(one).iou(corners(other))
}

/// Intersection over union of a mask with what `other` says.
fn alike(mask: &[bool], other: impl Fn(usize) -> bool) -> f32 {
    let (mut both, mut either) = (0_u32, 0_u32);
    for (i, &m) in mask.iter().enumerate() {
        let o = other(i);
        both += u32::from(m && o);
        either += u32::from(m || o);
    }
    both as f32 / either.max(1) as f32
}
