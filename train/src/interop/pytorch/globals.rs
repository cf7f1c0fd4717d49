//! The globals that a state dict may name, and what each one makes of its arguments. Nothing else exists here.

use tch::Kind;

use super::pickle::{Id, Node, Parsed, Storage, TensorView};

/// Dimensions of a tensor; BERT has two.
const MAX_RANK: usize = 8;

/// Elements of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StorageType(pub Kind);

/// What a known global does when it is called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Callable {
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`.
    Tensor,
    /// `torch._utils._rebuild_parameter`: its first argument, a tensor.
    Parameter,
    /// `collections.OrderedDict` and its like.
    Dict,
    /// `torch.Size`.
    Size,
    /// `torch.FloatStorage` and its like; named, never called.
    Storage(StorageType),
    /// Known to lie beside the weights, and of no use: gives [`Node::Opaque`].
    Ignored,
}

/// What a call gives.
pub(super) enum Made {
    /// A new value.
    New(Node),
    /// One that is there.
    Same(Id),
}

/// What NVIDIA's and others' checkpoints hold beside weights: settings, and the data loader where a run was interrupted.
/// None of it is made; its parts are skipped.
const IGNORED: [(&str, &str); 33] = [
    // Protocol 2 has the names of Python 2.
    ("__builtin__", "dict"),
    ("__builtin__", "frozenset"),
    ("__builtin__", "list"),
    ("__builtin__", "set"),
    ("__builtin__", "slice"),
    ("__main__", "WorkerInitObj"),
    ("__main__", "pretraining_dataset"),
    ("_codecs", "encode"),
    ("argparse", "Namespace"),
    ("builtins", "dict"),
    ("builtins", "frozenset"),
    ("builtins", "list"),
    ("builtins", "set"),
    ("builtins", "slice"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("pathlib", "PosixPath"),
    ("torch", "device"),
    ("torch.utils.data._utils.collate", "default_collate"),
    ("torch.utils.data._utils.fetch", "_MapDatasetFetcher"),
    ("torch.utils.data.dataloader", "DataLoader"),
    ("torch.utils.data.dataloader", "_DatasetKind"),
    ("torch.utils.data.dataset", "TensorDataset"),
    ("torch.utils.data.distributed", "DistributedSampler"),
    ("torch.utils.data.sampler", "BatchSampler"),
    ("torch.utils.data.sampler", "RandomSampler"),
    ("torch.utils.data.sampler", "SequentialSampler"),
];

/// The global `module.name`.
///
/// # Errors
/// It is not one of those that are known.
pub(super) fn find(module: &str, name: &str) -> Parsed<Callable> {
    let callable = match (module, name) {
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Callable::Tensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Callable::Parameter,
        ("torch.nn.parameter", "Parameter") => Callable::Parameter,
        ("collections", "OrderedDict" | "defaultdict") => Callable::Dict,
        ("torch", "Size") => Callable::Size,
        ("torch" | "torch.cuda", name) if storage_kind(name).is_some() => {
            Callable::Storage(StorageType(storage_kind(name).unwrap_or(Kind::Float)))
        }
        ("torch", "float32" | "float16" | "bfloat16" | "float64" | "int64" | "int32" | "uint8" | "bool") => {
            Callable::Ignored
        }
        known if IGNORED.contains(&known) => Callable::Ignored,
        _ => {
            // A name from a file goes to a terminal: printable, and not for ever.
            let full: String = format!("{module}.{name}").chars().filter(|c| !c.is_control()).take(120).collect();
            return Err(format!(
                "expected weights only, found {full}, code or an object that would have to be run; nothing was run. \
                 Load the file in Python, if you trust it, and save model.state_dict()"
            ));
        }
    };
    Ok(callable)
}

fn storage_kind(name: &str) -> Option<Kind> {
    Some(match name {
        "FloatStorage" => Kind::Float,
        "HalfStorage" => Kind::Half,
        "BFloat16Storage" => Kind::BFloat16,
        "DoubleStorage" => Kind::Double,
        "LongStorage" => Kind::Int64,
        "IntStorage" => Kind::Int,
        "ShortStorage" => Kind::Int16,
        "CharStorage" => Kind::Int8,
        "ByteStorage" => Kind::Uint8,
        "BoolStorage" => Kind::Bool,
        _ => return None,
    })
}

/// Calls `callable`; `copied` counts elements that the result has and the pickle need not have written.
///
/// # Errors
/// The arguments are not what it takes.
pub(super) fn call(callable: Callable, arguments: &[Id], nodes: &[Node], copied: &mut usize) -> Parsed<Made> {
    Ok(Made::New(match callable {
        Callable::Tensor => Node::Tensor(tensor(arguments, nodes)?),
        Callable::Parameter => match arguments.first() {
            Some(&id) if matches!(nodes[id], Node::Tensor(_)) => return Ok(Made::Same(id)),
            _ => return Err("a parameter without a tensor".to_owned()),
        },
        Callable::Size => match arguments.first() {
            Some(&id) if matches!(nodes[id], Node::Tuple(_)) => return Ok(Made::Same(id)),
            _ => return Err("a torch.Size without a tuple".to_owned()),
        },
        Callable::Dict => Node::Dict(dict(arguments, nodes, copied)?),
        Callable::Ignored => Node::Opaque,
        Callable::Storage(_) => return Err("a storage outside a tensor".to_owned()),
    }))
}

/// `OrderedDict()`, `OrderedDict([[key, value], ..])`, `defaultdict(class)`.
fn dict(arguments: &[Id], nodes: &[Node], copied: &mut usize) -> Parsed<Vec<(Id, Id)>> {
    let Some(Node::List(items)) = arguments.first().map(|&id| &nodes[id]) else { return Ok(Vec::new()) };
    *copied += items.len();
    let pair = |&id: &Id| match &nodes[id] {
        Node::List(pair) | Node::Tuple(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
        other => Err(format!("a dict with {} as an item", other.describe())),
    };
    items.iter().map(pair).collect()
}

/// `(storage, offset, size, stride, ..)`.
fn tensor(arguments: &[Id], nodes: &[Node]) -> Parsed<TensorView> {
    let numbers = |id: Id| match &nodes[id] {
        Node::Tuple(items) | Node::List(items) if items.len() <= MAX_RANK => {
            items.iter().map(|&item| count(&nodes[item])).collect::<Parsed<Vec<u64>>>()
        }
        _ => Err(format!("a tensor whose shape is not at most {MAX_RANK} numbers")),
    };
    let [storage, offset, size, stride, ..] = arguments else {
        return Err("a tensor with too few arguments".to_owned());
    };
    let Node::Storage(storage) = nodes[*storage] else { return Err("a tensor without a storage".to_owned()) };
    Ok(TensorView { storage, offset: count(&nodes[*offset])?, size: numbers(*size)?, stride: numbers(*stride)? })
}

fn count(node: &Node) -> Parsed<u64> {
    match node {
        Node::Int(number) if *number >= 0 => Ok(*number as u64),
        Node::Int(number) => Err(format!("a tensor with {number} as a size")),
        other => Err(format!("a tensor with {} as a size", other.describe())),
    }
}

/// The persistent id `('storage', type, key, location, num_elements, ..)`.
///
/// # Errors
/// It is another one.
pub(super) fn storage(parts: &[Id], nodes: &[Node]) -> Parsed<Node> {
    let values: Vec<&Node> = parts.iter().take(6).map(|&id| &nodes[id]).collect();
    let [Node::Str(tag), Node::Callable(Callable::Storage(kind)), Node::Str(_), _, num_elements, rest @ ..] =
        &values[..]
    else {
        return Err("a reference that is no storage".to_owned());
    };
    if tag != "storage" || !rest.iter().all(|node| matches!(node, Node::None)) {
        return Err("a reference that is no whole storage".to_owned());
    }
    Ok(Node::Storage(Storage { key: parts[2], kind: *kind, num_elements: count(num_elements)? }))
}
