//! Which of several processes this one is, and what falls to it: the one home of rank arithmetic.

use std::collections::BTreeMap;
use std::ops::Range;

/// Environment variables that launchers set: rank and world size.
const LAUNCHERS: [[&str; 2]; 3] =
    [["RANK", "WORLD_SIZE"], ["SLURM_PROCID", "SLURM_NTASKS"], ["JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"]];

/// One of `world_size` processes that make a dataset together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct World {
    rank: u32,
    world_size: u32,
}

impl World {
    /// The only process.
    pub fn alone() -> Self {
        Self { rank: 0, world_size: 1 }
    }

    /// Process `rank` of `world_size`; the error says what was expected.
    pub fn new(rank: u32, world_size: u32) -> Result<Self, String> {
        match world_size {
            0 => Err("expected a world size of at least 1, found 0".to_owned()),
            n if rank >= n => Err(format!("expected a rank below the world size {n}, found {rank}")),
            _ => Ok(Self { rank, world_size }),
        }
    }

    /// From what the user said, and from the environment where the user said nothing or half of it.
    ///
    /// In this order: `RANK` and `WORLD_SIZE` (torchrun, PyTorchJob); `SLURM_PROCID` and `SLURM_NTASKS`, multiplied
    /// with the array's `SLURM_ARRAY_TASK_ID`, `_MIN`, `_STEP` and `_COUNT`; `JOB_COMPLETION_INDEX` (Kubernetes), whose
    /// count is `JOB_COMPLETIONS` or the user's. A launcher of one process says nothing: the next one is asked.
    ///
    /// # Errors
    /// Half of a pair is missing, is not a number, or the rank is not below the world size.
    pub fn resolve(
        rank: Option<u32>,
        world_size: Option<u32>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        match (rank, world_size) {
            (Some(rank), Some(world_size)) => Self::new(rank, world_size),
            (None, Some(1)) => Ok(Self::alone()),
            (rank, world_size) => {
                let found = from_environment(&env, world_size)?;
                match (rank.or(found.map(|f| f.0)), world_size.or(found.map(|f| f.1))) {
                    (Some(rank), Some(world_size)) => Self::new(rank, world_size),
                    (Some(_), None) => Err("--rank needs --world-size: of how many processes?".to_owned()),
                    (None, Some(_)) => Err("--world-size needs --rank: which of the processes is this?".to_owned()),
                    (None, None) => Ok(Self::alone()),
                }
            }
        }
    }

    /// Number of this process, from 0.
    pub fn rank(self) -> u32 {
        self.rank
    }

    /// Number of processes.
    pub fn world_size(self) -> u32 {
        self.world_size
    }

    /// Whether there is no other process.
    pub fn is_alone(self) -> bool {
        self.world_size == 1
    }

    /// Which of `num_things` equal things fall to this rank: a contiguous range, counts differ by at most 1.
    pub fn range(self, num_things: u32) -> Range<u32> {
        let start = |rank: u32| (u64::from(rank) * u64::from(num_things) / u64::from(self.world_size)) as u32;
        start(self.rank)..start(self.rank + 1)
    }

    /// The rank whose [`range`](Self::range) holds `thing`.
    pub fn owner(self, thing: u32, num_things: u32) -> u32 {
        let (things, world) = (u64::from(num_things), u64::from(self.world_size));
        (((u64::from(thing) + 1) * world - 1) / things) as u32
    }

    /// What is missing before publication, and how to make it. `missing`: number of things by rank.
    pub fn describe_missing(self, things: &str, num_things: usize, missing: &BTreeMap<u32, u32>) -> String {
        let num_missing: u32 = missing.values().sum();
        if self.is_alone() {
            return format!("{num_missing} of {num_things} {things} are missing; run the same command again");
        }
        let ranks: Vec<String> = missing.keys().take(20).map(u32::to_string).collect();
        let more = if missing.len() > ranks.len() {
            format!(" and {} more", missing.len() - ranks.len())
        } else {
            String::new()
        };
        format!(
            "{num_missing} of {num_things} {things} are missing, of rank {}{more}; run them again with --rank {} \
             --world-size {}, then `cloze-prep finish`",
            ranks.join(", "),
            if ranks.len() == 1 { &ranks[0] } else { "R" },
            self.world_size
        )
    }

    /// The rank of each thing, by weight: heaviest first, each to the rank with the least so far.
    pub fn deal(self, weights: &[u64]) -> Vec<u32> {
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by_key(|&thing| (std::cmp::Reverse(weights[thing]), thing));
        let mut loads = vec![0u64; self.world_size as usize];
        let mut ranks = vec![0; weights.len()];
        for thing in order {
            let lightest = (0..loads.len()).min_by_key(|&rank| loads[rank]).expect("at least one rank");
            // Empty things count too, or they would all fall to one rank.
            loads[lightest] += weights[thing].max(1);
            ranks[thing] = lightest as u32;
        }
        ranks
    }
}

/// Rank and world size of the first launcher that knows of several processes.
fn from_environment(
    env: &impl Fn(&str) -> Option<String>,
    world_size: Option<u32>,
) -> Result<Option<(u32, u32)>, String> {
    let array = slurm_array(env)?;
    for [rank_name, size_name] in LAUNCHERS {
        let pair = match number(env, rank_name)? {
            None => None,
            Some(rank) => match number(env, size_name)?.or(world_size) {
                Some(size) => Some((rank, size)),
                None => {
                    return Err(format!(
                        "{rank_name} is set and {size_name} is not: of how many processes is this one? Say --world-size"
                    ));
                }
            },
        };
        let pair = match (rank_name, array) {
            ("SLURM_PROCID", Some((task, count))) => {
                let (rank, size) = pair.unwrap_or((0, 1));
                Some((task.saturating_mul(size).saturating_add(rank), count.saturating_mul(size)))
            }
            _ => pair,
        };
        if pair.is_some_and(|(_, size)| size != 1) {
            return Ok(pair);
        }
    }
    Ok(None)
}

/// Number of this task in a Slurm job array, from 0, and the number of tasks.
fn slurm_array(env: &impl Fn(&str) -> Option<String>) -> Result<Option<(u32, u32)>, String> {
    let Some(id) = number(env, "SLURM_ARRAY_TASK_ID")? else { return Ok(None) };
    let Some(count) = number(env, "SLURM_ARRAY_TASK_COUNT")? else {
        return Err("SLURM_ARRAY_TASK_ID is set and SLURM_ARRAY_TASK_COUNT is not; say --rank and --world-size".into());
    };
    let first = number(env, "SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
    let step = number(env, "SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
    match id.checked_sub(first).filter(|from_first| from_first.is_multiple_of(step) && from_first / step < count) {
        Some(from_first) => Ok(Some((from_first / step, count))),
        None => Err(format!(
            "expected array tasks {first}, {}, ... ({count} of them), found SLURM_ARRAY_TASK_ID {id}; \
             say --rank and --world-size",
            first.saturating_add(step)
        )),
    }
}

fn number(env: &impl Fn(&str) -> Option<String>, name: &str) -> Result<Option<u32>, String> {
    let parse = |text: String| {
        text.trim().parse().map_err(|_| format!("{name}: expected a number in the environment, found {text:?}"))
    };
    env(name).map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flags: [Option<u32>; 2], env: &[(&str, &str)]) -> Result<(u32, u32), String> {
        let get = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        World::resolve(flags[0], flags[1], get).map(|world| (world.rank(), world.world_size()))
    }

    #[test]
    fn without_a_word_there_is_one_process() {
        assert_eq!(resolve([None, None], &[]), Ok((0, 1)));
        assert_eq!(resolve([None, Some(1)], &[("RANK", "3"), ("WORLD_SIZE", "8")]), Ok((0, 1)));
    }

    #[test]
    fn flags_come_before_the_environment() {
        assert_eq!(resolve([Some(1), Some(2)], &[("RANK", "3"), ("WORLD_SIZE", "8")]), Ok((1, 2)));
    }

    #[test]
    fn launchers_are_asked_in_order_and_those_of_one_process_are_passed_over() {
        let torchrun = [("RANK", "3"), ("WORLD_SIZE", "8"), ("SLURM_PROCID", "1"), ("SLURM_NTASKS", "2")];
        assert_eq!(resolve([None, None], &torchrun), Ok((3, 8)));
        assert_eq!(resolve([None, None], &torchrun[2..]), Ok((1, 2)));
        let inside_a_shell = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")];
        assert_eq!(resolve([None, None], &inside_a_shell), Ok((0, 1)));
        let kubernetes = [("RANK", "0"), ("WORLD_SIZE", "1"), ("JOB_COMPLETION_INDEX", "4"), ("JOB_COMPLETIONS", "6")];
        assert_eq!(resolve([None, None], &kubernetes), Ok((4, 6)));
    }

    #[test]
    fn array_tasks_are_counted_from_their_first_and_multiply_with_their_processes() {
        let mut array = vec![
            ("SLURM_PROCID", "0"),
            ("SLURM_NTASKS", "1"),
            ("SLURM_ARRAY_TASK_ID", "7"),
            ("SLURM_ARRAY_TASK_MIN", "5"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
        ];
        assert_eq!(resolve([None, None], &array), Ok((2, 4)));
        array[0].1 = "1";
        array[1].1 = "3";
        assert_eq!(resolve([None, None], &array), Ok((7, 12)));
        array[2].1 = "9";
        assert!(resolve([None, None], &array).unwrap_err().contains("found SLURM_ARRAY_TASK_ID 9"));
        assert_eq!(resolve([Some(0), Some(2)], &array), Ok((0, 2)));
    }

    #[test]
    fn half_of_a_pair_is_asked_for() {
        let kubernetes = [("JOB_COMPLETION_INDEX", "4")];
        assert!(resolve([None, None], &kubernetes).unwrap_err().contains("Say --world-size"));
        assert_eq!(resolve([None, Some(6)], &kubernetes), Ok((4, 6)));
        assert!(resolve([Some(0), None], &[]).unwrap_err().starts_with("--rank needs --world-size"));
        assert!(resolve([None, Some(2)], &[]).unwrap_err().starts_with("--world-size needs --rank"));
    }

    #[test]
    fn impossible_values_are_named() {
        assert_eq!(resolve([Some(2), Some(2)], &[]).unwrap_err(), "expected a rank below the world size 2, found 2");
        assert!(resolve([Some(0), Some(0)], &[]).unwrap_err().contains("at least 1, found 0"));
        assert!(resolve([None, None], &[("RANK", "x"), ("WORLD_SIZE", "2")]).unwrap_err().contains("found \"x\""));
    }

    #[test]
    fn ranges_cover_everything_once_and_owners_agree() {
        for (num_things, world_size) in [(10, 3), (2, 5), (7, 7), (1, 1), (1_000_003, 64)] {
            let ranges = (0..world_size).map(|rank| World::new(rank, world_size).unwrap().range(num_things));
            let mut next = 0;
            for (rank, range) in ranges.enumerate() {
                assert_eq!(range.start, next);
                next = range.end;
                for thing in range.take(100) {
                    assert_eq!(World::new(0, world_size).unwrap().owner(thing, num_things), rank as u32);
                }
            }
            assert_eq!(next, num_things);
        }
    }

    #[test]
    fn dealing_balances_weights() {
        let world = World::new(0, 3).unwrap();
        assert_eq!(world.deal(&[5, 9, 4, 8, 1, 0]), [2, 0, 2, 1, 1, 0]);
        assert_eq!(world.deal(&[]), Vec::<u32>::new());
        assert_eq!(World::alone().deal(&[3, 1]), [0, 0]);
    }
}
