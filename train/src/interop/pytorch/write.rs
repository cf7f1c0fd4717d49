//! Files as `torch.save` writes them: a stored zip archive, its data aligned to 64 bytes, with a pickle of protocol 2.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use cloze_formats::durable;
use tch::{Kind, Tensor};

use super::super::safetensors::for_each_chunk;
use crate::error::{Error, Result};

/// Storages start at multiples of this, as PyTorch's do, so that they can be mapped.
const ALIGNMENT: u64 = 64;
/// What the plain zip format can address.
const LIMIT: u64 = 0xFFFF_FFFF;
/// Date and time of every entry, 1 January 1980: equal weights give equal bytes.
const EPOCH: u32 = 0x0021_0000;

/// A value of the pickle.
#[derive(Debug)]
pub enum Item<'a> {
    /// An int.
    Int(i64),
    /// None.
    None,
    /// An OrderedDict of tensors; tensors that are the same memory (tied weights) share a storage.
    Tensors(&'a [(String, Tensor)]),
    /// A dict of other values.
    Dict(Vec<(&'a str, Item<'a>)>),
}

/// Writes `root` to `path`: a sibling file, synced, then renamed. The archive's folder is the file's name without its ending.
///
/// # Errors
/// The file cannot be written (nothing is left behind), would pass 4 GiB, or a tensor is of a kind that no weight has.
pub fn write_items(path: &Path, root: &Item<'_>) -> Result<()> {
    let temporary = durable::temporary(path);
    let result =
        write_file(path, &temporary, root).and_then(|()| fs::rename(&temporary, path).map_err(Error::io(path)));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result?;
    Ok(durable::sync_parent(path)?)
}

fn write_file(path: &Path, temporary: &Path, root: &Item<'_>) -> Result<()> {
    let mut pickler = Pickler { path, bytes: vec![0x80, 2], storages: Vec::new() };
    pickler.item(root)?;
    pickler.bytes.push(b'.');
    let folder = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let file = File::create(temporary).map_err(Error::io(temporary))?;
    let mut zip = ZipWriter { path, writer: BufWriter::new(file), at: 0, directory: Vec::new(), num_entries: 0 };
    zip.entry(&format!("{folder}/data.pkl"), |sink| sink(&pickler.bytes))?;
    zip.entry(&format!("{folder}/byteorder"), |sink| sink(b"little"))?;
    for (index, tensor) in pickler.storages.iter().enumerate() {
        zip.entry(&format!("{folder}/data/{index}"), |sink| for_each_chunk(tensor, sink))?;
    }
    zip.entry(&format!("{folder}/version"), |sink| sink(b"3\n"))?;
    zip.finish()
}

/// Writes the pickle and collects the storages it refers to.
struct Pickler<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
    storages: Vec<Tensor>,
}

impl Pickler<'_> {
    fn item(&mut self, item: &Item<'_>) -> Result<()> {
        match item {
            Item::Int(number) => self.int(*number),
            Item::None => self.bytes.push(b'N'),
            Item::Dict(items) => {
                self.bytes.extend(b"}(");
                for (key, value) in items {
                    self.string(key);
                    self.item(value)?;
                }
                self.bytes.push(b'u');
            }
            Item::Tensors(tensors) => {
                self.bytes.extend(b"ccollections\nOrderedDict\n)R(");
                for (name, tensor) in *tensors {
                    self.string(name);
                    self.tensor(name, tensor)?;
                }
                self.bytes.push(b'u');
            }
        }
        Ok(())
    }

    fn int(&mut self, number: i64) {
        self.bytes.extend([0x8a, 8]);
        self.bytes.extend(number.to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.bytes.push(b'X');
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn tensor(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let kind = tensor.f_kind()?;
        let storage = match kind {
            Kind::Float => "FloatStorage",
            Kind::Half => "HalfStorage",
            Kind::BFloat16 => "BFloat16Storage",
            Kind::Int64 => "LongStorage",
            _ => {
                return Err(Error::file(
                    self.path,
                    format!("tensor {name}: expected f32, f16, bf16 or i64, found {kind:?}"),
                ));
            }
        };
        let same = |other: &Tensor| other.data_ptr() == tensor.data_ptr() && other.size() == tensor.size();
        let index = self.storages.iter().position(same).unwrap_or_else(|| {
            self.storages.push(tensor.shallow_clone());
            self.storages.len() - 1
        });
        self.bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.string("storage");
        self.bytes.extend(format!("ctorch\n{storage}\n").as_bytes());
        self.string(&index.to_string());
        self.string("cpu");
        self.int(tensor.numel() as i64);
        self.bytes.extend(b"tQ");
        self.int(0);
        self.numbers(&tensor.size());
        let mut strides = vec![1; tensor.size().len()];
        for axis in (1..strides.len()).rev() {
            strides[axis - 1] = strides[axis] * tensor.size()[axis];
        }
        self.numbers(&strides);
        self.bytes.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        Ok(())
    }

    fn numbers(&mut self, numbers: &[i64]) {
        self.bytes.push(b'(');
        numbers.iter().for_each(|&number| self.int(number));
        self.bytes.push(b't');
    }
}

/// Writes stored entries one after the other.
struct ZipWriter<'a> {
    path: &'a Path,
    writer: BufWriter<File>,
    at: u64,
    directory: Vec<u8>,
    num_entries: u16,
}

impl ZipWriter<'_> {
    /// Adds an entry of what `fill` gives to its sink. Its header is written again once its checksum is known.
    fn entry(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let header_offset = self.at;
        let bare_len = header_offset + 30 + name.len() as u64 + 4;
        let padding = bare_len.next_multiple_of(ALIGNMENT) - bare_len;
        // An extra field of PyTorch's kind, of nothing but padding.
        let mut extra = [*b"FB", (padding as u16).to_le_bytes()].concat();
        extra.resize(4 + padding as usize, b'Z');
        self.header(name, 0, 0, &extra)?;
        let (mut crc, mut len) = (crc32fast::Hasher::new(), 0);
        let (path, writer) = (self.path, &mut self.writer);
        fill(&mut |bytes| {
            crc.update(bytes);
            len += bytes.len() as u64;
            writer.write_all(bytes).map_err(Error::io(path))
        })?;
        let end = bare_len + padding + len;
        if end > LIMIT || self.num_entries == u16::MAX {
            return Err(Error::file(
                self.path,
                "expected at most 4 GiB, found more weights; export as huggingface instead",
            ));
        }
        let crc = crc.finalize();
        self.seek(header_offset)?;
        self.header(name, crc, len as u32, &extra)?;
        self.seek(end)?;
        self.at = end;
        self.num_entries += 1;
        self.directory.extend(b"PK\x01\x02");
        self.directory.extend([0, 0, 0, 0, 0, 0, 0, 0]);
        self.directory.extend(EPOCH.to_le_bytes());
        for number in [crc, len as u32, len as u32] {
            self.directory.extend(number.to_le_bytes());
        }
        self.directory.extend((name.len() as u16).to_le_bytes());
        self.directory.extend([0; 12]);
        self.directory.extend((header_offset as u32).to_le_bytes());
        self.directory.extend(name.as_bytes());
        Ok(())
    }

    fn header(&mut self, name: &str, crc: u32, len: u32, extra: &[u8]) -> Result<()> {
        let mut header = b"PK\x03\x04\0\0\0\0\0\0".to_vec();
        for number in [EPOCH, crc, len, len] {
            header.extend(number.to_le_bytes());
        }
        header.extend((name.len() as u16).to_le_bytes());
        header.extend((extra.len() as u16).to_le_bytes());
        header.extend(name.as_bytes());
        header.extend(extra);
        self.writer.write_all(&header).map_err(Error::io(self.path))
    }

    fn seek(&mut self, to: u64) -> Result<()> {
        self.writer.seek(SeekFrom::Start(to)).map_err(Error::io(self.path))?;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        let len = self.directory.len() as u32;
        let mut end = std::mem::take(&mut self.directory);
        end.extend(b"PK\x05\x06\0\0\0\0");
        end.extend(self.num_entries.to_le_bytes());
        end.extend(self.num_entries.to_le_bytes());
        end.extend(len.to_le_bytes());
        end.extend((self.at as u32).to_le_bytes());
        end.extend([0, 0]);
        self.writer.write_all(&end).map_err(Error::io(self.path))?;
        let file = self.writer.into_inner().map_err(|error| Error::io(self.path)(error.into_error()))?;
        file.sync_all().map_err(Error::io(self.path))
    }
}
