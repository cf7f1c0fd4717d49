//! The processes of a run: who this one is, as its launcher tells, and the group they form.

mod group;
mod launcher;
mod meeting;
mod spawn;

use std::time::Duration;

use cloze_torch_ext::distributed::Timeouts;
use serde::Serialize;

pub use group::{DataParallel, Group};
pub use spawn::{environment_of_rank, spawn, spawned_by_parent};

use crate::error::{Error, Result};

/// One process of a run, and where it meets the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct World {
    /// Number of this process, from 0, over all machines.
    pub rank: u32,
    /// Number of this process on its machine.
    pub local_rank: u32,
    /// Number of processes.
    pub world_size: u32,
    /// Number of processes on this machine.
    pub local_world_size: u32,
    /// Number of processes that may run on the same cores as this one, itself included. Before they have met, all on this machine.
    pub core_sharers: u32,
    /// Who told: `torchrun`, `environment`, `kubernetes`, `slurm`, `mpi` or `none`.
    pub launcher: &'static str,
    /// Where they meet; `None` for a process on its own.
    pub meeting_point: Option<MeetingPoint>,
}

/// Where processes meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MeetingPoint {
    /// Host of rank 0, or of the launcher's store.
    pub host: String,
    /// Port there.
    pub port: u16,
    /// Whether the launcher runs a store there already (torchrun does), so that rank 0 need not.
    pub is_served: bool,
    /// Tells this attempt from an earlier one that met at the same place.
    pub attempt: String,
}

impl World {
    /// A process on its own.
    pub fn alone() -> Self {
        let (rank, local_rank, world_size, local_world_size, core_sharers) = (0, 0, 1, 1, 1);
        Self { rank, local_rank, world_size, local_world_size, core_sharers, launcher: "none", meeting_point: None }
    }

    /// From the environment of this process.
    ///
    /// # Errors
    /// A launcher's variables are incomplete or contradict each other.
    pub fn from_environment() -> Result<Self> {
        launcher::resolve(&|name| std::env::var(name).ok().filter(|value| !value.is_empty())).map_err(Error::Invalid)
    }

    /// Threads for this process, so that those who share its cores have as many: launchers bind processes to cores, or do not.
    pub fn threads(&self) -> u32 {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        (cores / self.core_sharers).max(1)
    }

    /// Whether there is no other process.
    pub fn is_alone(&self) -> bool {
        self.world_size == 1
    }

    /// Whether this process writes and reports for all.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }
}

/// How long processes wait for each other.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For all to come, at the start.
    pub join: Duration,
    /// For a silent peer in an operation; one whose connection closes is noticed at once, one whose host vanishes, or
    /// that takes nothing of what is sent to it, within 30 s.
    pub operation: Duration,
}

/// How long the host of a peer may not answer: longer than a network takes to find another way, short enough for a person.
const HOST_TIMEOUT: Duration = Duration::from_secs(30);

impl Patience {
    fn timeouts(self) -> Timeouts {
        // Gloo waits five times as long for a connection that the other side is to open.
        let connect = self.join / 5;
        Timeouts { connect, operation: self.operation, host: HOST_TIMEOUT.min(self.operation) }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { join: Duration::from_secs(300), operation: Duration::from_secs(7200) }
    }
}
