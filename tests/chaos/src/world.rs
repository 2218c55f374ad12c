//! Machines as network namespaces, joined by a bridge in a namespace of its own.
//!
//! Each machine has the hardware addresses of all others entered by hand. A direction is cut by entering one
//! that nobody has: packets leave, and nobody takes them. It takes root and `ip`, and of the kernel no more than namespaces,
//! veth and bridges.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

/// Why there can be no machines here.
#[derive(Debug)]
pub enum Obstacle {
    /// It can't be helped: who runs this may not make any.
    Forbidden(String),
    /// A program is missing.
    Missing(String),
}

/// Why there can be no machines here, if so.
pub fn obstacle() -> Option<Obstacle> {
    if !rustix::process::geteuid().is_root() {
        return Some(Obstacle::Forbidden("network namespaces take root".to_owned()));
    }
    if let Err(error) = Command::new("ip").arg("-Version").output() {
        let advice = "install it (Debian: apt-get install iproute2)";
        return Some(Obstacle::Missing(format!("ip: {error}; {advice}")));
    }
    forbidden().map(Obstacle::Forbidden)
}

/// Containers may forbid what root may do elsewhere, one thing or another: a small network is tried.
fn forbidden() -> Option<String> {
    World::new(2).err()
}

/// Machines on a network.
#[derive(Debug)]
pub struct World {
    prefix: String,
    hosts: Vec<Host>,
    /// How many faults cut a direction now.
    cuts: Mutex<BTreeMap<(usize, usize), u32>>,
}

/// A machine: its namespace, and an `ip` that waits there for changes.
#[derive(Debug)]
struct Host {
    namespace: String,
    entries: Mutex<ChildStdin>,
    writer: Child,
}

/// The address of a machine.
pub fn address(host: usize) -> String {
    format!("10.77.0.{}", host + 1)
}

fn hardware(host: usize) -> String {
    format!("02:00:00:00:00:{:02x}", host + 1)
}

/// Nobody has it.
const NOWHERE: &str = "02:00:00:00:ff:fe";

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("ip {arguments}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

impl World {
    /// So many machines, each of which reaches each.
    pub fn new(count: usize) -> Result<World, String> {
        clear();
        let prefix = format!("{PREFIX}{}", std::process::id());
        let mut world = World { prefix, hosts: Vec::new(), cuts: Mutex::default() };
        let switch = world.name("switch");
        ip(&format!("netns add {switch}"))?;
        ip(&format!("-n {switch} link add name br0 type bridge"))?;
        ip(&format!("-n {switch} link set dev br0 up"))?;
        for host in 0..count {
            world.add(host, &switch)?;
        }
        for (from, to) in pairs(count) {
            world.enter(from, to, &hardware(to));
        }
        Ok(world)
    }

    fn name(&self, of: impl std::fmt::Display) -> String {
        format!("{}-{of}", self.prefix)
    }

    fn add(&mut self, host: usize, switch: &str) -> Result<(), String> {
        let namespace = self.name(host);
        ip(&format!("netns add {namespace}"))?;
        let port = format!("port{host}");
        ip(&format!(
            "-n {namespace} link add name eth0 type veth peer name {port} netns {switch}"
        ))?;
        ip(&format!("-n {namespace} link set dev eth0 address {} up", hardware(host)))?;
        ip(&format!("-n {namespace} address add {}/24 dev eth0", address(host)))?;
        ip(&format!("-n {namespace} link set dev lo up"))?;
        ip(&format!("-n {switch} link set dev {port} master br0 up"))?;
        let mut writer = Command::new("ip")
            .args(["-n", &namespace, "-force", "-batch", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let entries = Mutex::new(writer.stdin.take().unwrap());
        self.hosts.push(Host { namespace, entries, writer });
        Ok(())
    }

    fn enter(&self, from: usize, to: usize, hardware: &str) {
        let line =
            format!("neigh replace {} lladdr {hardware} dev eth0 nud permanent\n", address(to));
        // An ip that is gone shows as a cut that does not end.
        let _ = self.hosts[from].entries.lock().unwrap().write_all(line.as_bytes());
    }

    /// From now on nothing of one machine reaches the other.
    pub fn cut(&self, from: usize, to: usize) {
        let mut cuts = self.cuts.lock().unwrap();
        let count = cuts.entry((from, to)).or_default();
        *count += 1;
        if *count == 1 {
            self.enter(from, to, NOWHERE);
        }
    }

    /// Takes a cut back.
    pub fn mend(&self, from: usize, to: usize) {
        let mut cuts = self.cuts.lock().unwrap();
        let count = cuts.entry((from, to)).or_default();
        *count -= 1;
        if *count == 0 {
            self.enter(from, to, &hardware(to));
        }
    }

    /// A program on a machine, with this environment beside that of this process.
    pub fn command(&self, host: usize, program: &str, environment: &[(&str, String)]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.hosts[host].namespace, "env"]);
        command.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(program);
        command
    }

    /// How many machines there are.
    pub fn size(&self) -> usize {
        self.hosts.len()
    }
}

/// Every direction.
fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |from| (0..count).map(move |to| (from, to))).filter(|(a, b)| a != b)
}

impl Drop for World {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            let _ = host.writer.kill();
            let _ = host.writer.wait();
            let _ = ip(&format!("netns delete {}", host.namespace));
        }
        let _ = ip(&format!("netns delete {}", self.name("switch")));
    }
}

/// How the namespaces of a run are called; its process number follows.
const PREFIX: &str = "rstmdb-chaos-";

/// Ends what a run left that was killed.
fn clear() {
    let Ok(output) = Command::new("ip").args(["netns", "list"]).output() else { return };
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    for name in list.lines().filter_map(|line| line.split(' ').next()) {
        let run = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let is_over = |run: &str| !std::path::Path::new("/proc").join(run).exists();
        if !run.is_some_and(is_over) {
            continue;
        }
        if let Ok(output) = Command::new("ip").args(["netns", "pids", name]).output() {
            for id in String::from_utf8_lossy(&output.stdout).lines() {
                let id = id.parse().ok().and_then(rustix::process::Pid::from_raw);
                let kill = rustix::process::Signal::KILL;
                let _ = id.map(|id| rustix::process::kill_process(id, kill));
            }
        }
        let _ = ip(&format!("netns delete {name}"));
    }
}
