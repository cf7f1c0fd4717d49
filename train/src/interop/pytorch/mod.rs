//! Files of `torch.save`: read without running anything, written so that `torch.load(weights_only=True)` reads them.
//!
//! A file is a zip archive of a pickle and the tensors' storages (since PyTorch 1.6) or a row of pickles with the storages
//! behind them (before). The pickle says which tensor is which view of which storage; the module `pickle` says how it is read.

mod archive;
mod globals;
mod pickle;
mod write;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use archive::Archive;
use pickle::{Id, Node, Pickle, Storage, TensorView};

/// Parameter groups of an optimizer; NVIDIA's has two.
const MOST_GROUPS: usize = 16;

pub use write::{Item, write_items};

/// Names and tensors, in a file's order.
pub type StateDict = Vec<(String, Tensor)>;

/// The keys under which training scripts keep the weights, beside optimizer and epoch.
const WRAPPERS: [&str; 4] = ["model", "state_dict", "model_state_dict", "module"];

/// The number that the old format starts with, as a pickle of any protocol has it.
const LEGACY_MAGIC: [u8; 12] = *b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
/// Bytes in which it stands.
const START_LEN: usize = 32;

/// An open file; tensors are loaded as they are asked for, each storage once, and come as f32 whatever they are kept in.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    pickle: Pickle,
    storages: Storages,
    /// Kind in the file and values of each storage that was asked for.
    loaded: RefCell<HashMap<String, (Kind, Tensor)>>,
}

/// Where the storages lie.
#[derive(Debug)]
enum Storages {
    /// Entries of an archive below this prefix.
    Zip(Archive, String),
    /// Ranges of the bytes of a file of the old format.
    Legacy(Vec<u8>, HashMap<String, std::ops::Range<usize>>),
}

impl Checkpoint {
    /// Opens a `.bin`, `.pt` or `.pth`.
    ///
    /// # Errors
    /// It cannot be read, is not whole, not of PyTorch, or holds a pickle with more than data in it.
    pub fn open(path: &Path) -> Result<Self> {
        let mut start = [0; START_LEN];
        let mut file = fs::File::open(path).map_err(Error::io(path))?;
        let len = file.read(&mut start).map_err(Error::io(path))?;
        if start[0] == 0x80 && start[..len].windows(LEGACY_MAGIC.len()).any(|window| window == LEGACY_MAGIC) {
            return Self::open_legacy(path);
        }
        if !start.starts_with(b"PK") {
            let message = "expected a file of torch.save (a zip archive, or a pickle with PyTorch's magic number), found \
                           neither; give the checkpoint itself, unpacked";
            return Err(Error::file(path, message));
        }
        let archive = Archive::open(path)?;
        let mut roots: Vec<&str> = archive.names().filter_map(|name| name.strip_suffix("data.pkl")).collect();
        roots.sort_by_key(|root| root.len());
        let root = roots.first().copied().map(str::to_owned);
        let root = root
            .ok_or_else(|| Error::file(path, "expected a file of torch.save, found a zip archive without data.pkl"))?;
        if archive.names().any(|name| name == format!("{root}constants.pkl")) {
            let message = "expected weights, found a TorchScript program; save model.state_dict() with torch.save";
            return Err(Error::file(path, message));
        }
        let order = format!("{root}byteorder");
        if archive.names().any(|name| name == order) && archive.read(&order)? != b"little" {
            return Err(Error::file(
                path,
                "expected little-endian tensors, found big-endian ones; save it again elsewhere",
            ));
        }
        let (pickle, _) = pickle::parse(&archive.read(&format!("{root}data.pkl"))?).map_err(refused(path))?;
        let storages = Storages::Zip(archive, format!("{root}data/"));
        Ok(Self { path: path.to_owned(), pickle, storages, loaded: RefCell::default() })
    }

    /// Magic number, version, system, the object, the keys of its storages, then each as its length and bytes.
    fn open_legacy(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        let mut at = 0;
        let mut next = || -> Result<Pickle> {
            let (pickle, len) = pickle::parse(&bytes[at..]).map_err(refused(path))?;
            at += len;
            Ok(pickle)
        };
        for _ in 0..3 {
            next()?;
        }
        let (pickle, keys) = (next()?, next()?);
        let kinds = storage_kinds(&pickle);
        let Node::List(items) = keys.get(keys.root) else {
            return Err(refused(path)(format!("{} for a list of storages", keys.get(keys.root).describe())));
        };
        let mut ranges = HashMap::new();
        for &item in items {
            let cut = || refused(path)("it ends early".to_owned());
            let (Node::Str(key), Some(head)) = (keys.get(item), bytes[at..].first_chunk::<8>()) else {
                return Err(cut());
            };
            let width = kinds.get(key.as_str()).map_or(1, |kind| kind.elt_size_in_bytes());
            let num_bytes = usize::try_from(u64::from_le_bytes(*head)).ok().and_then(|len| len.checked_mul(width));
            let range = num_bytes.and_then(|len| Some(at + 8..(at + 8).checked_add(len)?));
            let range = range.filter(|range| range.end <= bytes.len()).ok_or_else(cut)?;
            at = range.end;
            ranges.insert(key.clone(), range);
        }
        let storages = Storages::Legacy(bytes, ranges);
        Ok(Self { path: path.to_owned(), pickle, storages, loaded: RefCell::default() })
    }

    /// The weights: the whole file, or what it has under `model`, `state_dict`, `model_state_dict` or `module`.
    ///
    /// Tensors may share storage with each other, as they did when they were saved. They are f32.
    ///
    /// # Errors
    /// There are none, or one is damaged.
    pub fn state_dict(&self) -> Result<StateDict> {
        let root = self.pickle.root;
        let wrapped = WRAPPERS.iter().filter_map(|key| self.pickle.item(root, key)).find(|&id| self.holds_tensors(id));
        let id = wrapped.unwrap_or(root);
        if !self.holds_tensors(id) {
            let found = self.pickle.get(root).describe();
            let message = format!("expected a dict of tensors by name (model.state_dict()), found {found} without any");
            return Err(Error::file(&self.path, message));
        }
        let Node::Dict(items) = self.pickle.get(id) else { return Ok(Vec::new()) };
        let mut tensors = StateDict::new();
        let mut seen = HashSet::new();
        for (key, value) in items {
            if let (Node::Str(name), Node::Tensor(view)) = (self.pickle.get(*key), self.pickle.get(*value)) {
                // Before its name is copied: a small file can repeat a long one very often.
                if !seen.insert(name.as_str()) {
                    return Err(Error::file(&self.path, "expected each weight once, found one twice"));
                }
                tensors.push((name.clone(), self.load(name, view)?));
            }
        }
        Ok(tensors)
    }

    /// Keys beside the weights, such as `optimizer` and `epoch`, whose values are left in the file.
    pub fn other_keys(&self) -> Vec<String> {
        let root = self.pickle.root;
        let Some(wrapper) =
            WRAPPERS.iter().find(|key| self.pickle.item(root, key).is_some_and(|id| self.holds_tensors(id)))
        else {
            return Vec::new();
        };
        let Node::Dict(items) = self.pickle.get(root) else { return Vec::new() };
        let keys = items.iter().filter_map(|(key, _)| match self.pickle.get(*key) {
            Node::Str(name) if name != wrapper => Some(name.clone()),
            _ => None,
        });
        keys.collect()
    }

    /// The two moments of each parameter under `optimizer`, by parameter group, in the optimizer's order; `None` where they are
    /// not kept as Adam, AdamW and apex's FusedLAMB keep them.
    ///
    /// # Errors
    /// A tensor is damaged.
    pub fn moments(&self) -> Result<Option<Vec<Vec<[Tensor; 2]>>>> {
        let Some(groups) = self.moment_views() else { return Ok(None) };
        let load = |views: &[&TensorView; 2]| -> Result<[Tensor; 2]> {
            Ok([self.load("exp_avg", views[0])?, self.load("exp_avg_sq", views[1])?])
        };
        let groups = groups.iter().map(|group| group.iter().map(load).collect::<Result<Vec<_>>>());
        Ok(Some(groups.collect::<Result<_>>()?))
    }

    fn moment_views(&self) -> Option<Vec<Vec<[&TensorView; 2]>>> {
        let pickle = &self.pickle;
        let optimizer = pickle.item(pickle.root, "optimizer")?;
        let Node::Dict(states) = pickle.get(pickle.item(optimizer, "state")?) else { return None };
        let states: HashMap<i64, Id> = states
            .iter()
            .filter_map(|(key, value)| match pickle.get(*key) {
                Node::Int(index) => Some((*index, *value)),
                _ => None,
            })
            .collect();
        let moment = |state: Id, name: &str| match pickle.get(pickle.item(state, name)?) {
            Node::Tensor(view) => Some(view),
            _ => None,
        };
        let parameter = |id: &Id| match pickle.get(*id) {
            Node::Int(index) => {
                let state = *states.get(index)?;
                Some([moment(state, "exp_avg")?, moment(state, "exp_avg_sq")?])
            }
            _ => None,
        };
        let Node::List(groups) = pickle.get(pickle.item(optimizer, "param_groups")?) else { return None };
        let group = |id: &Id| match pickle.get(pickle.item(*id, "params")?) {
            Node::List(parameters) => parameters.iter().map(parameter).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        // The same group may stand there very often.
        if groups.len() > MOST_GROUPS {
            return None;
        }
        groups.iter().map(group).collect()
    }

    fn holds_tensors(&self, id: Id) -> bool {
        let Node::Dict(items) = self.pickle.get(id) else { return false };
        items.iter().any(|(_, value)| matches!(self.pickle.get(*value), Node::Tensor(_)))
    }

    /// A view into its storage, which lies in memory once.
    fn load(&self, name: &str, view: &TensorView) -> Result<Tensor> {
        let refuse =
            |why: &str| Error::file(&self.path, format!("{name}: expected a tensor inside its storage, found {why}"));
        let last = last_element(view).ok_or_else(|| refuse("sizes beyond any"))?;
        if last.is_some_and(|last| last >= view.storage.num_elements) {
            return Err(refuse("one that reaches beyond it"));
        }
        let storage = self.storage(name, view.storage)?;
        let signed = |numbers: &[u64]| -> Vec<i64> { numbers.iter().map(|&n| n as i64).collect() };
        Ok(storage.f_as_strided(signed(&view.size), signed(&view.stride), view.offset as i64)?)
    }

    /// Its values as f32. They become so here, once, and not view by view: a small file can have many views of one storage.
    fn storage(&self, name: &str, storage: Storage) -> Result<Tensor> {
        let Node::Str(key) = self.pickle.get(storage.key) else {
            return Err(Error::file(&self.path, format!("{name}: expected a storage by name, found none")));
        };
        let kind = storage.kind.0;
        if let Some((found_kind, found)) = self.loaded.borrow().get(key) {
            if *found_kind == kind && found.size() == [storage.num_elements as i64] {
                return Ok(found.shallow_clone());
            }
            return Err(Error::file(&self.path, format!("{name}: expected its storage as one kind, found it as two")));
        }
        let owned;
        let bytes = match &self.storages {
            Storages::Zip(archive, prefix) => {
                owned = archive.read(&format!("{prefix}{key}"))?;
                &owned[..]
            }
            Storages::Legacy(bytes, ranges) => match ranges.get(key) {
                Some(range) => &bytes[range.clone()],
                None => return Err(Error::file(&self.path, format!("{name}: expected its storage, found none"))),
            },
        };
        let expected = storage.num_elements.checked_mul(kind.elt_size_in_bytes() as u64);
        if expected != Some(bytes.len() as u64) {
            let message = format!(
                "{name}: expected a storage of {} elements of {} bytes, found {} bytes; copy the file again",
                storage.num_elements,
                kind.elt_size_in_bytes(),
                bytes.len()
            );
            return Err(Error::file(&self.path, message));
        }
        let tensor = Tensor::f_from_data_size(bytes, &[storage.num_elements as i64], kind)?.f_to_kind(Kind::Float)?;
        self.loaded.borrow_mut().insert(key.clone(), (kind, tensor.shallow_clone()));
        Ok(tensor)
    }
}

/// Index of the last element of `view` in its storage, `Some(None)` where it has none; `None` where that overflows, or where
/// the view has more elements than its storage, as no weight has.
fn last_element(view: &TensorView) -> Option<Option<u64>> {
    if view.size.len() != view.stride.len() {
        return None;
    }
    let num_elements = view.size.iter().try_fold(1u64, |product, &len| product.checked_mul(len))?;
    i64::try_from(view.storage.num_elements).ok()?;
    if num_elements == 0 {
        return (view.offset <= view.storage.num_elements).then_some(None);
    }
    if num_elements > view.storage.num_elements {
        return None;
    }
    let steps = view.size.iter().zip(&view.stride).map(|(&len, &stride)| (len - 1).checked_mul(stride));
    let last = steps.into_iter().try_fold(view.offset, |sum, step| sum.checked_add(step?))?;
    i64::try_from(last).ok()?;
    view.stride.iter().all(|&stride| i64::try_from(stride).is_ok()).then_some(Some(last))
}

/// The element kind of each storage that `pickle` names.
fn storage_kinds(pickle: &Pickle) -> HashMap<&str, Kind> {
    let storages = pickle.nodes().filter_map(|node| match node {
        Node::Storage(storage) => Some(storage),
        _ => None,
    });
    let keyed = storages.filter_map(|storage| match pickle.get(storage.key) {
        Node::Str(key) => Some((key.as_str(), storage.kind.0)),
        _ => None,
    });
    keyed.collect()
}

fn refused(path: &Path) -> impl Fn(String) -> Error {
    let path = path.to_owned();
    move |why| {
        if why.starts_with("expected ") {
            return Error::file(&path, why);
        }
        Error::file(
            &path,
            format!("expected a pickle of weights, found one that is damaged or of another kind ({why})"),
        )
    }
}
