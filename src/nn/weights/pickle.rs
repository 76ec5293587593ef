//! Python's pickle as data: just enough of it to read what PyTorch saves, and nothing that could act.
//!
//! A pickle is a program for a stack machine that may call any function by name. This reader knows the instructions that
//! make plain containers, and six kinds of names: ordered dictionaries, tensors and parameters, storages, sizes and
//! number types. Any other name is refused with that name, before anything is made of it. Values live in an arena and
//! refer to each other by index, so that neither deep nesting nor cycles can exhaust the stack. Tensors stay
//! descriptions; where their numbers lie is left to [`super::torch`].

use super::element::Element;

/// Why a pickle cannot be read. Every message is a clause about the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PickleError {
    /// The bytes end before the program does.
    #[error("its list of tensors is cut short")]
    CutShort,
    /// It names something that is not data.
    #[error(
        "it asks Python to load {0}, and Sparrow reads nothing but tensors and plain containers"
    )]
    Refused(String),
    /// An instruction outside of what PyTorch writes.
    #[error("its list of tensors uses pickle instruction {0:#04x}, which PyTorch never writes")]
    Instruction(u8),
    /// The program makes no sense.
    #[error("its list of tensors is damaged ({0})")]
    Damaged(&'static str),
}

type Result<T> = std::result::Result<T, PickleError>;

/// Index of a value in its [`Arena`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u32);

/// A part of a storage seen as a tensor; sizes, strides and offset count elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorRef {
    pub(super) storage: StorageRef,
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A run of numbers in a file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StorageRef {
    pub(super) key: String,
    pub(super) element: Element,
    pub(super) elements: u64,
}

/// Names that stand for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
    Storage(Element),
    /// A number type, as in `torch.float16`.
    NumberType,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool,
    Int(i64),
    Float,
    Text(String),
    Bytes,
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    Storage(StorageRef),
    Tensor(TensorRef),
}

/// All values of a pickle.
#[derive(Debug, Default)]
pub(super) struct Arena(Vec<Value>);

impl Arena {
    fn put(&mut self, value: Value) -> Result<Id> {
        let id = u32::try_from(self.0.len())
            .ok()
            .ok_or(PickleError::Damaged("too many values"))?;
        self.0.push(value);
        Ok(Id(id))
    }

    /// The value behind an index.
    pub(super) fn get(&self, id: Id) -> &Value {
        // Indices come from `put` alone.
        self.0.get(id.0 as usize).unwrap_or(&Value::None)
    }

    fn get_mut(&mut self, id: Id) -> Option<&mut Value> {
        self.0.get_mut(id.0 as usize)
    }

    /// What a dictionary holds under a text key.
    pub(super) fn entry(&self, dict: Id, key: &str) -> Option<Id> {
        let Value::Dict(entries) = self.get(dict) else {
            return None;
        };
        // The last one counts, as in Python.
        entries
            .iter()
            .rev()
            .find(|(k, _)| matches!(self.get(*k), Value::Text(t) if t == key))
            .map(|(_, v)| *v)
    }

    fn int(&self, id: Id) -> Result<i64> {
        match self.get(id) {
            Value::Int(i) => Ok(*i),
            _ => Err(PickleError::Damaged("a number is expected")),
        }
    }

    fn tuple(&self, id: Id) -> Result<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) => Ok(items),
            _ => Err(PickleError::Damaged("a tuple is expected")),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        let items = match self.get(id) {
            Value::Tuple(items) | Value::List(items) => items,
            _ => return Err(PickleError::Damaged("a tensor has no shape")),
        };
        if items.len() > MOST_DIMENSIONS {
            return Err(PickleError::Damaged("a tensor has too many dimensions"));
        }
        items
            .iter()
            .map(|&i| {
                usize::try_from(self.int(i)?)
                    .ok()
                    .ok_or(PickleError::Damaged("a tensor has a negative size"))
            })
            .collect()
    }
}

fn name(module: &str, name: &str) -> Result<Name> {
    let known = match (module, name) {
        ("collections", "OrderedDict") => Some(Name::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Some(Name::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Some(Name::RebuildParameter),
        ("torch", "Size") => Some(Name::Size),
        ("torch", _) if Element::of_number_type(name).is_some() => Some(Name::NumberType),
        ("torch" | "torch.cuda", _) => Element::of_storage(name).map(Name::Storage),
        _ => None,
    };
    known.ok_or_else(|| PickleError::Refused(format!("{module}.{name}")))
}

/// The stack machine.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    arena: Arena,
    stack: Vec<Id>,
    /// Heights of the stack where a run of values begins.
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
}

/// Dimensions of a tensor at most; PyTorch itself stops at 64.
const MOST_DIMENSIONS: usize = 64;

/// Entries of the memo at most: PyTorch numbers them from 0, a few per tensor.
const MEMO_LIMIT: usize = 1 << 24;

impl Machine<'_> {
    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(n).ok_or(PickleError::CutShort)?;
        let bytes = self.bytes.get(self.at..end).ok_or(PickleError::CutShort)?;
        self.at = end;
        Ok(bytes)
    }

    /// A little-endian number of up to 8 bytes.
    fn number(&mut self, n: usize) -> Result<u64> {
        let mut wide = [0_u8; 8];
        wide[..n].copy_from_slice(self.take(n)?);
        Ok(u64::from_le_bytes(wide))
    }

    fn length(&mut self, n: usize) -> Result<usize> {
        usize::try_from(self.number(n)?)
            .ok()
            .ok_or(PickleError::CutShort)
    }

    fn text(&mut self, n: usize) -> Result<String> {
        String::from_utf8(self.take(n)?.to_vec())
            .ok()
            .ok_or(PickleError::Damaged("a name is no text"))
    }

    fn line(&mut self) -> Result<String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let n = rest
            .iter()
            .position(|&b| b == b'\n')
            .ok_or(PickleError::CutShort)?;
        let line = self.text(n)?;
        self.at += 1;
        Ok(line)
    }

    fn push(&mut self, value: Value) -> Result<()> {
        let id = self.arena.put(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(PickleError::Damaged("a value is missing"));
        }
        self.stack.pop().ok_or(PickleError::CutShort)
    }

    fn top(&self) -> Result<Id> {
        self.stack
            .last()
            .copied()
            .ok_or(PickleError::Damaged("a value is missing"))
    }

    fn since_mark(&mut self) -> Result<Vec<Id>> {
        let at = self
            .marks
            .pop()
            .filter(|&at| at <= self.stack.len())
            .ok_or(PickleError::Damaged("a run of values has no beginning"))?;
        Ok(self.stack.split_off(at))
    }

    fn tuple(&mut self, n: usize) -> Result<()> {
        let mut items = Vec::with_capacity(n);
        for _ in 0..n {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Value::Tuple(items))
    }

    fn remember(&mut self, at: usize) -> Result<()> {
        if at >= MEMO_LIMIT {
            return Err(PickleError::Damaged("a value has an absurd number"));
        }
        let id = self.top()?;
        if self.memo.len() <= at {
            self.memo.resize(at + 1, None);
        }
        self.memo[at] = Some(id);
        Ok(())
    }

    fn recall(&mut self, at: usize) -> Result<()> {
        let id = self
            .memo
            .get(at)
            .copied()
            .flatten()
            .ok_or(PickleError::Damaged("a value is used before it is made"))?;
        self.stack.push(id);
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        match self.arena.get_mut(list) {
            Some(Value::List(old)) => {
                old.extend(items);
                Ok(())
            }
            _ => Err(PickleError::Damaged("a list is expected")),
        }
    }

    fn set_items(&mut self, items: &[Id]) -> Result<()> {
        let dict = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        match self.arena.get_mut(dict) {
            Some(Value::Dict(old)) if rest.is_empty() => {
                old.extend(pairs.iter().map(|[k, v]| (*k, *v)));
                Ok(())
            }
            _ => Err(PickleError::Damaged("a dictionary is expected")),
        }
    }

    fn named(&mut self, module: &str, id: &str) -> Result<()> {
        let name = name(module, id)?;
        self.push(Value::Name(name))
    }

    /// A tensor's numbers: `('storage', type, key, place, elements)`.
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let items = self.arena.tuple(id)?;
        let [_, kind, key, _, elements] = items else {
            return Err(PickleError::Damaged("a storage has an unknown form"));
        };
        let (Value::Name(Name::Storage(element)), Value::Text(key)) =
            (self.arena.get(*kind), self.arena.get(*key))
        else {
            return Err(PickleError::Damaged("a storage has an unknown form"));
        };
        let storage = StorageRef {
            key: key.clone(),
            element: *element,
            elements: u64::try_from(self.arena.int(*elements)?)
                .ok()
                .ok_or(PickleError::Damaged("a storage has a negative size"))?,
        };
        self.push(Value::Storage(storage))
    }

    /// The few calls that make data.
    fn call(&mut self) -> Result<()> {
        let (args, callee) = (self.pop()?, self.pop()?);
        let Value::Name(name) = *self.arena.get(callee) else {
            return Err(PickleError::Damaged("something without a name is called"));
        };
        let items = self.arena.tuple(args)?;
        let value = match name {
            Name::OrderedDict => match items.first().map(|&i| self.arena.get(i)) {
                None => Value::Dict(Vec::new()),
                // As Python 2 wrote it: a list of pairs.
                Some(Value::List(pairs)) => {
                    let pair = |&p: &Id| match self.arena.tuple(p)? {
                        [k, v] => Ok((*k, *v)),
                        _ => Err(PickleError::Damaged("a dictionary is made of no pairs")),
                    };
                    Value::Dict(pairs.iter().map(pair).collect::<Result<_>>()?)
                }
                Some(_) => return Err(PickleError::Damaged("a dictionary is made of no pairs")),
            },
            Name::RebuildTensor => {
                let [storage, offset, shape, strides, ..] = items else {
                    return Err(PickleError::Damaged("a tensor has an unknown form"));
                };
                let Value::Storage(storage) = self.arena.get(*storage) else {
                    return Err(PickleError::Damaged("a tensor has no storage"));
                };
                Value::Tensor(TensorRef {
                    storage: storage.clone(),
                    offset: u64::try_from(self.arena.int(*offset)?)
                        .ok()
                        .ok_or(PickleError::Damaged("a tensor has a negative offset"))?,
                    shape: self.arena.sizes(*shape)?,
                    strides: self.arena.sizes(*strides)?,
                })
            }
            Name::RebuildParameter => match items.first().map(|&i| self.arena.get(i)) {
                Some(Value::Tensor(tensor)) => Value::Tensor(tensor.clone()),
                _ => return Err(PickleError::Damaged("a parameter has no tensor")),
            },
            // A size is its tuple: the same value again, so that no program can make the arena grow by copies.
            Name::Size => match items.first() {
                Some(&sizes) => {
                    self.stack.push(sizes);
                    return Ok(());
                }
                None => Value::Tuple(Vec::new()),
            },
            Name::Storage(_) | Name::NumberType => {
                return Err(PickleError::Damaged("a number type is called"));
            }
        };
        self.push(value)
    }

    fn pushes(&mut self, op: u8) -> Result<bool> {
        let value = match op {
            b'N' => Value::None,
            0x88 | 0x89 => Value::Bool,
            b'J' => Value::Int(i64::from(self.number(4)? as u32 as i32)),
            b'K' => Value::Int(self.number(1)? as i64),
            b'M' => Value::Int(self.number(2)? as i64),
            0x8a => {
                let n = self.length(1)?;
                if n > 8 {
                    return Err(PickleError::Damaged("a number is too large"));
                }
                // Two's complement of n bytes.
                let shift = 64 - 8 * n as u32;
                let value = if n == 0 { 0 } else { self.number(n)? << shift };
                Value::Int(if n == 0 { 0 } else { value as i64 >> shift })
            }
            b'G' => {
                self.take(8)?;
                Value::Float
            }
            b'X' | 0x8c | 0x8d | b'U' | b'T' => {
                let n = self.length(match op {
                    b'X' | b'T' => 4,
                    0x8d => 8,
                    _ => 1,
                })?;
                Value::Text(self.text(n)?)
            }
            b'B' | b'C' | 0x8e => {
                let n = self.length(match op {
                    b'B' => 4,
                    b'C' => 1,
                    _ => 8,
                })?;
                self.take(n)?;
                Value::Bytes
            }
            b']' => Value::List(Vec::new()),
            b')' => Value::Tuple(Vec::new()),
            b'}' => Value::Dict(Vec::new()),
            _ => return Ok(false),
        };
        self.push(value)?;
        Ok(true)
    }

    /// Carries out one instruction; `true` at the end.
    fn step(&mut self) -> Result<bool> {
        let op = self.take(1)?[0];
        if self.pushes(op)? {
            return Ok(false);
        }
        match op {
            0x80 => {
                if self.number(1)? > 5 {
                    return Err(PickleError::Damaged("an unknown pickle version"));
                }
            }
            // A frame's length; frames mean nothing here.
            0x95 => {
                self.take(8)?;
            }
            b'.' => return Ok(true),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'q' => {
                let at = self.length(1)?;
                self.remember(at)?;
            }
            b'r' => {
                let at = self.length(4)?;
                self.remember(at)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' => {
                let at = self.length(1)?;
                self.recall(at)?;
            }
            b'j' => {
                let at = self.length(4)?;
                self.recall(at)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (v, k) = (self.pop()?, self.pop()?);
                self.set_items(&[k, v])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set_items(&items)?;
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items))?;
            }
            b'l' => {
                let items = self.since_mark()?;
                self.push(Value::List(items))?;
            }
            0x85..=0x87 => self.tuple(usize::from(op - 0x84))?,
            b'c' => {
                let (module, id) = (self.line()?, self.line()?);
                self.named(&module, &id)?;
            }
            0x93 => {
                let (id, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(id)) =
                    (self.arena.get(module).clone(), self.arena.get(id).clone())
                else {
                    return Err(PickleError::Damaged("a name is no text"));
                };
                self.named(&module, &id)?;
            }
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            // Attributes of a container (PyTorch notes module versions there) are of no use.
            b'b' => {
                self.pop()?;
                let target = self.top()?;
                if !matches!(self.arena.get(target), Value::Dict(_) | Value::Tensor(_)) {
                    return Err(PickleError::Damaged("attributes of something unknown"));
                }
            }
            _ => return Err(PickleError::Instruction(op)),
        }
        Ok(false)
    }
}

/// Reads a pickle: all its values and which one it is about.
///
/// # Errors
/// [`PickleError`], at the latest where the program stops making sense.
pub(super) fn read(bytes: &[u8]) -> Result<(Arena, Id)> {
    let mut machine = Machine {
        bytes,
        at: 0,
        arena: Arena::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    while !machine.step()? {}
    let root = machine.pop()?;
    Ok((machine.arena, root))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{'a': <tensor>, 'n': 3}` as `torch.save` writes it.
    fn small() -> Vec<u8> {
        let mut p =
            b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02"
                .to_vec();
        p.extend(b"((X\x07\x00\x00\x00storageq\x03ctorch\nHalfStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x0ctq\x07Q");
        p.extend(b"K\x02K\x02K\x03\x86q\x08K\x01K\x02\x86q\x09\x89ccollections\nOrderedDict\nq\x0a)Rq\x0btq\x0cRq\x0d");
        p.extend(b"X\x01\x00\x00\x00nq\x0eK\x03u.");
        p
    }

    #[test]
    fn what_pytorch_writes_is_read() {
        let (arena, root) = read(&small()).unwrap();
        let tensor = arena.entry(root, "a").unwrap();
        let Value::Tensor(tensor) = arena.get(tensor) else {
            panic!("no tensor");
        };
        assert_eq!(tensor.storage.element, Element::F16);
        assert_eq!(tensor.storage.key, "0");
        assert_eq!(tensor.storage.elements, 12);
        assert_eq!((tensor.offset, tensor.shape.as_slice()), (2, &[2, 3][..]));
        assert_eq!(tensor.strides, [1, 2]);
        let n = arena.entry(root, "n").unwrap();
        assert_eq!(arena.get(n), &Value::Int(3));
        assert!(arena.entry(root, "b").is_none());
    }

    #[test]
    fn code_is_refused_by_its_name_before_it_is_called() {
        // os.system("…"), in both spellings of a name, and what looks harmless but is not data.
        let classic = b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00echo\x85R.";
        assert_eq!(
            read(classic).unwrap_err(),
            PickleError::Refused("os.system".into())
        );
        let stacked = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93.";
        assert_eq!(
            read(stacked).unwrap_err(),
            PickleError::Refused("posix.system".into())
        );
        for (module, id) in [
            ("builtins", "eval"),
            ("torch", "load"),
            ("torch._utils", "_rebuild_qtensor"),
            ("argparse", "Namespace"),
            ("collections", "defaultdict"),
        ] {
            let program = format!("c{module}\n{id}\n.");
            let error = read(program.as_bytes()).unwrap_err();
            assert_eq!(error, PickleError::Refused(format!("{module}.{id}")));
            assert!(error.to_string().contains(id));
        }
        // Making an object of a class, or calling through an instruction of its own.
        for op in [0x81_u8, 0x92, b'i', b'o', b'P', 0x82] {
            assert_eq!(read(&[op]).unwrap_err(), PickleError::Instruction(op));
        }
    }

    #[test]
    fn every_cut_is_an_error_and_never_a_panic() {
        let whole = small();
        for n in 0..whole.len() {
            assert!(read(&whole[..n]).is_err(), "{n}");
        }
        // Every byte replaced by every other: whatever it gives, it gives it without a panic.
        for at in 0..whole.len() {
            for value in [0, b'(', b'.', b'R', b'Q', b'u', b'h', 0x87, 0x8a, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                drop(read(&damaged));
            }
        }
    }

    #[test]
    fn deep_nesting_and_cycles_end() {
        let mut deep = vec![b']'; 300_000];
        deep.extend(vec![b'a'; 299_999]);
        deep.push(b'.');
        assert!(read(&deep).is_ok());
        // A list that holds itself.
        assert!(read(b"]q\x00h\x00a.").is_ok());
    }

    #[test]
    fn numbers_of_any_width_keep_their_sign() {
        let int = |program: &[u8]| {
            let (arena, root) = read(program).unwrap();
            arena.int(root).unwrap()
        };
        assert_eq!(int(b"J\xfe\xff\xff\xff."), -2);
        assert_eq!(int(b"\x8a\x05\x00\x00\x00\x00\x01."), 1 << 32);
        assert_eq!(int(b"\x8a\x01\xff."), -1);
        assert_eq!(int(b"\x8a\x00."), 0);
        assert_eq!(int(b"M\x00\xff."), 0xff00);
    }
}
