//! The processes of a run: who this one is, as its launcher tells, and the group they form.

mod group;
mod launcher;
mod spawn;

use std::time::Duration;

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
    /// Who told: `torchrun`, `environment`, `slurm`, `mpi` or `none`.
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
        let (rank, local_rank, world_size, local_world_size) = (0, 0, 1, 1);
        Self { rank, local_rank, world_size, local_world_size, launcher: "none", meeting_point: None }
    }

    /// From the environment of this process.
    ///
    /// # Errors
    /// A launcher's variables are incomplete or contradict each other.
    pub fn from_environment() -> Result<Self> {
        launcher::resolve(&|name| std::env::var(name).ok().filter(|value| !value.is_empty())).map_err(Error::Invalid)
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
    /// For a silent peer in an operation; one whose connection closes is noticed at once.
    pub operation: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { join: Duration::from_secs(300), operation: Duration::from_secs(7200) }
    }
}
