//! What was drawn, on disk between drawing and making shards: descriptors of a fixed size, and the order of the rows.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow_buffer::Buffer;
use cloze_formats::config::InstanceConfig;
use cloze_formats::{Dataset, Tokens, durable, mmap};

use super::draw::Drawer;
use crate::error::{AtPath, Error, Result};
use crate::materialise::GROUP;
use crate::plan::Totals;
use crate::progress::Progress;

/// Tokens `start..start + len` of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub document: u32,
    pub start: u32,
    pub len: u32,
}

impl Segment {
    /// Without `front` tokens at its front and `back` at its back.
    pub fn shortened(self, front: usize, back: usize) -> Self {
        Self { start: self.start + front as u32, len: self.len - (front + back) as u32, ..self }
    }

    pub fn tokens<'a>(&self, corpus: &'a Dataset) -> Result<Tokens<'a>> {
        let (start, end) = (self.start as usize, (self.start + self.len) as usize);
        corpus.row_tokens(self.document.into())?.slice(start, end).ok_or_else(|| {
            let problem = format!(
                "document {} does not fit what was drawn; delete the output directory and retry",
                self.document
            );
            Error::invalid(corpus.dir(), problem)
        })
    }
}

/// An instance: both segments after truncation, and its masks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Drawn {
    pub a: Segment,
    pub b: Segment,
    pub is_random: bool,
    /// `[P]`, ascending.
    pub positions: Vec<u16>,
    /// `[P]`: what the model sees there.
    pub inputs: Vec<u32>,
}

/// Six words before the masks; a mask takes another six bytes.
const HEAD_BYTES: usize = 28;
const MASK_BYTES: usize = 6;

impl Drawn {
    fn write(&self, descriptor: &mut [u8]) {
        descriptor.fill(0);
        let segments = [self.a, self.b].map(|s| [s.document, s.start, s.len]);
        let counts = self.positions.len() as u32 | if self.is_random { RANDOM } else { 0 };
        let words = segments.as_flattened().iter().chain([&counts]);
        for (bytes, word) in descriptor.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let masks = descriptor[HEAD_BYTES..].chunks_exact_mut(MASK_BYTES);
        for ((bytes, position), input) in masks.zip(&self.positions).zip(&self.inputs) {
            bytes[..2].copy_from_slice(&position.to_le_bytes());
            bytes[2..].copy_from_slice(&input.to_le_bytes());
        }
    }

    fn read(&mut self, descriptor: &[u8]) {
        let word = |i: usize| u32::from_le_bytes(descriptor[4 * i..4 * i + 4].try_into().expect("four bytes"));
        self.a = Segment { document: word(0), start: word(1), len: word(2) };
        self.b = Segment { document: word(3), start: word(4), len: word(5) };
        self.is_random = word(6) & RANDOM != 0;
        let masks = descriptor[HEAD_BYTES..].chunks_exact(MASK_BYTES).take((word(6) & !RANDOM) as usize);
        self.positions.clear();
        self.inputs.clear();
        for mask in masks {
            self.positions.push(u16::from_le_bytes([mask[0], mask[1]]));
            self.inputs.push(u32::from_le_bytes([mask[2], mask[3], mask[4], mask[5]]));
        }
    }
}

const RANDOM: u32 = 1 << 31;

/// All that was drawn for a dataset.
#[derive(Debug)]
pub(super) struct DrawnFile {
    descriptors: Buffer,
    descriptor_bytes: usize,
    order: File,
    order_path: PathBuf,
    totals: Totals,
}

impl DrawnFile {
    /// Draws the instances of `corpus` into `dir`, or finds them there from an interrupted run.
    pub fn make(corpus: &Dataset, config: &InstanceConfig, dir: &Path, progress: Progress) -> Result<Self> {
        let most_masks = config.masking_config().num_predictions(config.max_seq_length.into());
        let descriptor_bytes = HEAD_BYTES + MASK_BYTES * most_masks;
        let totals_path = dir.join("totals.json");
        let totals = match fs::read(&totals_path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::other).at(&totals_path)?,
            Err(_) => {
                fs::create_dir_all(dir).at(dir)?;
                let num_instances = draw_all(corpus, config, dir, descriptor_bytes, progress)?;
                let totals = Totals::new(num_instances, config.num_shards)
                    .map_err(|problem| Error::invalid(corpus.dir(), problem))?;
                // Its presence says that the other two files are complete.
                let json = serde_json::to_vec(&totals).map_err(std::io::Error::other).at(&totals_path)?;
                durable::write(&totals_path, &json)?;
                totals
            }
        };
        let path = dir.join(DESCRIPTORS);
        // Read in any order. Complete, so nobody writes to it any more.
        let descriptors = mmap::map(&path)?;
        let (expected, found) = (totals.num_instances * descriptor_bytes as u64, descriptors.len());
        if found as u64 != expected {
            let problem = format!("expected {expected} bytes, found {found}; delete the output directory and retry");
            return Err(Error::invalid(path, problem));
        }
        let order_path = dir.join(ORDER);
        let order = File::open(&order_path).at(&order_path)?;
        Ok(Self { descriptors, descriptor_bytes, order, order_path, totals })
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Calls `emit` with the instances of `shard`, a slice of all rows, in row order, [`GROUP`] at a time.
    pub fn for_each_group(&self, shard: u32, mut emit: impl FnMut(&[Drawn]) -> Result<()>) -> Result<()> {
        let Range { start, end } = self.totals.rows(shard);
        let mut numbers = vec![0; (end - start) as usize * 4];
        self.order.read_exact_at(&mut numbers, start * 4).at(&self.order_path)?;
        let mut group = vec![Drawn::default(); GROUP];
        let mut descriptors = Vec::with_capacity(GROUP);
        for numbers in numbers.as_chunks().0.chunks(GROUP) {
            descriptors.clear();
            for &number in numbers {
                descriptors.push(self.descriptor(u32::from_le_bytes(number))?);
            }
            // They lie anywhere: loads that do not depend on each other are waited for together.
            let lines = descriptors.iter().flat_map(|descriptor| descriptor.iter().step_by(CACHE_LINE));
            std::hint::black_box(lines.fold(0, |all, byte| all ^ byte));
            group.iter_mut().zip(&descriptors).for_each(|(instance, descriptor)| instance.read(descriptor));
            emit(&group[..numbers.len()])?;
        }
        Ok(())
    }

    fn descriptor(&self, number: u32) -> Result<&[u8]> {
        let offset = number as usize * self.descriptor_bytes;
        self.descriptors.get(offset..offset + self.descriptor_bytes).ok_or_else(|| {
            let problem = "expected numbers of instances that were drawn; delete the output directory and retry";
            Error::invalid(&self.order_path, problem)
        })
    }
}

const CACHE_LINE: usize = 64;
const DESCRIPTORS: &str = "instances";
const ORDER: &str = "order";

/// Draws everything; returns the number of instances.
fn draw_all(
    corpus: &Dataset,
    config: &InstanceConfig,
    dir: &Path,
    descriptor_bytes: usize,
    progress: Progress,
) -> Result<u64> {
    // Under a name of this process's until it is whole: where the file system has no locks, another may draw here too, and what
    // is mapped must not change.
    let own = |name: &str| dir.join(format!("{name}.{}", std::process::id()));
    let path = own(DESCRIPTORS);
    let create = |path: &Path| File::create(path).map(|f| BufWriter::with_capacity(1 << 20, f)).at(path);
    let mut descriptors = create(&path)?;
    let mut descriptor = vec![0; descriptor_bytes];
    let mut num_instances = 0u64;
    let mut drawer = Drawer::new(corpus, config);
    drawer.draw(progress, |instance| {
        instance.write(&mut descriptor);
        num_instances += 1;
        descriptors.write_all(&descriptor).at(&path)
    })?;
    sync(descriptors, &path)?;
    fs::rename(&path, dir.join(DESCRIPTORS)).at(&path)?;
    let too_many = |_| {
        let problem = format!("expected at most {} instances with --compat, found {num_instances}", u32::MAX);
        Error::invalid(corpus.dir(), problem)
    };
    let path = own(ORDER);
    let mut order = create(&path)?;
    for number in drawer.order(u32::try_from(num_instances).map_err(too_many)?) {
        order.write_all(&number.to_le_bytes()).at(&path)?;
    }
    sync(order, &path)?;
    fs::rename(&path, dir.join(ORDER)).at(&path)?;
    Ok(num_instances)
}

fn sync(file: BufWriter<File>, path: &Path) -> Result<()> {
    let file = file.into_inner().map_err(|e| e.into_error()).at(path)?;
    file.sync_all().at(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_come_back() {
        let instance = Drawn {
            a: Segment { document: 1, start: 2, len: 3 },
            b: Segment { document: u32::MAX, start: 5, len: 70_000 },
            is_random: true,
            positions: vec![1, 65_535],
            inputs: vec![103, 99_999],
        };
        let mut descriptor = vec![7; HEAD_BYTES + 3 * MASK_BYTES];
        instance.write(&mut descriptor);
        let mut read = Drawn { positions: vec![9; 5], ..Drawn::default() };
        read.read(&descriptor);
        assert_eq!(read, instance);
    }
}
