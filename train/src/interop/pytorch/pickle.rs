//! A machine for pickles that builds data and calls nothing.
//!
//! It knows the opcodes that Python's `pickle` writes in protocols 2 to 5 and the few globals that a state dict is made of
//! ([`super::globals`]); any other global is refused by name before anything is done with it. Values live in one arena and
//! refer to each other by number: a file can neither make deep drops, nor cycles that leak, nor copies that outgrow it.
//!
//! Source of the opcodes: Python's `pickletools`.

use super::globals::{self, Callable, StorageType};

/// A value of the arena.
pub(super) type Id = usize;

/// A result whose error says why the pickle is refused.
pub(super) type Parsed<T> = Result<T, String>;

/// A tensor's storage: bytes under a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    /// A [`Node::Str`].
    pub key: Id,
    pub kind: StorageType,
    pub num_elements: u64,
}

/// A tensor: a strided view of a storage, in elements. Not yet checked against it.
#[derive(Clone, Debug)]
pub(super) struct TensorView {
    pub storage: Storage,
    pub offset: u64,
    pub size: Vec<u64>,
    pub stride: Vec<u64>,
}

/// What a pickle can hold.
#[derive(Clone, Debug)]
pub(super) enum Node {
    None,
    Int(i64),
    Str(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Callable(Callable),
    Storage(Storage),
    Tensor(TensorView),
    /// Something that is of no use here: a bool, a float, a device, a sampler. It has no content.
    Opaque,
}

impl Node {
    /// For messages.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Int(_) => "an int",
            Self::Str(_) => "a string",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Callable(_) => "a class",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Opaque => "an object",
        }
    }
}

/// Everything that a pickle holds.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    /// What it is a pickle of.
    pub root: Id,
}

impl Pickle {
    /// The value of `id`.
    pub fn get(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// All values.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The value under a string key of the dict `id`, the last one where there are several.
    pub fn item(&self, id: Id, key: &str) -> Option<Id> {
        let Node::Dict(items) = self.get(id) else { return None };
        items.iter().rev().find(|(k, _)| matches!(self.get(*k), Node::Str(text) if text == key)).map(|(_, v)| *v)
    }
}

/// Reads one pickle from the front of `bytes`; gives it and its length.
///
/// # Errors
/// It is cut off, uses an opcode that no state dict needs, or names a global that is not known.
pub(super) fn parse(bytes: &[u8]) -> Parsed<(Pickle, usize)> {
    let mut machine =
        Machine { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: Vec::new(), copied: 0 };
    let root = machine.run()?;
    Ok((Pickle { nodes: machine.nodes, root }, machine.at))
}

pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
    /// Elements copied from one container to another, which the file must pay for.
    copied: usize,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Parsed<Id> {
        loop {
            let at = self.at;
            let opcode = self.take(1)?[0];
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)
                .map_err(|why| if why.is_empty() { format!("opcode {opcode:#04x} at {at}") } else { why })?;
        }
    }

    fn step(&mut self, opcode: u8) -> Parsed<()> {
        match opcode {
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => self.stack.push(*self.stack.last().ok_or("an empty stack")?),
            b'q' | b'r' | 0x94 => self.memoize(opcode)?,
            b'h' | b'j' => self.recall(opcode)?,
            b'c' | 0x93 => self.global(opcode)?,
            b'R' | 0x81 => self.call()?,
            b'b' => self.build()?,
            b'Q' => self.persistent()?,
            b'a' | b'e' | 0x90 => self.append(opcode)?,
            b's' | b'u' => self.set_items(opcode)?,
            _ => {
                let node = match opcode {
                    b')' | b't' | 0x85..=0x87 | b']' | b'l' | b'}' | b'd' | 0x8f | 0x91 => self.container(opcode)?,
                    _ => self.scalar(opcode)?,
                };
                self.push(node);
            }
        }
        Ok(())
    }

    fn scalar(&mut self, opcode: u8) -> Parsed<Node> {
        Ok(match opcode {
            b'N' => Node::None,
            0x88 | 0x89 => Node::Opaque,
            b'K' | b'M' => Node::Int(self.number(if opcode == b'K' { 1 } else { 2 })? as i64),
            b'J' => Node::Int(i64::from(self.number(4)? as u32 as i32)),
            0x8a | 0x8b => self.long(if opcode == 0x8a { 1 } else { 4 })?,
            b'G' => {
                self.take(8)?;
                Node::Opaque
            }
            b'X' | 0x8c | 0x8d => self.string(match opcode {
                0x8c => 1,
                b'X' => 4,
                _ => 8,
            })?,
            // What Python 2 wrote names with.
            b'U' => self.string(1).or(Ok::<_, String>(Node::Opaque))?,
            b'T' => self.string(4).or(Ok::<_, String>(Node::Opaque))?,
            b'C' => self.skip(1)?,
            b'B' => self.skip(4)?,
            0x8e | 0x96 => self.skip(8)?,
            _ => return Err(String::new()),
        })
    }

    fn container(&mut self, opcode: u8) -> Parsed<Node> {
        Ok(match opcode {
            b')' => Node::Tuple(Vec::new()),
            b't' => Node::Tuple(self.pop_mark()?),
            0x85..=0x87 => Node::Tuple(self.pop_many(usize::from(opcode - 0x84))?),
            b']' | 0x8f => Node::List(Vec::new()),
            b'l' | 0x91 => Node::List(self.pop_mark()?),
            b'}' => Node::Dict(Vec::new()),
            _ => {
                let values = self.pop_mark()?;
                Node::Dict(pairs(&values)?)
            }
        })
    }

    fn take(&mut self, len: usize) -> Parsed<&'a [u8]> {
        let part = self.bytes.get(self.at..).and_then(|rest| rest.get(..len)).ok_or("it ends early")?;
        self.at += len;
        Ok(part)
    }

    /// A little-endian number of at most 8 bytes.
    fn number(&mut self, len: usize) -> Parsed<u64> {
        Ok(self.take(len)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// Bytes after their length, which has `width` bytes.
    fn counted(&mut self, width: usize) -> Parsed<&'a [u8]> {
        let len = self.number(width)?;
        self.take(usize::try_from(len).map_err(|_| "it ends early")?)
    }

    fn string(&mut self, width: usize) -> Parsed<Node> {
        let text = self.counted(width)?;
        Ok(Node::Str(std::str::from_utf8(text).map_err(|_| "a string that is not UTF-8")?.to_owned()))
    }

    fn skip(&mut self, width: usize) -> Parsed<Node> {
        self.counted(width)?;
        Ok(Node::Opaque)
    }

    fn long(&mut self, width: usize) -> Parsed<Node> {
        let bytes = self.counted(width)?;
        if bytes.len() > 8 {
            return Ok(Node::Opaque);
        }
        let filler = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xFF } else { 0 };
        let mut wide = [filler; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(Node::Int(i64::from_le_bytes(wide)))
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    fn pop(&mut self) -> Parsed<Id> {
        if self.marks.last().is_some_and(|&mark| self.stack.len() <= mark) {
            return Err("a value is missing".to_owned());
        }
        Ok(self.stack.pop().ok_or("a value is missing")?)
    }

    /// The last `count` values, first one first.
    fn pop_many(&mut self, count: usize) -> Parsed<Vec<Id>> {
        let mut values = (0..count).map(|_| self.pop()).collect::<Parsed<Vec<_>>>()?;
        values.reverse();
        Ok(values)
    }

    fn pop_mark(&mut self) -> Parsed<Vec<Id>> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        if mark > self.stack.len() {
            return Err("a value is missing".to_owned());
        }
        Ok(self.stack.split_off(mark))
    }

    fn top(&self) -> Parsed<Id> {
        Ok(*self.stack.last().ok_or("a value is missing")?)
    }

    fn memoize(&mut self, opcode: u8) -> Parsed<()> {
        let index = match opcode {
            b'q' => self.number(1)? as usize,
            b'r' => self.number(4)? as usize,
            _ => self.memo.len(),
        };
        // Python numbers them through, and no pickle memoizes more than it has bytes.
        if index >= self.bytes.len() {
            return Err(format!("memo {index} is out of range"));
        }
        if index >= self.memo.len() {
            self.memo.resize(index + 1, None);
        }
        self.memo[index] = Some(self.top()?);
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Parsed<()> {
        let index = self.number(if opcode == b'h' { 1 } else { 4 })? as usize;
        let id = self.memo.get(index).copied().flatten().ok_or_else(|| format!("memo {index} was never filled"))?;
        self.stack.push(id);
        Ok(())
    }

    fn line(&mut self) -> Parsed<&'a str> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n').ok_or("it ends early")?;
        self.at += len + 1;
        std::str::from_utf8(&rest[..len]).map_err(|_| "a name that is not UTF-8".to_owned())
    }

    fn global(&mut self, opcode: u8) -> Parsed<()> {
        let callable = if opcode == b'c' {
            let (module, name) = (self.line()?, self.line()?);
            globals::find(module, name)?
        } else {
            let names = self.pop_many(2)?;
            let (Node::Str(module), Node::Str(name)) = (&self.nodes[names[0]], &self.nodes[names[1]]) else {
                return Err("a global without a name".to_owned());
            };
            globals::find(module, name)?
        };
        self.push(Node::Callable(callable));
        Ok(())
    }

    fn call(&mut self) -> Parsed<()> {
        let values = self.pop_many(2)?;
        let Node::Tuple(arguments) = &self.nodes[values[1]] else { return Err("a call without arguments".to_owned()) };
        let node = match &self.nodes[values[0]] {
            Node::Callable(callable) => globals::call(*callable, arguments, &self.nodes, &mut self.copied)?,
            Node::Opaque => globals::Made::New(Node::Opaque),
            other => return Err(format!("a call of {}", other.describe())),
        };
        if self.copied > self.bytes.len() {
            return Err("it grows beyond its size".to_owned());
        }
        match node {
            globals::Made::New(node) => self.push(node),
            globals::Made::Same(id) => self.stack.push(id),
        }
        Ok(())
    }

    /// Attributes of an object: of what is kept here, none matters.
    fn build(&mut self) -> Parsed<()> {
        self.pop()?;
        match &self.nodes[self.top()?] {
            Node::Dict(_) | Node::Opaque | Node::Tensor(_) => Ok(()),
            other => Err(format!("attributes of {}", other.describe())),
        }
    }

    fn persistent(&mut self) -> Parsed<()> {
        let id = self.pop()?;
        let Node::Tuple(parts) = &self.nodes[id] else { return Err("a reference that is no tuple".to_owned()) };
        let node = globals::storage(parts, &self.nodes)?;
        self.push(node);
        Ok(())
    }

    fn append(&mut self, opcode: u8) -> Parsed<()> {
        let values = if opcode == b'a' { vec![self.pop()?] } else { self.pop_mark()? };
        let target = self.top()?;
        match &mut self.nodes[target] {
            Node::List(items) => items.extend(values),
            Node::Opaque => {}
            other => return Err(format!("a list's items for {}", other.describe())),
        }
        Ok(())
    }

    fn set_items(&mut self, opcode: u8) -> Parsed<()> {
        let values = if opcode == b's' { self.pop_many(2)? } else { self.pop_mark()? };
        let values = pairs(&values)?;
        let target = self.top()?;
        match &mut self.nodes[target] {
            Node::Dict(items) => items.extend(values),
            Node::Opaque => {}
            other => return Err(format!("a dict's items for {}", other.describe())),
        }
        Ok(())
    }
}

/// Keys and values by turns.
fn pairs(values: &[Id]) -> Parsed<Vec<(Id, Id)>> {
    let (pairs, rest) = values.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|[k, v]| (*k, *v)).collect())
    } else {
        Err("a key without a value".to_owned())
    }
}
