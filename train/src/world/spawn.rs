//! `--spawn N`: this program as the launcher of N processes on this machine.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::error::{Error, Result};
use crate::progress::say;
use crate::run::Signals;

/// Set in the processes that this program started.
const SPAWNED: &str = "CLOZE_SPAWNED";

/// How long the others may take to end by themselves once one has failed: the first one may be saving what it has.
const GRACE: Duration = Duration::from_secs(20);
const GRACE_OF_FIRST: Duration = Duration::from_secs(600);

/// How often the children are looked after.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whether this process was started by [`spawn`]. It is then told to stop when its parent dies.
pub fn spawned_by_parent() -> bool {
    let is_spawned = std::env::var_os(SPAWNED).is_some();
    if is_spawned {
        // That the system refuses only means that a killed parent leaves its children running to their end.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
    }
    is_spawned
}

/// Runs this program's command line `num_processes` times as the ranks of one run; the exit code is that of the first process
/// that failed, or of rank 0.
///
/// # Errors
/// A process cannot be started, or was killed.
pub fn spawn(num_processes: u32) -> Result<u8> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| Error::Invalid(format!("--spawn: {what}: {error}"))
    };
    let signals = Signals::listen()?;
    let program = std::env::current_exe().map_err(failed("this program's own path"))?;
    let port = free_port().map_err(failed("a free port"))?;
    let mut children = Children(Vec::new());
    for rank in 0..num_processes {
        let mut command = Command::new(&program);
        // A group of its own: a terminal's Ctrl-C reaches this process alone, which passes it on once.
        command.args(std::env::args_os().skip(1)).envs(environment_of_rank(rank, num_processes, port)).process_group(0);
        children.0.push(command.spawn().map_err(failed("a process"))?);
    }
    children.wait(&signals).map_err(failed("waiting"))?
}

/// What tells a process that it is `rank` of `world_size` on this machine, which meet at `port`.
pub fn environment_of_rank(rank: u32, world_size: u32, port: u16) -> [(&'static str, String); 7] {
    [
        (SPAWNED, "1".to_owned()),
        ("RANK", rank.to_string()),
        ("LOCAL_RANK", rank.to_string()),
        ("WORLD_SIZE", world_size.to_string()),
        ("LOCAL_WORLD_SIZE", world_size.to_string()),
        ("MASTER_ADDR", "127.0.0.1".to_owned()),
        ("MASTER_PORT", port.to_string()),
    ]
}

/// The started processes; those that still run are killed when this is dropped.
struct Children(Vec<Child>);

impl Children {
    fn wait(&mut self, signals: &Signals) -> io::Result<Result<u8>> {
        let mut ended: Vec<Option<ExitStatus>> = vec![None; self.0.len()];
        let mut first_failure: Option<(usize, ExitStatus, Instant)> = None;
        let mut passed_on = None;
        while ended.iter().any(Option::is_none) {
            for (rank, child) in self.0.iter_mut().enumerate() {
                if ended[rank].is_some() {
                    continue;
                }
                let Some(status) = child.try_wait()? else { continue };
                ended[rank] = Some(status);
                if !status.success() && first_failure.is_none() {
                    first_failure = Some((rank, status, Instant::now()));
                }
            }
            if passed_on.is_none()
                && let Some(signal) = signals.received()
            {
                passed_on = Some(signal);
                self.signal(&ended, signal);
            }
            let is_saving = ended.first().is_some_and(Option::is_none);
            let grace = if is_saving { GRACE_OF_FIRST } else { GRACE };
            if first_failure.is_some_and(|(_, _, since)| since.elapsed() > grace) {
                self.signal(&ended, Signal::KILL.as_raw());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let Some((rank, status, _)) = first_failure else { return Ok(Ok(0)) };
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => Ok(u8::try_from(code).unwrap_or(2)),
            (None, signal) => Err(Error::Invalid(format!(
                "the process of rank {rank} was killed by signal {}; go on with --resume",
                signal.unwrap_or(0)
            ))),
        })
    }

    /// Sends `signal` to those that still run.
    fn signal(&self, ended: &[Option<ExitStatus>], signal: i32) {
        for (child, _) in self.0.iter().zip(ended).filter(|(_, ended)| ended.is_none()) {
            let (Some(pid), Some(signal)) = (Pid::from_raw(child.id().cast_signed()), Signal::from_named_raw(signal))
            else {
                continue;
            };
            if let Err(error) = kill_process(pid, signal) {
                say(&format!("signal to process {}: {error}", child.id()));
            }
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
