//! A writer of HDF5 files in the oldest layout, which every reader knows, row by row.
//!
//! Chunks go to the file as they fill; the indexes, the headers and the superblock follow when all rows are there.
//! Source: "HDF5 File Format Specification Version 3.0", The HDF Group: superblock version 0 (II.A), B-trees version 1
//! (III.A.1), symbol tables and local heaps (III.B to III.D), object headers version 1 (IV.A.1) and their messages (IV.A.2).

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Level of gzip, NVIDIA's.
const LEVEL: u32 = 4;
/// Rows of a chunk; 2 MB of `input_ids` at sequence length 512.
const CHUNK_ROWS: u64 = 1024;
/// "No address".
const UNDEFINED: u64 = u64::MAX;
/// Half the children of a node of a group's B-tree, and of a symbol table node: the values that are customary.
const GROUP_INTERNAL_K: u16 = 16;
const GROUP_LEAF_K: u16 = 4;
/// Half the children of a node of a chunk B-tree; superblock version 0 fixes it.
const CHUNK_K: usize = 32;
const SUPERBLOCK_BYTES: u64 = 96;

/// An array of signed integers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Array {
    pub name: &'static str,
    pub bytes_per_value: u8,
    pub rows: u64,
    /// `None` for an array of one dimension.
    pub values_per_row: Option<u32>,
}

impl Array {
    fn row_bytes(&self) -> usize {
        self.values_per_row.unwrap_or(1) as usize * usize::from(self.bytes_per_value)
    }

    /// A chunk of an array that cannot grow must not be larger than it.
    fn chunk_rows(&self) -> u64 {
        self.rows.clamp(1, CHUNK_ROWS)
    }
}

/// An array being written.
struct Open {
    array: Array,
    /// Rows that do not fill a chunk yet.
    pending: Vec<u8>,
    /// Address and length of each chunk.
    chunks: Vec<(u64, u32)>,
}

/// A file of arrays.
///
/// # Memory usage
/// A chunk of each array.
pub(super) struct ArrayFile {
    file: BufWriter<File>,
    position: u64,
    arrays: Vec<Open>,
}

impl ArrayFile {
    /// Starts a file of at most eight arrays, as many as one symbol table node takes.
    pub(super) fn create(path: &Path, arrays: &[Array]) -> io::Result<Self> {
        assert!(arrays.len() <= 2 * usize::from(GROUP_LEAF_K), "one symbol table node");
        let open = |&array: &Array| Open { array, pending: Vec::new(), chunks: Vec::new() };
        let file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let mut this = Self { file, position: 0, arrays: arrays.iter().map(open).collect() };
        this.write(&[0; SUPERBLOCK_BYTES as usize])?;
        Ok(this)
    }

    /// Appends a row, little-endian, to array number `index`.
    pub(super) fn append(&mut self, index: usize, row: &[u8]) -> io::Result<()> {
        let open = &mut self.arrays[index];
        debug_assert_eq!(row.len(), open.array.row_bytes());
        open.pending.extend_from_slice(row);
        if open.pending.len() == open.array.chunk_rows() as usize * open.array.row_bytes() {
            self.write_chunk(index)?;
        }
        Ok(())
    }

    /// Writes what is left and everything that makes it a file.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut entries = Vec::new();
        for index in 0..self.arrays.len() {
            let array = self.arrays[index].array;
            if !self.arrays[index].pending.is_empty() {
                // Chunks are whole in the file; what lies beyond the array is never read.
                let whole = array.chunk_rows() as usize * array.row_bytes();
                self.arrays[index].pending.resize(whole, 0);
                self.write_chunk(index)?;
            }
            let chunks = std::mem::take(&mut self.arrays[index].chunks);
            let index = self.write_chunk_index(&array, &chunks)?;
            let header = self.write_aligned(&dataset_header(&array, index))?;
            entries.push((array.name, header));
        }
        let root = self.write_group(entries)?;
        let end = self.position;
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&superblock(root, end))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let address = self.position;
        self.file.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(address)
    }

    /// Structures start at multiples of eight.
    fn write_aligned(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let padding = self.position.next_multiple_of(8) - self.position;
        self.write(&[0; 8][..padding as usize])?;
        self.write(bytes)
    }

    fn write_chunk(&mut self, index: usize) -> io::Result<()> {
        let open = &mut self.arrays[index];
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(LEVEL));
        encoder.write_all(&open.pending)?;
        open.pending.clear();
        let bytes = encoder.finish()?;
        let address = self.write(&bytes)?;
        self.arrays[index].chunks.push((address, bytes.len() as u32));
        Ok(())
    }

    /// The B-tree of an array's chunks; returns the address of its root.
    fn write_chunk_index(&mut self, array: &Array, chunks: &[(u64, u32)]) -> io::Result<u64> {
        if chunks.is_empty() {
            return Ok(UNDEFINED);
        }
        let dimensions = 2 + usize::from(array.values_per_row.is_some());
        let mut level = 0;
        // Children of the level being written: first chunk, its length, address.
        let mut children: Vec<(u64, u32, u64)> =
            chunks.iter().zip(0..).map(|(&(address, bytes), chunk)| (chunk, bytes, address)).collect();
        loop {
            let node_bytes = 24 + (2 * CHUNK_K + 1) * (8 + 8 * dimensions) + 2 * CHUNK_K * 8;
            let first = self.position.next_multiple_of(8);
            let stride = (node_bytes as u64).next_multiple_of(8);
            let count = children.len().div_ceil(2 * CHUNK_K);
            let mut parents = Vec::with_capacity(count);
            for (i, nodes) in children.chunks(2 * CHUNK_K).enumerate() {
                let sibling = |there: bool, at: usize| if there { first + at as u64 * stride } else { UNDEFINED };
                let siblings = (sibling(i > 0, i.wrapping_sub(1)), sibling(i + 1 < count, i + 1));
                let mut node = tree_node(1, level, nodes.len(), siblings);
                let key = |node: &mut Bytes, chunk: u64, bytes: u32| {
                    node.u32(bytes).u32(0).u64(chunk * array.chunk_rows());
                    (1..dimensions).for_each(|_| {
                        node.u64(0);
                    });
                };
                for &(chunk, bytes, address) in nodes {
                    key(&mut node, chunk, bytes);
                    node.u64(address);
                }
                let next = children.get((i + 1) * 2 * CHUNK_K).map_or(chunks.len() as u64, |child| child.0);
                key(&mut node, next, 0);
                node.0.resize(stride as usize, 0);
                parents.push((nodes[0].0, nodes[0].1, self.write_aligned(&node.0)?));
            }
            if let [(.., root)] = parents[..] {
                return Ok(root);
            }
            (children, level) = (parents, level + 1);
        }
    }

    /// The root group; returns the addresses of its object header, B-tree and heap.
    fn write_group(&mut self, mut entries: Vec<(&'static str, u64)>) -> io::Result<[u64; 3]> {
        entries.sort_unstable();
        // The heap of names begins with an empty one.
        let mut names = Bytes(vec![0; 8]);
        let mut offsets = Vec::new();
        for (name, _) in &entries {
            offsets.push(names.0.len() as u64);
            names.0.extend_from_slice(name.as_bytes());
            names.0.resize((names.0.len() + 1).next_multiple_of(8), 0);
        }
        let data = self.write_aligned(&names.0)?;
        let mut heap = Bytes(b"HEAP".to_vec());
        // Version 0; no free block, which is said with a 1.
        heap.u32(0).u64(names.0.len() as u64).u64(1).u64(data);
        let heap = self.write_aligned(&heap.0)?;
        let mut symbols = Bytes(b"SNOD".to_vec());
        symbols.u8(1).u8(0).u16(entries.len() as u16);
        for (&offset, (_, header)) in offsets.iter().zip(&entries) {
            symbols.u64(offset).u64(*header).u32(0).u32(0).u64(0).u64(0);
        }
        symbols.0.resize(8 + 2 * usize::from(GROUP_LEAF_K) * 40, 0);
        let symbols = self.write_aligned(&symbols.0)?;
        let mut tree = tree_node(0, 0, 1, (UNDEFINED, UNDEFINED));
        tree.u64(0).u64(symbols).u64(offsets.last().copied().unwrap_or(0));
        tree.0.resize(24 + (4 * usize::from(GROUP_INTERNAL_K) + 1) * 8, 0);
        let tree = self.write_aligned(&tree.0)?;
        let mut table = Bytes::default();
        table.u64(tree).u64(heap);
        let header = self.write_aligned(&object_header(&[(0x11, 0, table)]))?;
        Ok([header, tree, heap])
    }
}

fn superblock([header, tree, heap]: [u64; 3], end: u64) -> Vec<u8> {
    let mut b = Bytes(b"\x89HDF\r\n\x1a\n".to_vec());
    // Versions of superblock, free space, root group and shared headers, each followed by what is reserved; sizes of
    // addresses and of lengths.
    b.u32(0).u8(0).u8(8).u8(8).u8(0);
    b.u16(GROUP_LEAF_K).u16(GROUP_INTERNAL_K).u32(0);
    // Base address, free space, end of file, driver.
    b.u64(0).u64(UNDEFINED).u64(end).u64(UNDEFINED);
    // The root group's symbol table entry, with its tree and heap at hand.
    b.u64(0).u64(header).u32(1).u32(0).u64(tree).u64(heap);
    b.0
}

fn tree_node(kind: u8, level: u8, entries: usize, (left, right): (u64, u64)) -> Bytes {
    let mut node = Bytes(b"TREE".to_vec());
    node.u8(kind).u8(level).u16(entries as u16).u64(left).u64(right);
    node
}

/// An object header of (type, flags, data) messages.
fn object_header(messages: &[(u16, u8, Bytes)]) -> Vec<u8> {
    let mut body = Bytes::default();
    for (kind, flags, data) in messages {
        let length = data.0.len().next_multiple_of(8);
        body.u16(*kind).u16(length as u16).u8(*flags).u8(0).u16(0);
        body.0.extend_from_slice(&data.0);
        body.0.resize(body.0.len().next_multiple_of(8), 0);
    }
    let mut header = Bytes::default();
    header.u8(1).u8(0).u16(messages.len() as u16).u32(1).u32(body.0.len() as u32).u32(0);
    [header.0, body.0].concat()
}

fn dataset_header(array: &Array, chunk_index: u64) -> Vec<u8> {
    let rank = 1 + u8::from(array.values_per_row.is_some());
    let mut space = Bytes::default();
    space.u8(1).u8(rank).u16(0).u32(0).u64(array.rows);
    array.values_per_row.into_iter().for_each(|n| {
        space.u64(n.into());
    });
    // Version 1 of class 0, integers; little-endian and signed.
    let mut datatype = Bytes::default();
    let bytes_per_value = u32::from(array.bytes_per_value);
    datatype.u8(0x10).u8(8).u16(0).u32(bytes_per_value).u16(0).u16(8 * bytes_per_value as u16);
    // Version 2; space is allocated chunk by chunk, the value written if it was set; it is the default, zero.
    let mut fill = Bytes::default();
    fill.u8(2).u8(3).u8(2).u8(1).u32(0);
    let mut layout = Bytes::default();
    layout.u8(3).u8(2).u8(rank + 1).u64(chunk_index).u32(array.chunk_rows() as u32);
    array.values_per_row.into_iter().for_each(|n| {
        layout.u32(n);
    });
    layout.u32(bytes_per_value);
    // Version 1, one filter: deflate, by number and name, optional, with its level.
    let mut filters = Bytes::default();
    filters.u8(1).u8(1).u16(0).u32(0).u16(1).u16(8).u16(1).u16(1);
    filters.0.extend_from_slice(b"deflate\0");
    filters.u32(LEVEL).u32(0);
    object_header(&[(0x1, 0, space), (0x3, 1, datatype), (0x5, 1, fill), (0x8, 0, layout), (0xb, 1, filters)])
}

/// Little-endian numbers one after the other.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another implementation reads what was written, in files of one chunk up to a tree of three levels.
    #[test]
    fn hdf5_pure_reads_every_value() {
        let dir = tempfile::tempdir().unwrap();
        for rows in [1, 5, 1023, 1024, 1025, 70_000, 64 * 64 * 1024 + 1] {
            let path = dir.path().join(format!("{rows}.hdf5"));
            let arrays = [
                Array { name: "matrix", bytes_per_value: 4, rows, values_per_row: Some(3) },
                Array { name: "flags", bytes_per_value: 1, rows, values_per_row: None },
            ];
            // The largest case is for the depth of the tree: one array will do.
            let arrays = if rows > 100_000 { &arrays[1..] } else { &arrays[..] };
            let mut file = ArrayFile::create(&path, arrays).unwrap();
            for row in 0..rows as i32 {
                for (i, array) in arrays.iter().enumerate() {
                    match array.name {
                        "matrix" => {
                            let values = [row, -row, row * 7].map(i32::to_le_bytes).concat();
                            file.append(i, &values).unwrap();
                        }
                        _ => file.append(i, &[(row % 101) as u8]).unwrap(),
                    }
                }
            }
            file.finish().unwrap();
            let file = hdf5_pure::File::open_streaming(&path).unwrap();
            let flags = file.dataset("flags").unwrap();
            assert_eq!(flags.shape().unwrap(), [rows]);
            let found = flags.read_i8_rows(0, rows).unwrap();
            assert!(found.iter().zip(0i32..).all(|(&v, row)| i32::from(v) == row % 101), "{rows}");
            if arrays.len() > 1 {
                let matrix = file.dataset("matrix").unwrap();
                let expected: Vec<i32> = (0..rows as i32).flat_map(|row| [row, -row, row * 7]).collect();
                assert_eq!(matrix.shape().unwrap(), [rows, 3]);
                assert_eq!(matrix.read_i32_rows(0, rows).unwrap(), expected);
            }
        }
    }
}
