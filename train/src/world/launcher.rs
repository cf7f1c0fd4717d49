//! What launchers put into the environment: torchrun, Kubernetes PyTorchJob, Slurm, MPI.

use super::{MeetingPoint, World};

type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;
type Found = Result<Option<World>, String>;

const DEFAULT_PORT: u16 = 29_500;

/// The world of this process, in this order: `RANK` and `WORLD_SIZE` (torchrun, PyTorchJob, by hand); `PET_NODE_RANK` and
/// `PET_NNODES` (Kubernetes TrainJob); a Slurm step (srun); Open MPI, MPICH and its kin. A launcher of one process says nothing: the next one is asked.
pub(super) fn resolve(env: Environment<'_>) -> Result<World, String> {
    for launcher in [by_name, train_job, slurm, mpi] {
        if let Some(world) = launcher(env)?.filter(|world| world.world_size > 1) {
            return Ok(world);
        }
    }
    Ok(World::alone())
}

/// RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT.
fn by_name(env: Environment<'_>) -> Found {
    let (Some(rank), Some(world_size)) = (number(env, "RANK")?, number(env, "WORLD_SIZE")?) else {
        let half = ["RANK", "WORLD_SIZE"].into_iter().find(|name| env(name).is_some());
        return match half {
            // Slurm and MPI jobs sometimes set one of them for their own ends.
            None => Ok(None),
            Some(name) => Err(format!("expected RANK and WORLD_SIZE both in the environment, found {name} only")),
        };
    };
    let is_torchrun = env("TORCHELASTIC_RUN_ID").is_some();
    let local_rank = number(env, "LOCAL_RANK")?;
    let local_world_size = number(env, "LOCAL_WORLD_SIZE")?;
    let world = World {
        rank,
        world_size,
        // Without LOCAL_RANK there is one process a machine (PyTorchJob).
        local_rank: local_rank.unwrap_or(0),
        local_world_size: local_world_size.unwrap_or(1).max(local_rank.unwrap_or(0) + 1),
        launcher: if is_torchrun { "torchrun" } else { "environment" },
        meeting_point: Some(MeetingPoint {
            host: env("MASTER_ADDR").unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: port(env, "MASTER_PORT")?.unwrap_or(DEFAULT_PORT),
            is_served: env("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|value| value == "True"),
            attempt: env("TORCHELASTIC_RESTART_COUNT").unwrap_or_else(|| "0".to_owned()),
        }),
        ..World::alone()
    };
    checked(world, "RANK", "WORLD_SIZE")
}

/// What Kubeflow's TrainJob tells torchrun, where this program was started in its place: one process a machine.
fn train_job(env: Environment<'_>) -> Found {
    let is_torchrun = env("TORCHELASTIC_RUN_ID").is_some();
    let Some(nodes) = env("PET_NNODES").filter(|_| !is_torchrun) else { return Ok(None) };
    let Some(rank) = number(env, "PET_NODE_RANK")? else { return Ok(None) };
    // torchrun understands a range of nodes, such as `1:4`, too.
    let world_size: u32 = nodes.parse().map_err(|_| {
        format!(
            "PET_NNODES: expected a number of nodes without torchrun, found '{nodes}'; start this program with torchrun --no-python"
        )
    })?;
    // `auto`, `cpu` and `gpu` leave it to the machine.
    let per_node: u32 = env("PET_NPROC_PER_NODE").and_then(|number| number.parse().ok()).unwrap_or(1);
    if world_size > 1 && per_node > 1 {
        return Err(format!(
            "PET_NPROC_PER_NODE: expected 1 without torchrun, found {per_node}; start this program with torchrun --no-python"
        ));
    }
    let world = World {
        rank,
        world_size,
        launcher: "kubernetes",
        meeting_point: Some(MeetingPoint {
            host: env("PET_MASTER_ADDR").unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: port(env, "PET_MASTER_PORT")?.unwrap_or(DEFAULT_PORT),
            is_served: false,
            attempt: "0".to_owned(),
        }),
        ..World::alone()
    };
    checked(world, "PET_NODE_RANK", "PET_NNODES")
}

/// A step that srun started. A batch script that is not run by srun has SLURM_PROCID too, but is one process.
fn slurm(env: Environment<'_>) -> Found {
    if env("SLURM_STEP_ID").is_none() {
        return Ok(None);
    }
    let size = number(env, "SLURM_STEP_NUM_TASKS")?.or(number(env, "SLURM_NTASKS")?);
    let (Some(rank), Some(world_size)) = (number(env, "SLURM_PROCID")?, size) else { return Ok(None) };
    let nodes = env("SLURM_STEP_NODELIST").or_else(|| env("SLURM_JOB_NODELIST"));
    let host = env("MASTER_ADDR").or_else(|| first_host(&nodes?)).ok_or(
        "expected MASTER_ADDR or SLURM_STEP_NODELIST in the environment of a Slurm step, found neither; \
         export MASTER_ADDR, the host of rank 0",
    )?;
    // A port of the job's own, so that two jobs on one node do not meet.
    let job = number(env, "SLURM_JOB_ID")?.unwrap_or(0);
    let step = env("SLURM_STEP_ID").unwrap_or_default();
    let world = World {
        rank,
        world_size,
        local_rank: number(env, "SLURM_LOCALID")?.unwrap_or(0),
        local_world_size: env("SLURM_STEP_TASKS_PER_NODE").and_then(|tasks| largest(&tasks)).unwrap_or(1),
        launcher: "slurm",
        meeting_point: Some(MeetingPoint {
            host,
            port: port(env, "MASTER_PORT")?.unwrap_or(20_000 + (job % 20_000) as u16),
            is_served: false,
            attempt: format!("{}.{step}", env("SLURM_RESTART_COUNT").unwrap_or_else(|| "0".to_owned())),
        }),
        ..World::alone()
    };
    checked(world, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
}

/// Open MPI's variables, else those of MPICH, Intel MPI and MVAPICH.
fn mpi(env: Environment<'_>) -> Found {
    let families = [
        ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"],
        ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"],
    ];
    for [rank_name, size_name, local_name, local_size_name] in families {
        let (Some(rank), Some(world_size)) = (number(env, rank_name)?, number(env, size_name)?) else { continue };
        let local_world_size = number(env, local_size_name)?.unwrap_or(1);
        let host = match env("MASTER_ADDR") {
            Some(host) => host,
            None if local_world_size == world_size => "127.0.0.1".to_owned(),
            None if world_size == 1 => return Ok(None),
            None => {
                let message = "expected MASTER_ADDR in the environment of MPI processes on several machines, found none; \
                               export the host of rank 0 (mpirun -x MASTER_ADDR=HOST)";
                return Err(message.to_owned());
            }
        };
        let world = World {
            rank,
            world_size,
            local_rank: number(env, local_name)?.unwrap_or(0),
            local_world_size,
            launcher: "mpi",
            meeting_point: Some(MeetingPoint {
                host,
                port: port(env, "MASTER_PORT")?.unwrap_or(DEFAULT_PORT),
                is_served: false,
                attempt: env("OMPI_MCA_ess_base_jobid").or_else(|| env("PMIX_NAMESPACE")).unwrap_or_default(),
            }),
            ..World::alone()
        };
        return checked(world, rank_name, size_name);
    }
    Ok(None)
}

fn checked(world: World, rank_name: &str, size_name: &str) -> Found {
    let World { rank, world_size, .. } = world;
    match world_size {
        0 => Err(format!("{size_name}: expected at least 1 process, found 0")),
        _ if rank >= world_size => Err(format!("{rank_name}: expected a rank below {world_size}, found {rank}")),
        _ => Ok(Some(World { core_sharers: world.local_world_size, ..world })),
    }
}

fn number(env: Environment<'_>, name: &str) -> Result<Option<u32>, String> {
    let Some(text) = env(name) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| format!("{name}: expected a number from 0 up, found '{text}'"))
}

fn port(env: Environment<'_>, name: &str) -> Result<Option<u16>, String> {
    let Some(text) = env(name) else { return Ok(None) };
    match text.trim().parse() {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err(format!("{name}: expected a port from 1 to 65535, found '{text}'")),
    }
}

/// The first host of a Slurm list such as `node[003-017,020],login1`: `node003`.
fn first_host(list: &str) -> Option<String> {
    let end = list.find(['[', ',']).unwrap_or(list.len());
    let (name, rest) = list.split_at(end);
    let Some(inside) = rest.strip_prefix('[') else { return (!name.is_empty()).then(|| name.to_owned()) };
    let digits: String = inside.chars().take_while(char::is_ascii_digit).collect();
    let after = &inside[inside.find(']')? + 1..];
    let suffix = after.split([',', '[']).next().unwrap_or_default();
    (!digits.is_empty()).then(|| format!("{name}{digits}{suffix}"))
}

/// The largest count of a Slurm list such as `4(x3),2`.
fn largest(tasks_per_node: &str) -> Option<u32> {
    tasks_per_node.split(',').filter_map(|part| part.split('(').next()?.parse().ok()).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn world(pairs: &[(&str, &str)]) -> Result<World, String> {
        let map: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        resolve(&|name| map.get(name).cloned())
    }

    fn place(world: &World) -> (&str, u16, bool) {
        let point = world.meeting_point.as_ref().unwrap();
        (&point.host, point.port, point.is_served)
    }

    #[test]
    fn nobody_told_means_alone() {
        assert_eq!(world(&[]).unwrap(), World::alone());
        assert_eq!(world(&[("RANK", "0"), ("WORLD_SIZE", "1")]).unwrap(), World::alone());
    }

    #[test]
    fn torchrun_serves_the_store_and_counts_its_restarts() {
        let world = world(&[
            ("RANK", "3"),
            ("WORLD_SIZE", "8"),
            ("LOCAL_RANK", "1"),
            ("LOCAL_WORLD_SIZE", "2"),
            ("MASTER_ADDR", "head"),
            ("MASTER_PORT", "4711"),
            ("TORCHELASTIC_RUN_ID", "x"),
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
            ("TORCHELASTIC_RESTART_COUNT", "2"),
        ])
        .unwrap();
        assert_eq!((world.rank, world.local_rank, world.world_size, world.local_world_size), (3, 1, 8, 2));
        assert_eq!((place(&world), world.launcher), (("head", 4711, true), "torchrun"));
        assert_eq!(world.meeting_point.unwrap().attempt, "2");
    }

    #[test]
    fn a_pytorchjob_has_one_process_a_machine() {
        let world =
            world(&[("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "job-master-0"), ("MASTER_PORT", "23456")])
                .unwrap();
        assert_eq!((world.local_rank, world.local_world_size), (0, 1));
        assert_eq!(place(&world), ("job-master-0", 23_456, false));
    }

    #[test]
    fn a_train_job_has_one_process_a_machine_unless_torchrun_starts_them() {
        let job = [
            ("PET_NNODES", "4"),
            ("PET_NODE_RANK", "3"),
            ("PET_NPROC_PER_NODE", "auto"),
            ("PET_MASTER_ADDR", "job-node-0-0.job"),
            ("PET_MASTER_PORT", "29400"),
        ];
        let found = world(&job).unwrap();
        assert_eq!((found.rank, found.world_size, found.local_world_size, found.launcher), (3, 4, 1, "kubernetes"));
        assert_eq!(place(&found), ("job-node-0-0.job", 29_400, false));
        let by_torchrun = [("RANK", "30"), ("WORLD_SIZE", "32"), ("LOCAL_RANK", "6"), ("LOCAL_WORLD_SIZE", "8")];
        assert_eq!(world(&[&job[..], &by_torchrun].concat()).unwrap().rank, 30);
        let several = [&job[..2], &[("PET_NPROC_PER_NODE", "8")]].concat();
        assert!(world(&several).unwrap_err().starts_with("PET_NPROC_PER_NODE: expected 1 without torchrun, found 8"));
        let elastic = [("PET_NNODES", "1:4"), ("PET_NODE_RANK", "0")];
        assert!(
            world(&elastic)
                .unwrap_err()
                .starts_with("PET_NNODES: expected a number of nodes without torchrun, found '1:4'")
        );
        let shrunk_to_one = [("TORCHELASTIC_RUN_ID", "job"), ("RANK", "0"), ("WORLD_SIZE", "1")];
        assert_eq!(world(&[&elastic[..], &shrunk_to_one].concat()).unwrap(), World::alone());
    }

    #[test]
    fn a_slurm_step_meets_at_its_first_node_and_a_batch_script_is_alone() {
        let step = [
            ("SLURM_PROCID", "5"),
            ("SLURM_NTASKS", "8"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_JOB_ID", "70123"),
            ("SLURM_STEP_NODELIST", "gpu[003-004],big1"),
            ("SLURM_STEP_TASKS_PER_NODE", "4(x2)"),
        ];
        assert_eq!(world(&step).unwrap(), World::alone());
        let world = world(&[&step[..], &[("SLURM_STEP_ID", "0")]].concat()).unwrap();
        assert_eq!((world.rank, world.local_rank, world.world_size, world.local_world_size), (5, 1, 8, 4));
        assert_eq!(place(&world), ("gpu003", 30_123, false));
    }

    #[test]
    fn lists_of_hosts_are_read() {
        for (list, host) in
            [("a", "a"), ("a,b", "a"), ("n[1,7-9]", "n1"), ("n[07-09]-ib,x", "n07-ib"), ("rack1-n[003]", "rack1-n003")]
        {
            assert_eq!(first_host(list).as_deref(), Some(host), "{list}");
        }
        assert_eq!(first_host("n[1"), None);
        assert_eq!(first_host(""), None);
    }

    #[test]
    fn mpi_on_one_machine_needs_no_address_and_on_several_it_does() {
        let one = [
            ("OMPI_COMM_WORLD_RANK", "1"),
            ("OMPI_COMM_WORLD_SIZE", "2"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
        ];
        assert_eq!(place(&world(&one).unwrap()), ("127.0.0.1", 29_500, false));
        let several = [("PMI_RANK", "1"), ("PMI_SIZE", "2")];
        assert!(world(&several).unwrap_err().starts_with("expected MASTER_ADDR in the environment of MPI"));
        let told = world(&[&several[..], &[("MASTER_ADDR", "h")]].concat()).unwrap();
        assert_eq!((told.launcher, place(&told)), ("mpi", ("h", 29_500, false)));
    }

    #[test]
    fn contradictions_are_named() {
        assert_eq!(
            world(&[("RANK", "1")]).unwrap_err(),
            "expected RANK and WORLD_SIZE both in the environment, found RANK only"
        );
        assert_eq!(world(&[("RANK", "4"), ("WORLD_SIZE", "4")]).unwrap_err(), "RANK: expected a rank below 4, found 4");
        let bad_port = [("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_PORT", "0")];
        assert_eq!(world(&bad_port).unwrap_err(), "MASTER_PORT: expected a port from 1 to 65535, found '0'");
    }
}
