//! How the processes of a run come together: a store where they meet, a roll-call, and the network that they talk over from then on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use cloze_torch_ext::distributed::{Backend, Interface, Meeting, Store};
use rustix::thread::{CpuSet, sched_getaffinity};

use super::group::lost;
use super::{MeetingPoint, Patience, World};
use crate::error::{Error, Result};
use crate::machine;
use crate::progress::duration;

/// How often a process that waits for others looks for them.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long the process that serves the store stays for others to read why they cannot begin.
const FAREWELL: Duration = Duration::from_secs(5);

/// Names the network interface that Gloo listens on.
const INTERFACE: &str = "GLOO_SOCKET_IFNAME";

// Keys of the store.
const HERE: &str = "here";
const READY: &str = "ready";
const FAILED: &str = "failed";
const FAILURE: &str = "failure";
const TOLD: &str = "told";
const FIRST_IS_SEEN: &str = "first-is-seen";
const ADDRESS_OF_FIRST: &str = "address-of-first";

/// The processes have met.
pub(super) struct Met {
    /// Where they did.
    pub store: Store,
    /// Between their CPUs.
    pub control: Backend,
    /// How many may run on this one's cores.
    pub core_sharers: u32,
}

/// Waits for all processes of `world` to come to `point`, and connects them.
///
/// # Errors
/// The point cannot be reached or is taken; a process does not come, or cannot be reached by all others. All are told what kept one
/// from listening.
pub(super) fn meet(world: &World, point: &MeetingPoint, patience: Patience) -> Result<Met> {
    let store = open(world, point, patience)?;
    let party = Party { world, point, patience, store: &store };
    party.enter()?;
    let route = route(&point.host, point.port);
    if let Some(Route { to, .. }) = route {
        party.ask(store.set(ADDRESS_OF_FIRST, &to.to_string()))?;
        party.ask(store.add(FIRST_IS_SEEN, 1))?;
    }
    let cores = format!("cores/{}/{}", machine::host(), own_cores());
    party.ask(store.add(&cores, 1))?;
    party.call(HERE)?;
    let core_sharers = party.ask(store.add(&cores, 0))?;
    let address = party.address(route)?;
    let interface = party.agree(listen(&address))?;
    let members = (world.rank, world.world_size);
    let control = Backend::gloo(&store, &interface, members, patience.timeouts())
        .map_err(|error| party.unconnected(&address, &error.to_string()))?;
    Ok(Met { store, control, core_sharers: u32::try_from(core_sharers).unwrap_or(1) })
}

fn open(world: &World, point: &MeetingPoint, patience: Patience) -> Result<Store> {
    let MeetingPoint { host, port, is_served, attempt } = point;
    let is_server = world.is_first() && !is_served;
    let prefix = format!("cloze/{attempt}");
    let meeting = Meeting { host, port: *port, is_server, prefix: &prefix, timeout: patience.join };
    Store::open(&meeting).map_err(|error| {
        let text = error.to_string();
        Error::Invalid(if is_server && (text.contains("EADDRINUSE") || text.contains("in use")) {
            format!("port {port}: expected a free port to meet the other processes at, found it in use; set MASTER_PORT")
        } else {
            format!(
                "{host}:{port}: expected the process of rank 0 there within {}, found none ({text}); check MASTER_ADDR and \
                 MASTER_PORT, and that rank 0 runs",
                duration(patience.join.as_secs_f64())
            )
        })
    })
}

/// Those who meet, as one of them sees it.
struct Party<'a> {
    world: &'a World,
    point: &'a MeetingPoint,
    patience: Patience,
    store: &'a Store,
}

impl Party<'_> {
    /// What the store answered. It is gone only with the process that serves it.
    fn ask<T>(&self, answer: cloze_torch_ext::Result<T>) -> Result<T> {
        answer.map_err(|error| lost(&error))
    }

    /// Comes in, the only one of its rank.
    fn enter(&self) -> Result<()> {
        let Self { world: World { rank, .. }, point: MeetingPoint { host, port, .. }, store, .. } = self;
        if self.ask(store.add(&format!("rank/{rank}"), 1))? > 1 {
            return Err(Error::Invalid(format!(
                "{host}:{port}: expected one process of rank {rank}, found another one; give each process its own RANK, and \
                 each run its own MASTER_PORT"
            )));
        }
        Ok(())
    }

    /// Waits until every process has called.
    fn call(&self, key: &str) -> Result<()> {
        let Self { world, point: MeetingPoint { host, port, .. }, patience, store } = self;
        let started = Instant::now();
        let mut here = self.ask(store.add(key, 1))?;
        while here < i64::from(world.world_size) {
            if started.elapsed() > patience.join {
                return Err(Error::Invalid(format!(
                    "{host}:{port}: expected {} processes within {}, found {here}; start the others, or allow more time with \
                     --join-timeout",
                    world.world_size,
                    duration(patience.join.as_secs_f64())
                )));
            }
            std::thread::sleep(LOOK_EVERY);
            here = self.ask(store.add(key, 0))?;
        }
        Ok(())
    }

    /// Where this process listens: on the interface that the user names, else where the way to rank 0 begins. On rank 0's own
    /// machine that way may lead nowhere (hosts are often called 127.0.1.1 at home); then what others know it by.
    fn address(&self, route: Option<Route>) -> Result<Address> {
        let named = std::env::var(INTERFACE).unwrap_or_default();
        // Torch takes several, to spread its traffic over them.
        if let Some(name) = named.split(',').next().filter(|name| !name.is_empty()) {
            return Ok(Address::Interface(name.to_owned()));
        }
        if let Some(Route { from, .. }) = route {
            return Ok(Address::Host(from.to_string()));
        }
        let is_seen = self.ask(self.store.add(FIRST_IS_SEEN, 0))? > 0;
        let address =
            if is_seen { self.ask(self.store.get(ADDRESS_OF_FIRST))? } else { Ipv4Addr::LOCALHOST.to_string() };
        Ok(Address::Host(address))
    }

    /// Passes `mine` on if every process has come so far; else all tell why one has not.
    fn agree<T>(&self, mine: Result<T>) -> Result<T> {
        let Self { world, point, store, .. } = self;
        if let Err(error) = &mine {
            self.ask(store.set(FAILURE, &format!("rank {} on {}: {error}", world.rank, machine::host())))?;
            self.ask(store.add(FAILED, 1))?;
        }
        self.call(READY)?;
        if self.ask(store.add(FAILED, 0))? == 0 {
            return mine;
        }
        let failure = self.ask(store.get(FAILURE))?;
        self.ask(store.add(TOLD, 1))?;
        let (is_server, started) = (world.is_first() && !point.is_served, Instant::now());
        while is_server && started.elapsed() < FAREWELL && self.ask(store.add(TOLD, 0))? < world.world_size.into() {
            std::thread::sleep(LOOK_EVERY);
        }
        Err(Error::Invalid(failure))
    }

    /// All are here, but some do not reach each other.
    fn unconnected(&self, address: &Address, why: &str) -> Error {
        let World { rank, world_size, .. } = self.world;
        let patience = duration(self.patience.join.as_secs_f64());
        Error::Invalid(format!(
            "rank {rank} on {}, listening on {address}: expected a connection with each of the other {} processes within \
             {patience}, found one that cannot be reached ({why}); name the network interface that all machines reach each \
             other by with {INTERFACE}",
            machine::host(),
            world_size - 1
        ))
    }
}

/// Where a process listens.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    /// On the interface of that name.
    Interface(String),
    /// At that address of this machine.
    Host(String),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Interface(text) | Self::Host(text)) = self;
        f.write_str(text)
    }
}

fn listen(address: &Address) -> Result<Interface> {
    match address {
        Address::Interface(name) => Interface::named(name).map_err(|error| {
            Error::Invalid(format!(
                "{INTERFACE}: expected a network interface of this machine with an address, found '{name}' ({error}); \
                 `ip address` lists them"
            ))
        }),
        Address::Host(address) => Interface::of_address(address).map_err(|error| {
            Error::Invalid(format!(
                "expected {address}, which others know rank 0 by, among the addresses of this machine, found no such one \
                 ({error}); name the network interface to use with {INTERFACE}"
            ))
        }),
    }
}

/// The way to another machine.
#[derive(Clone, Copy, Debug)]
struct Route {
    /// The address of this machine that it begins at.
    from: IpAddr,
    /// The other's.
    to: IpAddr,
}

/// The way to `host`, if it leaves the machine or comes back to an address that others may know, too.
fn route(host: &str, port: u16) -> Option<Route> {
    let mut hosts: Vec<SocketAddr> = (host, port).to_socket_addrs().ok()?.collect();
    hosts.sort_by_key(SocketAddr::is_ipv6);
    hosts.into_iter().find_map(|to| {
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        // Nothing is sent: the system looks for the way.
        socket.connect(to).ok()?;
        let from = socket.local_addr().ok()?.ip();
        (!from.is_loopback()).then_some(Route { from, to: to.ip() })
    })
}

/// The cores that this process may run on, by number; launchers bind processes to some.
fn own_cores() -> String {
    let Ok(cores) = sched_getaffinity(None) else { return String::new() };
    let numbers: Vec<String> =
        (0..CpuSet::MAX_CPU).filter(|&core| cores.is_set(core)).map(|core| core.to_string()).collect();
    numbers.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_this_machine_itself_is_none() {
        for host in ["127.0.0.1", "127.0.1.1", "localhost"] {
            assert!(route(host, 29_500).is_none(), "{host}");
        }
        assert!(route("no-such-host.invalid", 29_500).is_none());
    }

    #[test]
    fn a_process_may_run_on_some_core() {
        assert!(own_cores().split(',').all(|core| core.parse::<usize>().is_ok()), "{}", own_cores());
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let error = listen(&Address::Interface("eth77".to_owned())).unwrap_err().to_string();
        assert!(error.starts_with("GLOO_SOCKET_IFNAME: expected a network interface of this machine"), "{error}");
        assert!(error.contains("found 'eth77'"), "{error}");
    }
}
