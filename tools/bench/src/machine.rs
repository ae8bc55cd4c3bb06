//! What the figures were measured on: they mean nothing without it.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::comparison::median;
use crate::error::{Context, Failure};

/// Syncs timed to tell how long one takes.
const SYNCS: usize = 200;

/// File systems that keep everything in memory: a sync there does nothing.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// A disk that answers faster than this has a cache in front of its medium, or the host below
/// pretends; whether that cache survives a power cut can't be seen from here.
const CACHED_BELOW: Duration = Duration::from_micros(500);

/// Facts of the machine.
#[derive(Debug)]
pub(crate) struct Machine {
    cores: usize,
    cpu: String,
    memory_gib: f64,
    kernel: String,
    mount: Mount,
    write_cache: Option<String>,
    sync: Duration,
}

#[derive(Debug, Default)]
struct Mount {
    point: String,
    device: String,
    kind: String,
}

impl Machine {
    /// Looks at this machine; `dir` is where the benchmarks keep their files.
    ///
    /// # Errors
    /// [`Failure`] if `dir` can't be written, or keeps its files in memory only.
    pub(crate) fn look(dir: &Path) -> Result<Self, Failure> {
        let mounts = read("/proc/self/mounts");
        let absolute = dir
            .canonicalize()
            .context(format!("looking at {}", dir.display()))?;
        let mount = mount_of(&absolute, &mounts);
        if IN_MEMORY.contains(&mount.kind.as_str()) {
            return Err(Failure::new(format!(
                "{} is on {}, which keeps its files in memory: name a directory on a disk with --dir",
                dir.display(),
                mount.kind
            )));
        }
        let device = fs::metadata(&absolute)
            .context(format!("looking at {}", dir.display()))?
            .dev();
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".into()),
            memory_gib: memory_gib(&read("/proc/meminfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            mount,
            write_cache: write_cache(device),
            sync: sync_time(dir).context(format!("timing syncs in {}", dir.display()))?,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "machine: {} cores, {}, {:.1} GiB, Linux {}",
            self.cores, self.cpu, self.memory_gib, self.kernel
        )?;
        writeln!(
            f,
            "files: {} on {} ({}), write cache: {}",
            self.mount.kind,
            self.mount.device,
            self.mount.point,
            self.write_cache.as_deref().unwrap_or("unknown")
        )?;
        let micros = self.sync.as_micros();
        if self.sync < CACHED_BELOW {
            writeln!(
                f,
                "fdatasync of 4 KiB: {micros} us: it reaches the device, and a cache answers for the medium"
            )
        } else {
            writeln!(f, "fdatasync of 4 KiB: {micros} us")
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_gib(meminfo: &str) -> f64 {
    let kib = field(meminfo, "MemTotal").and_then(|v| v.split(' ').next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0 / 1024.0
}

/// The mount that holds a path: the longest mount point that it lies below, the last of equals.
fn mount_of(path: &Path, mounts: &str) -> Mount {
    let mut found = Mount::default();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(device), Some(point), Some(kind)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if path.starts_with(point) && point.len() >= found.point.len() {
            found = Mount {
                point: point.to_owned(),
                device: device.to_owned(),
                kind: kind.to_owned(),
            };
        }
    }
    found
}

/// What the kernel says of the device's cache: `write back` or `write through`. A partition has
/// no queue of its own, the disk above it has.
fn write_cache(device: u64) -> Option<String> {
    let (major, minor) = (
        (device >> 8) & 0xfff,
        (device & 0xff) | ((device >> 12) & 0xfff00),
    );
    let block = Path::new("/sys/dev/block").join(format!("{major}:{minor}"));
    ["queue/write_cache", "../queue/write_cache"]
        .iter()
        .find_map(|cache| fs::read_to_string(block.join(cache)).ok())
        .map(|text| text.trim().to_owned())
}

/// The median time of an fdatasync after overwriting 4 KiB.
fn sync_time(dir: &Path) -> std::io::Result<Duration> {
    let path = dir.join("sync-time");
    let file = File::create_new(&path)?;
    let page = [7_u8; 4096];
    file.write_all_at(&page, 0)?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all_at(&page, 0)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64());
    }
    fs::remove_file(&path)?;
    Ok(Duration::from_secs_f64(median(&times)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/disk xfs rw 0 0\n";
        let kind = |path: &str| mount_of(Path::new(path), mounts).kind;
        assert_eq!(kind("/home/a"), "ext4");
        assert_eq!(kind("/tmp/x"), "tmpfs");
        assert_eq!(kind("/tmp/disk/x"), "xfs");
        assert_eq!(kind("/tmp/disks"), "tmpfs");
    }
}
