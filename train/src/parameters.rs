//! A model's parameters in one flat buffer, their gradients in another, and a table of names over both.
//!
//! Each autograd leaf has a slice of the flat buffer as its storage, and its `.grad` is preset to the same slice of the flat
//! gradient, into which backward accumulates in place. Clipping, optimizers and checkpoints work on the flat buffers.
//!
//! Decayed parameters come first, so that weight decay is one contiguous range. Parameters that a model wants as one matrix
//! (query, key, value) are neighbours under one leaf and keep their own names in the table.

use std::collections::HashMap;
use std::ops::Range;

use cloze_torch_ext::{fill_normal, set_grad};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// Leaves start at multiples of this many elements: 64 bytes, a cache line and the widest vector register.
const ALIGNMENT: i64 = 16;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
}

/// One named parameter of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Hugging Face's name, such as `bert.pooler.dense.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<i64>,
    /// Its first element in the flat buffers.
    pub offset: i64,
    /// Its number of elements.
    pub num_elements: i64,
    /// Whether weight decay (and LAMB's trust ratio) applies.
    pub weight_decay: bool,
}

/// Identifies a leaf from declaration to [`Parameters::leaf`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafId(usize);

#[derive(Debug)]
struct Declaration {
    names: Vec<String>,
    /// Shape of each named part; the leaf stacks them along dimension 0.
    shape: Vec<i64>,
    weight_decay: bool,
    init: Init,
}

impl Declaration {
    fn part_len(&self) -> i64 {
        self.shape.iter().product()
    }

    fn leaf_shape(&self) -> Vec<i64> {
        let mut shape = self.shape.clone();
        shape[0] *= self.names.len() as i64;
        shape
    }
}

/// Collects what a model declares, then allocates it all at once.
#[derive(Debug, Default)]
pub struct ParametersBuilder {
    declarations: Vec<Declaration>,
}

impl ParametersBuilder {
    /// Declares one parameter.
    pub fn add(&mut self, name: impl Into<String>, shape: &[i64], weight_decay: bool, init: Init) -> LeafId {
        self.add_stacked(vec![name.into()], shape, weight_decay, init)
    }

    /// Declares parameters of the same `shape` that form one leaf, stacked along dimension 0.
    pub fn add_stacked(&mut self, names: Vec<String>, shape: &[i64], weight_decay: bool, init: Init) -> LeafId {
        self.declarations.push(Declaration { names, shape: shape.to_vec(), weight_decay, init });
        LeafId(self.declarations.len() - 1)
    }

    /// Allocates on `device` and initialises each leaf from `seed` and its name; torch's global random state plays no part.
    ///
    /// # Errors
    /// When two parameters share a name, or memory runs out.
    pub fn build(self, device: Device, seed: u64) -> Result<Parameters> {
        let mut offset = 0;
        let mut decayed_len = 0;
        let mut leaf_offsets = vec![0; self.declarations.len()];
        let mut entries = Vec::new();
        for weight_decay in [true, false] {
            for (id, declaration) in
                self.declarations.iter().enumerate().filter(|(_, d)| d.weight_decay == weight_decay)
            {
                leaf_offsets[id] = offset;
                for name in &declaration.names {
                    let num_elements = declaration.part_len();
                    let shape = declaration.shape.clone();
                    entries.push(Entry { name: name.clone(), shape, offset, num_elements, weight_decay });
                    offset += num_elements;
                }
                offset = (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
            }
            if weight_decay {
                decayed_len = offset;
            }
        }
        let index = index_by_name(&entries)?;
        let flat = self.initial_values(&leaf_offsets, offset, seed)?.f_to_device(device)?;
        let gradient = flat.f_zeros_like()?;
        let shapes: Vec<Vec<i64>> = self.declarations.iter().map(Declaration::leaf_shape).collect();
        let len = |shape: &Vec<i64>| shape.iter().product::<i64>();
        let leaf_ranges: Vec<_> = leaf_offsets.iter().zip(&shapes).map(|(&at, shape)| at..at + len(shape)).collect();
        let leaves = leaves(&leaf_ranges, &shapes, &flat, &gradient)?;
        Ok(Parameters { flat, gradient, gradient_scale: 1.0, decayed_len, entries, index, leaves, leaf_ranges })
    }

    /// Always drawn on the CPU, so that a seed means the same weights on any device.
    fn initial_values(&self, leaf_offsets: &[i64], num_elements: i64, seed: u64) -> Result<Tensor> {
        let flat = Tensor::f_zeros([num_elements], (Kind::Float, Device::Cpu))?;
        for (declaration, &offset) in self.declarations.iter().zip(leaf_offsets) {
            let mut part = flat.f_narrow(0, offset, declaration.part_len() * declaration.names.len() as i64)?;
            match declaration.init {
                Init::Normal(deviation) => fill_normal(&mut part, deviation, seed_of(&declaration.names[0], seed))?,
                Init::Zeros => {}
                Init::Ones => drop(part.f_fill_(1.0)?),
            }
        }
        Ok(flat)
    }
}

/// Slices of `flat` as autograd leaves, their gradients slices of `gradient`.
fn leaves(ranges: &[Range<i64>], shapes: &[Vec<i64>], flat: &Tensor, gradient: &Tensor) -> Result<Vec<Tensor>> {
    let leaf = |(range, shape): (&Range<i64>, &Vec<i64>)| {
        let slice = |of: &Tensor| of.f_narrow(0, range.start, range.end - range.start)?.f_view(&shape[..]);
        let leaf = slice(flat)?.f_set_requires_grad(true)?;
        set_grad(&leaf, &slice(gradient)?)?;
        Ok(leaf)
    };
    ranges.iter().zip(shapes).map(leaf).collect()
}

/// A leaf's own seed (torch's generator takes 32 bits), so that the encoder starts the same under any head.
fn seed_of(name: &str, seed: u64) -> u32 {
    let hash = Sha256::digest(format!("{seed} {name}"));
    u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]])
}

fn index_by_name(entries: &[Entry]) -> Result<HashMap<String, usize>> {
    let mut index = HashMap::with_capacity(entries.len());
    for (position, entry) in entries.iter().enumerate() {
        if index.insert(entry.name.clone(), position).is_some() {
            return Err(Error::Invalid(format!("parameter {} is declared twice", entry.name)));
        }
    }
    Ok(index)
}

/// All parameters and gradients of a model; see the module's text for the layout.
#[derive(Debug)]
pub struct Parameters {
    flat: Tensor,
    gradient: Tensor,
    gradient_scale: f64,
    decayed_len: i64,
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
    leaves: Vec<Tensor>,
    leaf_ranges: Vec<Range<i64>>,
}

impl Parameters {
    /// The same parameters in memory under leaves of their own; the gradient is this one's if it is to be shared, or another, 0.
    pub fn replica(&self, shares_gradient: bool) -> Result<Self> {
        let flat = self.flat.shallow_clone();
        let gradient = if shares_gradient { self.gradient.shallow_clone() } else { self.gradient.f_zeros_like()? };
        let shapes: Vec<Vec<i64>> = self.leaves.iter().map(Tensor::size).collect();
        let leaves = leaves(&self.leaf_ranges, &shapes, &flat, &gradient)?;
        let (entries, index, leaf_ranges) = (self.entries.clone(), self.index.clone(), self.leaf_ranges.clone());
        Ok(Self { flat, gradient, entries, index, leaves, leaf_ranges, ..*self })
    }

    /// Every parameter, `[N]` f32, alignment gaps (always 0) included.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// Every gradient, `[N]` f32, laid out like [`Self::flat`].
    pub fn gradient(&self) -> &Tensor {
        &self.gradient
    }

    /// What the values of [`Self::gradient`] are multiples of: steps scale their losses with it before backward, optimizers
    /// divide by it. 1 unless fp16 needs another.
    pub fn gradient_scale(&self) -> f64 {
        self.gradient_scale
    }

    /// Sets [`Self::gradient_scale`] for the steps from here on; a power of two loses nothing.
    pub fn set_gradient_scale(&mut self, scale: f64) {
        self.gradient_scale = scale;
    }

    /// Elements of the flat buffers before this one belong to parameters with weight decay, the others have none.
    pub fn decayed_len(&self) -> i64 {
        self.decayed_len
    }

    /// The table, ascending by offset.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of that name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.index.get(name).map(|&position| &self.entries[position])
    }

    /// The parameter of `entry`, a view into [`Self::flat`] in its shape; autograd does not see it.
    pub fn view(&self, entry: &Entry) -> Result<Tensor> {
        view(&self.flat, entry)
    }

    /// The gradient of `entry`, a view into [`Self::gradient`] in its shape.
    pub fn gradient_view(&self, entry: &Entry) -> Result<Tensor> {
        view(&self.gradient, entry)
    }

    /// The parameter of that name, as [`Self::view`] gives it.
    pub fn get(&self, name: &str) -> Result<Option<Tensor>> {
        self.entry(name).map(|entry| self.view(entry)).transpose()
    }

    /// The autograd leaf that was declared as `id`.
    pub fn leaf(&self, id: LeafId) -> &Tensor {
        &self.leaves[id.0]
    }

    /// All autograd leaves.
    pub fn leaves(&self) -> &[Tensor] {
        &self.leaves
    }

    /// Where each of [`Self::leaves`] lies in the flat buffers.
    pub fn leaf_ranges(&self) -> &[Range<i64>] {
        &self.leaf_ranges
    }

    /// Sets all gradients to 0.
    pub fn zero_gradient(&mut self) -> Result<()> {
        let _ = self.gradient.f_zero_()?;
        Ok(())
    }

    /// How many parameters there are, alignment gaps not counted.
    pub fn num_parameters(&self) -> i64 {
        self.entries.iter().map(|entry| entry.num_elements).sum()
    }

    /// Fingerprint of the table (SHA-256, hexadecimal): flat buffers with equal layouts mean the same element by element.
    pub fn layout(&self) -> String {
        let mut hash = Sha256::new();
        for entry in &self.entries {
            hash.update(format!("{} {:?} {} {}\n", entry.name, entry.shape, entry.offset, entry.weight_decay));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn view(flat: &Tensor, entry: &Entry) -> Result<Tensor> {
    Ok(flat.f_narrow(0, entry.offset, entry.num_elements)?.f_view(&entry.shape[..])?)
}
