//! A `SentencePiece` model file (`tokenizer.model`) of the byte-pair kind, and text cut into its pieces.
//!
//! Read here because the released folders carry this file alone: their tokenizer is the slow one, and the `tokenizers`
//! crate reads only what the fast one writes. Cutting follows the reference: characters are joined pairwise, the pair
//! with the best score first and the leftmost on ties; a character without a piece becomes its UTF-8 bytes. Models that
//! change text before they cut it (other than by marking blanks) are refused.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, HashMap},
};

/// Stands for a blank inside pieces.
pub(super) const BLANK: char = '▁';

/// Why a model file cannot be used. Every message is a clause about the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PieceModelError {
    /// It is not what it should be.
    #[error("it is cut short or is not a SentencePiece model")]
    Damaged,
    /// It is one of another kind.
    #[error("{0}, which Sparrow does not read")]
    Unsupported(&'static str),
}

type Result<T> = std::result::Result<T, PieceModelError>;

/// A field of a protocol buffer.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

/// Reads a protocol buffer's fields one after another.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(bytes)
    }

    /// Number and content of the next field; `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        self.field().map(Some).ok_or(PieceModelError::Damaged)
    }

    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Number(self.varint()?),
            1 => Field::Bytes(self.take(8)?),
            2 => {
                let n = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(n)?)
            }
            5 => Field::Four(self.take(4)?.try_into().ok()?),
            _ => return None,
        };
        Some((key >> 3, field))
    }
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// A model file's content.
#[derive(Clone, Debug)]
pub struct PieceModel {
    /// Text of every piece, by id.
    pieces: Vec<String>,
    kinds: Vec<Kind>,
    scores: Vec<f32>,
    /// Pieces that text is cut into.
    ids: HashMap<String, u32>,
    /// Pieces that are never cut, longest first.
    whole: Vec<(String, u32)>,
    bytes: Option<Box<[u32; 256]>>,
    unknown: u32,
    dummy_prefix: bool,
}

/// A run of text that may still be joined with its neighbours.
#[derive(Clone, Copy)]
struct Symbol {
    from: usize,
    to: usize,
    previous: Option<usize>,
    next: Option<usize>,
    frozen: bool,
}

/// Two neighbours that form a piece.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl PieceModel {
    /// Reads a model file.
    ///
    /// # Errors
    /// [`PieceModelError`] if it is damaged or of a kind that is not read.
    pub fn read(file: &[u8]) -> Result<Self> {
        let mut model = Self {
            pieces: Vec::new(),
            kinds: Vec::new(),
            scores: Vec::new(),
            ids: HashMap::new(),
            whole: Vec::new(),
            bytes: None,
            unknown: 0,
            dummy_prefix: true,
        };
        let mut fields = Fields(file);
        // Unless said otherwise a model is of the unigram kind.
        let mut kind = 1;
        let mut fallback = false;
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Bytes(piece)) => model.add(piece)?,
                (2, Field::Bytes(trainer)) => {
                    let mut fields = Fields(trainer);
                    while let Some((number, field)) = fields.next()? {
                        match (number, field) {
                            (3, Field::Number(n)) => kind = n,
                            (24, Field::Number(1)) => {
                                return Err(PieceModelError::Unsupported(
                                    "its pieces carry their blank at the end",
                                ));
                            }
                            (35, Field::Number(n)) => fallback = n == 1,
                            _ => {}
                        }
                    }
                }
                (3, Field::Bytes(normalizer)) => model.normalizer(normalizer)?,
                _ => {}
            }
        }
        if model.pieces.is_empty() {
            return Err(PieceModelError::Damaged);
        }
        if kind != 2 {
            return Err(PieceModelError::Unsupported(
                "it is not of the byte-pair kind",
            ));
        }
        model.finish(fallback)?;
        Ok(model)
    }

    /// A model whose only pieces are bytes.
    pub(super) fn of_bytes() -> Self {
        let bytes: [u32; 256] = std::array::from_fn(|i| i as u32 + 1);
        Self {
            pieces: std::iter::once("<unk>".to_owned())
                .chain((0..256).map(|b| format!("<0x{b:02X}>")))
                .collect(),
            kinds: std::iter::once(Kind::Unknown)
                .chain(std::iter::repeat_n(Kind::Byte, 256))
                .collect(),
            scores: vec![0.0; 257],
            ids: HashMap::new(),
            whole: Vec::new(),
            bytes: Some(Box::new(bytes)),
            unknown: 0,
            dummy_prefix: true,
        }
    }

    fn add(&mut self, piece: &[u8]) -> Result<()> {
        let (mut text, mut score, mut kind) = (String::new(), 0.0, Kind::Normal);
        let mut fields = Fields(piece);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => {
                    text = String::from_utf8(bytes.to_vec())
                        .ok()
                        .ok_or(PieceModelError::Damaged)?;
                }
                (2, Field::Four(bytes)) => score = f32::from_le_bytes(bytes),
                (3, Field::Number(n)) => {
                    kind = match n {
                        1 => Kind::Normal,
                        2 => Kind::Unknown,
                        3 => Kind::Control,
                        4 => Kind::UserDefined,
                        5 => Kind::Unused,
                        6 => Kind::Byte,
                        _ => return Err(PieceModelError::Damaged),
                    }
                }
                _ => {}
            }
        }
        self.pieces.push(text);
        self.scores.push(score);
        self.kinds.push(kind);
        Ok(())
    }

    fn normalizer(&mut self, spec: &[u8]) -> Result<()> {
        let mut removes_blanks = true;
        let mut fields = Fields(spec);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (2, Field::Bytes(map)) if !map.is_empty() => {
                    return Err(PieceModelError::Unsupported(
                        "it changes characters before it cuts text",
                    ));
                }
                (3, Field::Number(n)) => self.dummy_prefix = n == 1,
                (4, Field::Number(n)) => removes_blanks = n == 1,
                (5, Field::Number(0)) => {
                    return Err(PieceModelError::Unsupported("it does not mark blanks"));
                }
                _ => {}
            }
        }
        if removes_blanks {
            return Err(PieceModelError::Unsupported("it removes blanks"));
        }
        Ok(())
    }

    fn finish(&mut self, fallback: bool) -> Result<()> {
        let mut bytes = [None; 256];
        for (id, (text, kind)) in self.pieces.iter().zip(&self.kinds).enumerate() {
            let id = id as u32;
            match kind {
                Kind::Normal => {
                    self.ids.insert(text.clone(), id);
                }
                Kind::UserDefined => {
                    self.ids.insert(text.clone(), id);
                    self.whole.push((text.clone(), id));
                }
                Kind::Unused => {
                    return Err(PieceModelError::Unsupported("it has pieces out of use"));
                }
                Kind::Unknown => self.unknown = id,
                Kind::Byte => {
                    let value = text
                        .strip_prefix("<0x")
                        .and_then(|t| t.strip_suffix('>'))
                        .and_then(|t| u8::from_str_radix(t, 16).ok())
                        .ok_or(PieceModelError::Damaged)?;
                    bytes[usize::from(value)] = Some(id);
                }
                Kind::Control => {}
            }
        }
        self.whole
            .sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        if fallback {
            let mut all = [0; 256];
            for (slot, id) in all.iter_mut().zip(bytes) {
                *slot = id.ok_or(PieceModelError::Damaged)?;
            }
            self.bytes = Some(Box::new(all));
        }
        Ok(())
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there is no piece at all.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The piece with an id.
    pub fn piece(&self, id: u32) -> Option<&str> {
        self.pieces.get(id as usize).map(String::as_str)
    }

    /// The byte that an id stands for.
    pub fn byte(&self, id: u32) -> Option<u8> {
        let all = self.bytes.as_ref()?;
        all.iter().position(|&b| b == id).map(|b| b as u8)
    }

    /// Whether an id is of a piece that is no text, such as the beginning of a sequence.
    pub fn is_control(&self, id: u32) -> bool {
        matches!(
            self.kinds.get(id as usize),
            Some(Kind::Control | Kind::Unknown)
        )
    }

    /// Whether the model itself wants a blank in front of every text.
    pub fn dummy_prefix(&self) -> bool {
        self.dummy_prefix
    }

    /// Cuts text into pieces; blanks are marked here, and one is put in front if `prefix` says so.
    pub fn encode(&self, text: &str, prefix: bool) -> Vec<u32> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut marked = String::with_capacity(text.len() + 3);
        if prefix {
            marked.push(BLANK);
        }
        for c in text.chars() {
            marked.push(if c == ' ' { BLANK } else { c });
        }
        let symbols = self.join(&marked);
        let mut out = Vec::new();
        let mut at = Some(0);
        while let Some(symbol) = at.and_then(|i| symbols.get(i)) {
            let piece = &marked[symbol.from..symbol.to];
            match (self.ids.get(piece), &self.bytes) {
                (Some(&id), _) => out.push(id),
                (None, Some(bytes)) => {
                    out.extend(piece.bytes().map(|b| bytes[usize::from(b)]));
                }
                // A run of unknown characters is one unknown piece.
                (None, None) => {
                    if out.last() != Some(&self.unknown) {
                        out.push(self.unknown);
                    }
                }
            }
            at = symbol.next;
        }
        out
    }

    fn symbols(&self, text: &str) -> Vec<Symbol> {
        let mut out: Vec<Symbol> = Vec::new();
        let mut from = 0;
        while let Some(c) = text[from..].chars().next() {
            let whole = self
                .whole
                .iter()
                .find(|(piece, _)| text[from..].starts_with(piece.as_str()));
            let length = whole.map_or(c.len_utf8(), |(piece, _)| piece.len());
            out.push(Symbol {
                from,
                to: from + length,
                previous: out.len().checked_sub(1),
                next: Some(out.len() + 1),
                frozen: whole.is_some(),
            });
            from += length;
        }
        if let Some(last) = out.last_mut() {
            last.next = None;
        }
        out
    }

    fn pair(&self, text: &str, symbols: &[Symbol], left: usize, right: usize) -> Option<Pair> {
        let (a, b) = (symbols.get(left)?, symbols.get(right)?);
        if a.frozen || b.frozen {
            return None;
        }
        let id = *self.ids.get(&text[a.from..b.to])?;
        Some(Pair {
            score: *self.scores.get(id as usize)?,
            left,
            right,
            length: b.to - a.from,
        })
    }

    fn join(&self, text: &str) -> Vec<Symbol> {
        let mut symbols = self.symbols(text);
        let mut heap: BinaryHeap<Pair> = (1..symbols.len())
            .filter_map(|right| self.pair(text, &symbols, right - 1, right))
            .collect();
        while let Some(pair) = heap.pop() {
            let (a, b) = (symbols[pair.left], symbols[pair.right]);
            // A neighbour was joined with another in the meantime: an emptied symbol, or a longer one.
            if a.from == a.to || b.from == b.to || b.to - a.from != pair.length {
                continue;
            }
            symbols[pair.left].to = b.to;
            symbols[pair.left].next = b.next;
            symbols[pair.right].to = b.from;
            if let Some(next) = b.next {
                symbols[next].previous = Some(pair.left);
            }
            let neighbours = [
                a.previous.map(|previous| (previous, pair.left)),
                b.next.map(|next| (pair.left, next)),
            ];
            for (left, right) in neighbours.into_iter().flatten() {
                heap.extend(self.pair(text, &symbols, left, right));
            }
        }
        symbols
    }
}
