//! The walk through the rows of a block, on many paths at once.
//!
//! Each row says which one is next, and where that is in 4 MB of memory is known only when it is loaded: a processor that
//! follows one path waits most of the time. But every row has one successor and one predecessor, so the walk can begin
//! at any rows, and go on from each up to where another one began. Put end to end, the pieces are the whole.

/// Marks a row at which a path begins.
const START: u32 = 1 << 31;
/// Rows per path, on average.
const ROWS_PER_PATH: usize = 4_096;
/// Paths followed at once, so that as many loads as a processor can have under way always are.
const LANES: usize = 24;

/// Pieces of a walk.
#[derive(Default)]
pub(super) struct Paths {
    stride: usize,
    origin: usize,
    /// Paths begin at rows that are multiples of `stride`, in order; then there is the one that begins at `origin`.
    paths: Vec<Path>,
}

/// The bytes from one start up to another.
#[derive(Default)]
struct Path {
    bytes: Vec<u8>,
    /// The row at which the next path begins.
    next: usize,
}

/// A path being followed.
struct Lane {
    path: usize,
    bytes: Vec<u8>,
    row: usize,
}

impl Paths {
    /// Walks through `rows`: the number of the next one in bits 8 to 30, below it the byte.
    pub(super) fn walk_all(&mut self, rows: &mut [u32], origin: usize) {
        (self.stride, self.origin) = (ROWS_PER_PATH, origin);
        let num_regular = rows.len().div_ceil(self.stride);
        self.paths.resize_with(num_regular + 1, Path::default);
        rows.iter_mut().step_by(self.stride).for_each(|row| *row |= START);
        rows[origin] |= START;
        let mut starts = (0..num_regular).map(|path| (path, path * self.stride)).collect::<Vec<_>>();
        if !origin.is_multiple_of(self.stride) {
            starts.push((num_regular, origin));
        }
        let mut starts = starts.into_iter();
        let mut lanes: Vec<Lane> = starts.by_ref().take(LANES).map(|start| self.begin(rows, start)).collect();
        while !lanes.is_empty() {
            let mut ended = false;
            for lane in &mut lanes {
                let link = rows[lane.row];
                if link & START == 0 {
                    lane.bytes.push(link as u8);
                    lane.row = (link >> 8) as usize;
                    continue;
                }
                self.paths[lane.path] = Path { bytes: std::mem::take(&mut lane.bytes), next: lane.row };
                match starts.next() {
                    Some(start) => *lane = self.begin(rows, start),
                    None => ended = true,
                }
            }
            if ended {
                // What a lane has written was taken away above.
                lanes.retain(|lane| lane.bytes.capacity() > 0);
            }
        }
    }

    /// Takes the first step of a path.
    fn begin(&mut self, rows: &[u32], (path, row): (usize, usize)) -> Lane {
        let mut bytes = std::mem::take(&mut self.paths[path].bytes);
        bytes.clear();
        let link = rows[row];
        bytes.push(link as u8);
        Lane { path, bytes, row: ((link & !START) >> 8) as usize }
    }

    /// The first `num_bytes` bytes from the origin on; more than once around where the rows form several circles, as those
    /// of a text that repeats itself do.
    pub(super) fn chain(&self, num_bytes: usize) -> impl Iterator<Item = u8> {
        let mut row = self.origin;
        let pieces = std::iter::from_fn(move || {
            let regular = row.is_multiple_of(self.stride);
            let path = &self.paths[if regular { row / self.stride } else { self.paths.len() - 1 }];
            row = path.next;
            Some(path.bytes.as_slice())
        });
        pieces.flatten().copied().take(num_bytes)
    }
}
