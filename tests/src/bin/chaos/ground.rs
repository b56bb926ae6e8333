//! What only privileges can do: a real network between each device and the server, and a file system
//! that dies under its writer.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// How many cables lead to the server: ten devices', and one for whoever looks on, which stays whole.
pub(crate) const CABLES: u8 = 11;

/// A network namespace for the server, with a cable (a veth pair) for each device.
pub(crate) struct Network {
    name: String,
}

impl Network {
    /// Lays the cables.
    pub(crate) fn lay() -> Result<Self> {
        let network = Self { name: format!("cpchaos{}", std::process::id()) };
        run("ip", &["netns", "add", &network.name])?;
        let name = network.name.clone();
        run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
        for cable in 0..CABLES {
            let (here, there) = (network.here(cable), network.there(cable));
            run("ip", &["link", "add", &here, "type", "veth", "peer", "name", &there, "netns", &name])?;
            run("ip", &["addr", "add", &format!("10.77.{cable}.1/30"), "dev", &here])?;
            run("ip", &["link", "set", &here, "up"])?;
            run("ip", &["-n", &name, "addr", "add", &format!("{}/30", address(cable)), "dev", &there])?;
            run("ip", &["-n", &name, "link", "set", &there, "up"])?;
        }
        network.clear()?;
        Ok(network)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Pulls a cable out, or puts it back: nothing gets through, and nobody is told.
    pub(crate) fn plug(&self, cable: u8, is_in: bool) -> Result<()> {
        run("ip", &["link", "set", &self.here(cable), if is_in { "up" } else { "down" }])
    }

    /// Drops that many of a hundred packets on a cable, each way; the other cables lose none.
    pub(crate) fn lose(&self, cable: u8, percent: u8) -> Result<()> {
        let there = self.there(cable);
        let rules = format!(
            "flush table inet chaos\n\
             add rule inet chaos into iifname \"{there}\" numgen random mod 100 < {percent} drop\n\
             add rule inet chaos out oifname \"{there}\" numgen random mod 100 < {percent} drop\n"
        );
        self.rules(&rules)
    }

    /// Drops nothing any more.
    pub(crate) fn clear(&self) -> Result<()> {
        self.rules(
            "add table inet chaos\n\
             add chain inet chaos into { type filter hook input priority 0; }\n\
             add chain inet chaos out { type filter hook output priority 0; }\n\
             flush table inet chaos\n",
        )
    }

    fn rules(&self, rules: &str) -> Result<()> {
        run("ip", &["netns", "exec", &self.name, "nft", rules])
    }

    fn here(&self, cable: u8) -> String {
        format!("cpc{}x{cable}a", std::process::id() % 10_000_000)
    }

    fn there(&self, cable: u8) -> String {
        format!("cpc{}x{cable}b", std::process::id() % 10_000_000)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // A cable goes with either of its ends; the namespace may outlive its name for a while.
        for cable in 0..CABLES {
            let _ = run("ip", &["link", "del", &self.here(cable)]);
        }
        let _ = run("ip", &["netns", "del", &self.name]);
    }
}

/// The server's end of a cable.
pub(crate) fn address(cable: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, cable, 2)
}

/// Where devices on a cable reach the server.
pub(crate) fn socket(cable: u8, port: u16) -> SocketAddr {
    SocketAddr::from((address(cable), port))
}

/// An ext4 of its own in a file.
pub(crate) struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    /// Makes and mounts it.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let disk = Self { image: folder.join("disk.img"), mount: folder.join("disk") };
        std::fs::File::create(&disk.image)?.set_len(256 * 1024 * 1024)?;
        run("mkfs.ext4", &["-q", &disk.image.display().to_string()])?;
        std::fs::create_dir_all(&disk.mount)?;
        disk.mount()?;
        // Whether it can be shut down is to be known now and not in the middle.
        if let Err(error) = disk.shut_down().and_then(|()| disk.remount()) {
            let _ = run("umount", &[&disk.mount.display().to_string()]);
            return Err(error);
        }
        Ok(disk)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.mount
    }

    /// Syncs what is there: what whoever hung the kiosk wrote is not what is tried.
    pub(crate) fn sync(&self) -> Result<()> {
        run("sync", &["-f", &self.mount.display().to_string()])
    }

    /// As a power cut: what was not synced is gone, and nothing more is written (`EXT4_IOC_SHUTDOWN`
    /// without a flush of the log).
    pub(crate) fn shut_down(&self) -> Result<()> {
        run("xfs_io", &["-F", "-x", "-c", "shutdown", &self.mount.display().to_string()])
    }

    /// The power is back: the file system recovers from its journal.
    pub(crate) fn remount(&self) -> Result<()> {
        run("umount", &[&self.mount.display().to_string()])?;
        self.mount()
    }

    fn mount(&self) -> Result<()> {
        let (image, mount) = (self.image.display().to_string(), self.mount.display().to_string());
        run("mount", &["-o", "loop", &image, &mount])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the agent that was just killed may hold it for a moment longer.
        let _ = run("umount", &["-l", &self.mount.display().to_string()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{program} is not here"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}
