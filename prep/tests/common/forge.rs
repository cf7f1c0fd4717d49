//! Damage that no checksum shows: shards changed with another writer, their checksums and manifest made to fit.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{UInt16Type, UInt32Type};
use arrow_array::{ArrayRef, ListArray, RecordBatch, UInt16Array, UInt32Array};
use arrow_ipc::reader::{FileReader, read_footer_length};
use arrow_ipc::root_as_footer;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{DataType, Field};
use cloze_formats::Manifest;
use cloze_formats::checksum::Crc32c;

/// Puts what `edit` makes of column `column` into shard `shard`, which has one record batch.
pub fn forge(dir: &Path, shard: usize, column: &str, edit: impl FnOnce(&ArrayRef) -> ArrayRef) {
    let mut manifest = Manifest::read(dir).unwrap();
    let entry = &mut manifest.shards[shard];
    let path = dir.join(&entry.file);
    let mut reader = FileReader::try_new(File::open(&path).unwrap(), None).unwrap();
    let (schema, batch) = (reader.schema(), reader.next().unwrap().unwrap());
    let index = schema.index_of(column).unwrap();
    let mut columns = batch.columns().to_vec();
    columns[index] = edit(&columns[index]);
    let mut writer = FileWriter::try_new(Vec::new(), &schema).unwrap();
    writer.write(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
    writer.finish().unwrap();
    let bytes = writer.into_inner().unwrap();
    let body_end = bytes.len() - 10;
    let footer_length = read_footer_length(bytes[body_end..].try_into().unwrap()).unwrap();
    let footer = root_as_footer(&bytes[body_end - footer_length..body_end]).unwrap();
    let block = *footer.recordBatches().unwrap().get(0);
    let start = block.offset() as usize;
    let end = start + block.metaDataLength() as usize + block.bodyLength() as usize;
    entry.head_crc32c = Crc32c::of(&bytes[..start]);
    entry.tail_crc32c = Crc32c::of(&bytes[end..]);
    (entry.tail_offset, entry.bytes) = (end as u64, bytes.len() as u64);
    let stored = &mut entry.batches[0];
    (stored.offset, stored.bytes) = (start as u64, (end - start) as u64);
    stored.crc32c = Crc32c::of(&bytes[start..end]);
    fs::write(&path, &bytes).unwrap();
    manifest.publish(dir).unwrap();
}

/// Element `at` of the list in `row` becomes `value`.
pub fn set_in_list(lists: &ArrayRef, row: usize, at: usize, value: u32) -> ArrayRef {
    let lists = lists.as_list::<i32>();
    let index = lists.value_offsets()[row] as usize + at;
    let values: ArrayRef = match lists.value_type() {
        DataType::UInt16 => {
            let mut values = lists.values().as_primitive::<UInt16Type>().values().to_vec();
            values[index] = value as u16;
            Arc::new(UInt16Array::from(values))
        }
        _ => {
            let mut values = lists.values().as_primitive::<UInt32Type>().values().to_vec();
            values[index] = value;
            Arc::new(UInt32Array::from(values))
        }
    };
    let item = Arc::new(Field::new("item", lists.value_type(), false));
    Arc::new(ListArray::new(item, lists.offsets().clone(), values, None))
}

/// The value of `row` becomes `value`.
pub fn set(values: &ArrayRef, row: usize, value: u16) -> ArrayRef {
    let mut values = values.as_primitive::<UInt16Type>().values().to_vec();
    values[row] = value;
    Arc::new(UInt16Array::from(values))
}
