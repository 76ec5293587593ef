//! What an object can be called: colours, shapes, textures, motions, superlatives, and their words.
//!
//! Every word here is in nano's vocabulary (`models/nano.json`). The order of each `ALL` is the class order of the
//! training-only attribute heads: append, never reorder.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in class order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Class index: position in [`Self::ALL`].
            pub fn index(self) -> usize {
                self as usize
            }

            /// Its name in one string; several words for some motions.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

words! {
    /// The colour that covers most of an object.
    Colour {
        /// Red.
        Red = "red",
        /// Orange.
        Orange = "orange",
        /// Yellow.
        Yellow = "yellow",
        /// Green.
        Green = "green",
        /// Cyan.
        Cyan = "cyan",
        /// Blue.
        Blue = "blue",
        /// Purple.
        Purple = "purple",
        /// Pink.
        Pink = "pink",
        /// Brown.
        Brown = "brown",
        /// White.
        White = "white",
        /// Gray.
        Gray = "gray",
        /// Black.
        Black = "black",
    }
}

words! {
    /// Outline of an object's body.
    Shape {
        /// Disc.
        Circle = "circle",
        /// Ellipse.
        Oval = "oval",
        /// Square.
        Square = "square",
        /// Rectangle, clearly longer than wide.
        Rectangle = "rectangle",
        /// Equilateral triangle.
        Triangle = "triangle",
        /// Five-pointed star.
        Star = "star",
        /// Ring with a hole.
        Ring = "ring",
        /// Plus sign.
        Cross = "cross",
        /// Rhombus.
        Diamond = "diamond",
        /// Heart.
        Heart = "heart",
        /// Crescent.
        Moon = "moon",
        /// Arrow.
        Arrow = "arrow",
        /// Stick figure with limbs.
        Person = "person",
        /// Smooth irregular outline.
        Blob = "blob",
    }
}

words! {
    /// Pattern on an object.
    Texture {
        /// One shade.
        Plain = "plain",
        /// Fades from one shade to another.
        Gradient = "gradient",
        /// Stripes.
        Striped = "striped",
        /// Dots.
        Dotted = "dotted",
        /// Chequerboard.
        Checkered = "checkered",
        /// Speckle.
        Noisy = "noisy",
    }
}

words! {
    /// What an object does over the clip, relative to the background.
    Motion {
        /// Stays.
        Still = "still",
        /// To the left.
        Left = "moving left",
        /// To the right.
        Right = "moving right",
        /// Upwards.
        Up = "moving up",
        /// Downwards.
        Down = "moving down",
        /// Up and left.
        UpLeft = "moving diagonally up left",
        /// Up and right.
        UpRight = "moving diagonally up right",
        /// Down and left.
        DownLeft = "moving diagonally down left",
        /// Down and right.
        DownRight = "moving diagonally down right",
        /// On a circle.
        Circling = "circling",
        /// Up and down repeatedly.
        Bouncing = "bouncing",
        /// Gets bigger.
        Growing = "growing",
        /// Gets smaller.
        Shrinking = "shrinking",
        /// Turns in place.
        Spinning = "spinning",
    }
}

words! {
    /// Words that need the other objects to be understood.
    Superlative {
        /// Smallest x.
        Leftmost = "leftmost",
        /// Largest x.
        Rightmost = "rightmost",
        /// Smallest y.
        Topmost = "topmost",
        /// Largest y.
        Bottom = "bottom",
        /// Largest area.
        Biggest = "biggest",
        /// Smallest area.
        Smallest = "smallest",
    }
}

impl Shape {
    /// Several of them.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Circle => "circles",
            Self::Oval => "ovals",
            Self::Square => "squares",
            Self::Rectangle => "rectangles",
            Self::Triangle => "triangles",
            Self::Star => "stars",
            Self::Ring => "rings",
            Self::Cross => "crosses",
            Self::Diamond => "diamonds",
            Self::Heart => "hearts",
            Self::Moon => "moons",
            Self::Arrow => "arrows",
            Self::Person => "people",
            Self::Blob => "blobs",
        }
    }
}

impl Motion {
    /// Unit travel in x (right) and y (down), if the object travels in a straight line.
    pub fn direction(self) -> Option<(i8, i8)> {
        Some(match self {
            Self::Left => (-1, 0),
            Self::Right => (1, 0),
            Self::Up => (0, -1),
            Self::Down => (0, 1),
            Self::UpLeft => (-1, -1),
            Self::UpRight => (1, -1),
            Self::DownLeft => (-1, 1),
            Self::DownRight => (1, 1),
            _ => return None,
        })
    }

    /// Words there are for motions: all diagonals are said alike.
    pub const WORDS: usize = 11;

    /// Number of the word for it, below [`Motion::WORDS`].
    pub fn word_index(self) -> usize {
        let at = self as usize;
        let (first, last) = (Self::UpLeft as usize, Self::DownRight as usize);
        if at <= last {
            at.min(first)
        } else {
            at + first - last
        }
    }

    /// The same motion in a clip that is mirrored left to right.
    pub fn mirrored(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
            Self::UpLeft => Self::UpRight,
            Self::UpRight => Self::UpLeft,
            Self::DownLeft => Self::DownRight,
            Self::DownRight => Self::DownLeft,
            other => other,
        }
    }

    /// Whether a person could call this motion by the words of `said` too: "moving left" fits one that goes up and left.
    pub fn could_be_called(self, said: Self) -> bool {
        if self == said {
            return true;
        }
        match (self.direction(), said.direction()) {
            (Some(a), Some(b)) => {
                let fits = |own: i8, said: i8| said == 0 || own == said;
                fits(a.0, b.0) && fits(a.1, b.1)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_in_nanos_vocabulary() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/nano.json");
        let json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let vocabulary: Vec<&str> = json["tokenizer"]["vocabulary"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|v| v.as_str())
            .collect();
        let all = Colour::ALL
            .iter()
            .map(|c| c.word())
            .chain(Shape::ALL.iter().flat_map(|s| [s.word(), s.plural()]))
            .chain(Texture::ALL.iter().map(|t| t.word()))
            .chain(Motion::ALL.iter().map(|m| m.word()))
            .chain(Superlative::ALL.iter().map(|s| s.word()));
        for phrase in all {
            for word in phrase.split(' ') {
                assert!(vocabulary.contains(&word), "{word}");
            }
        }
    }

    #[test]
    fn diagonals_fit_the_words_of_their_parts() {
        assert!(Motion::UpLeft.could_be_called(Motion::Left));
        assert!(!Motion::Left.could_be_called(Motion::UpLeft));
        assert!(!Motion::Growing.could_be_called(Motion::Left));
        for &m in Motion::ALL {
            assert_eq!(m.mirrored().mirrored(), m);
        }
        for (a, b) in Motion::ALL
            .iter()
            .flat_map(|a| Motion::ALL.iter().map(move |b| (*a, *b)))
        {
            let diagonal = |m: Motion| m.direction().is_some_and(|(x, y)| x != 0 && y != 0);
            let alike = a == b || (diagonal(a) && diagonal(b));
            assert_eq!(a.word_index() == b.word_index(), alike, "{a:?} {b:?}");
            assert!(a.word_index() < Motion::WORDS);
        }
    }
}
