//! Tensors in a safetensors file: written whole or not at all, read with every doubt an error.
//!
//! Source of the format: the safetensors crate's documentation. Reading goes through that crate; writing is ours, so that
//! tensors stream out one by one and equal tensors give equal bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use cloze_formats::durable;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// Elements copied to the host and written in one go.
const CHUNK: i64 = 1 << 22;

/// Names and tensors in a file's order, and its `__metadata__`.
pub type Contents = (Vec<(String, Tensor)>, BTreeMap<String, String>);

/// Writes `tensors` (f32, f64, i64 or u8, on any device) and `metadata` to `path`: a sibling file, synced, then renamed.
///
/// # Errors
/// When the file cannot be written (nothing is left behind), or a tensor is of another kind.
pub fn write_tensors(path: &Path, tensors: &[(String, Tensor)], metadata: &BTreeMap<String, String>) -> Result<()> {
    let header = header(path, tensors, metadata)?;
    let temporary = durable::temporary(path);
    let result =
        write_file(&temporary, &header, tensors).and_then(|()| fs::rename(&temporary, path).map_err(Error::io(path)));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result?;
    Ok(durable::sync_parent(path)?)
}

fn header(path: &Path, tensors: &[(String, Tensor)], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut entries = serde_json::Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut offset = 0;
    for (name, tensor) in tensors {
        let kind = tensor.f_kind()?;
        let dtype = match kind {
            Kind::Float => "F32",
            Kind::Double => "F64",
            Kind::Int64 => "I64",
            Kind::Uint8 => "U8",
            _ => return Err(Error::file(path, format!("tensor {name}: expected f32, f64, i64 or u8, found {kind:?}"))),
        };
        let end = offset + tensor.numel() * kind.elt_size_in_bytes();
        let entry = json!({ "dtype": dtype, "shape": tensor.size(), "data_offsets": [offset, end] });
        if entries.insert(name.clone(), entry).is_some() {
            return Err(Error::file(path, format!("tensor {name}: expected one of that name, found two")));
        }
        offset = end;
    }
    let mut header = serde_json::Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut header);
    Ok(bytes)
}

fn write_file(temporary: &Path, header: &[u8], tensors: &[(String, Tensor)]) -> Result<()> {
    let file = File::create(temporary).map_err(Error::io(temporary))?;
    let mut writer = BufWriter::new(file);
    writer.write_all(header).map_err(Error::io(temporary))?;
    for (_, tensor) in tensors {
        for_each_chunk(tensor, &mut |bytes| writer.write_all(bytes).map_err(Error::io(temporary)))?;
    }
    let file = writer.into_inner().map_err(|error| Error::io(temporary)(error.into_error()))?;
    file.sync_all().map_err(Error::io(temporary))
}

/// Gives `sink` the bytes of `tensor`, row-major, a few megabytes at a time.
pub(super) fn for_each_chunk(tensor: &Tensor, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let flat = tensor.f_detach()?.f_reshape([-1])?;
    let len = flat.size()[0];
    let mut buffer = Vec::new();
    for start in (0..len).step_by(CHUNK as usize) {
        let chunk = flat.f_narrow(0, start, CHUNK.min(len - start))?.f_to_device(Device::Cpu)?.f_contiguous()?;
        buffer.resize(chunk.numel() * chunk.f_kind()?.elt_size_in_bytes(), 0);
        chunk.f_copy_data_u8(&mut buffer, chunk.numel())?;
        sink(&buffer)?;
    }
    Ok(())
}

/// Reads a whole file; the tensors are on the CPU, in the kind they are stored in.
///
/// # Errors
/// When it cannot be read, is truncated or otherwise not a safetensors file, or holds a kind that no BERT has.
pub fn read_tensors(path: &Path) -> Result<Contents> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let broken = |why: String| {
        Error::file(
            path,
            format!(
                "expected a whole safetensors file, found {} bytes that are not one ({why}); copy it again",
                bytes.len()
            ),
        )
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| broken(error.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| broken(error.to_string()))?;
    let mut tensors = Vec::with_capacity(file.len());
    for name in header.offset_keys() {
        let view = file.tensor(&name).map_err(|error| broken(error.to_string()))?;
        let shape: Vec<i64> = view.shape().iter().map(|&len| len as i64).collect();
        let kind = kind_of(view.dtype()).ok_or_else(|| {
            Error::file(
                path,
                format!("tensor {name}: expected floating-point numbers or integers, found {:?}", view.dtype()),
            )
        })?;
        tensors.push((name, Tensor::f_from_data_size(view.data(), &shape, kind)?));
    }
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok((tensors, metadata))
}

fn kind_of(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_tensors() -> Vec<(String, Tensor)> {
        let values = Tensor::arange(12, (Kind::Float, Device::Cpu)).view([3, 4]);
        vec![("matrix".to_owned(), values.tr()), ("bytes".to_owned(), Tensor::from_slice(&[7u8, 8, 9]))]
    }

    #[test]
    fn tensors_come_back_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.safetensors");
        let metadata: BTreeMap<_, _> = ["b", "a", "c"].map(|key| (key.to_owned(), format!("is {key}"))).into();
        write_tensors(&path, &two_tensors(), &metadata).unwrap();
        let first = fs::read(&path).unwrap();
        assert_eq!(read_tensors(&path).unwrap(), (two_tensors(), metadata.clone()));
        write_tensors(&path, &two_tensors(), &metadata).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_truncated_file_is_an_error_at_every_length() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.safetensors");
        write_tensors(&path, &two_tensors(), &BTreeMap::new()).unwrap();
        let bytes = fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            fs::write(&path, &bytes[..len]).unwrap();
            let error = read_tensors(&path).unwrap_err().to_string();
            assert!(
                error.contains(&format!("x.safetensors: expected a whole safetensors file, found {len} bytes")),
                "{error}"
            );
        }
    }

    #[test]
    fn an_unwritable_place_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("absent/x.safetensors");
        let error = write_tensors(&path, &two_tensors(), &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("absent") && error.contains("No such file"), "{error}");
    }
}
