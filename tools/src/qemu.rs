// SPDX-License-Identifier: MIT OR Apache-2.0
//! `fctl qemu`: starts an unmodified QEMU with the library `libfctl_qemu.so` preloaded, which gives the guest our volumes as DASDs.
//!
//! Everything that can be checked without a guest is checked first, by the library itself in a process that ends before QEMU's `main`. Then this
//! process becomes QEMU.

#[path = "../qemu/src/config.rs"]
mod config;

use clap::Args;
use config::{group, host_subchannel, Configuration, Faults, VolumeConfiguration, CHECK, MOST_VOLUMES, READY, VARIABLE};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::{symlink, DirBuilderExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The device number of the first volume; the others follow.
const FIRST_DEVNO: u16 = 0x0120;

/// How QEMU is started.
#[derive(Clone, Debug, Args)]
pub struct QemuOptions {
    /// A plain file or block device that the guest gets as a DASD; may be given several times
    #[arg(long = "volume", required = true, value_parser = parse_volume,
          value_name = "PATH[,devno=NNNN][,durability=writethrough|writeback][,cache=buffered|direct][,readonly]")]
    volumes: Vec<VolumeArgument>,
    /// Pin the dispatcher's thread to this CPU
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// How long the dispatcher's thread may poll before it sleeps: quicker, if there is a CPU for it; 50 if not given
    #[arg(long, value_name = "MICROSECONDS")]
    polling: Option<u64>,
    /// The QEMU to start
    #[arg(long, value_name = "PROGRAM", default_value = "qemu-system-s390x")]
    qemu: PathBuf,
    /// The library to preload; otherwise the one beside this program is used
    #[arg(long, value_name = "PATH", env = "FCTL_QEMU_LIBRARY")]
    library: Option<PathBuf>,
    /// When QEMU ends, write how long it was kept in each start, halt and clear: one JSON object
    #[arg(long, value_name = "PATH")]
    statistics: Option<PathBuf>,
    /// Faults for tests: every such start ends in unit check
    #[arg(long, hide = true, default_value_t = 0)]
    unit_check_every: u32,
    /// Faults for tests: every such start is never answered
    #[arg(long, hide = true, default_value_t = 0)]
    swallow_every: u32,
    /// Arguments for QEMU
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// One `--volume`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct VolumeArgument {
    path: PathBuf,
    devno: Option<u16>,
    writeback: bool,
    direct: bool,
    read_only: bool,
}

/// Reads a volume: the path, then options. A comma in the path is no problem, as long as what follows it is not an option.
fn parse_volume(text: &str) -> Result<VolumeArgument, String> {
    let mut volume = VolumeArgument { path: PathBuf::new(), devno: None, writeback: false, direct: false, read_only: false };
    let mut rest = text;
    while let Some((before, option)) = rest.rsplit_once(',') {
        match option.split_once('=') {
            Some(("devno", number)) => volume.devno = Some(parse_devno(number)?),
            Some(("durability", "writethrough")) | Some(("cache", "buffered")) => {}
            Some(("durability", "writeback")) => volume.writeback = true,
            Some(("cache", "direct")) => volume.direct = true,
            None if option == "readonly" => volume.read_only = true,
            Some((name @ ("durability" | "cache"), value)) => {
                let accepted = if name == "cache" { "buffered or direct" } else { "writethrough or writeback" };
                return Err(format!("{name}={value}: {accepted} is accepted"));
            }
            _ => break,
        }
        rest = before;
    }
    if rest.is_empty() {
        return Err("a path is missing".into());
    }
    volume.path = rest.into();
    Ok(volume)
}

/// Reads a device number: `0120`, or with a channel subsystem and subchannel set in front (`0.0.0120`, `fe.0.0120`).
fn parse_devno(text: &str) -> Result<u16, String> {
    let digits = text.strip_prefix("fe.0.").or_else(|| text.strip_prefix("0.0.")).unwrap_or(text);
    let number = (1..=4).contains(&digits.len()).then(|| u16::from_str_radix(digits, 16).ok()).flatten();
    number.ok_or_else(|| format!("devno={text}: one to four hexadecimal digits are accepted, such as 0120"))
}

/// Runs the command: becomes QEMU, or says why not.
pub fn run(options: &QemuOptions) -> ExitCode {
    let error = match prepare(options) {
        Ok(mut command) => {
            let error = command.exec();
            format!("cannot start {:?}: {error}", options.qemu)
        }
        Err(error) => error,
    };
    eprintln!("fctl: {error}");
    ExitCode::from(2)
}

fn prepare(options: &QemuOptions) -> Result<Command, String> {
    let devnos = device_numbers(&options.volumes)?;
    let configuration = configuration(options)?;
    let library = library(options.library.as_deref())?;
    let directory = host_directory(options.volumes.len())
        .map_err(|error| format!("cannot make the directory that QEMU looks at: {error}"))?;
    let mut preload = library.into_os_string();
    if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        preload.push(":");
        preload.push(others);
    }
    check(&options.qemu, &preload, &configuration)?;
    let mut command = Command::new(&options.qemu);
    command.env("LD_PRELOAD", preload).env(VARIABLE, configuration).args(&options.arguments);
    for (index, devno) in devnos.iter().enumerate() {
        let place = directory.join(host_subchannel(index)).join("volume");
        let mut device = OsString::from(format!("vfio-ccw,id=fctl{index},devno=fe.0.{devno:04x},sysfsdev="));
        device.push(place);
        command.arg("-device").arg(device);
    }
    Ok(command)
}

fn device_numbers(volumes: &[VolumeArgument]) -> Result<Vec<u16>, String> {
    if volumes.len() > MOST_VOLUMES {
        return Err(format!("{} volumes: at most {MOST_VOLUMES} are accepted", volumes.len()));
    }
    let mut numbers: Vec<u16> = Vec::new();
    for (volume, default) in volumes.iter().zip(FIRST_DEVNO..) {
        let number = volume.devno.unwrap_or(default);
        if numbers.contains(&number) {
            return Err(format!(
                "volume {:?} would have device number {number:04x}, as another one has: say devno=NNNN",
                volume.path
            ));
        }
        numbers.push(number);
    }
    Ok(numbers)
}

fn configuration(options: &QemuOptions) -> Result<String, String> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| format!("path {path:?}: {error}"));
    let volumes = options.volumes.iter().map(|volume| {
        let VolumeArgument { path, writeback, direct, read_only, .. } = volume.clone();
        // QEMU may change its directory (`-daemonize`).
        Ok(VolumeConfiguration { path: absolute(&path)?, writeback, direct, read_only })
    });
    let configuration = Configuration {
        volumes: volumes.collect::<Result<_, String>>()?,
        cpu: options.cpu,
        polling: options.polling,
        statistics: options.statistics.as_deref().map(absolute).transpose()?,
        faults: Faults { unit_check_every: options.unit_check_every, swallow_every: options.swallow_every },
    };
    serde_json::to_string(&configuration).map_err(|error| format!("a path is not UTF-8: {error}"))
}

/// The library that was named, or the one beside this program.
fn library(named: Option<&Path>) -> Result<PathBuf, String> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()
            .map_err(|error| format!("cannot find out where this program is: {error}"))?
            .with_file_name("libfctl_qemu.so"),
    };
    path.canonicalize().map_err(|error| {
        format!("library {path:?}: {error}; build it (cargo build --release -p fctl-qemu), or name it by --library or FCTL_QEMU_LIBRARY")
    })
}

/// What QEMU takes for the volumes' directories in the host's `/sys`: made once for each user, the same for every QEMU, and left there.
fn host_directory(volumes: usize) -> io::Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
    let directory = runtime.unwrap_or_else(std::env::temp_dir).join(format!("fctl-qemu-{user}"));
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&directory)?;
    let owner = std::fs::symlink_metadata(&directory)?.uid();
    if owner != user {
        return Err(io::Error::other(format!("{directory:?} belongs to user {owner}")));
    }
    for index in 0..volumes {
        let place = directory.join(host_subchannel(index)).join("volume");
        std::fs::create_dir_all(&place)?;
        match symlink(format!("/sys/kernel/iommu_groups/{}", group(index)), place.join("iommu_group")) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(directory)
}

/// Has the library look at everything, in a process of that QEMU which ends before its `main`.
fn check(qemu: &Path, preload: &OsStr, configuration: &str) -> Result<(), String> {
    let mut command = Command::new(qemu);
    command.arg("--version").env("LD_PRELOAD", preload).env(VARIABLE, configuration).env(CHECK, "1");
    let output =
        command.output().map_err(|error| format!("cannot start {qemu:?}: {error} (Debian's package is qemu-system-misc)"))?;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if said.lines().any(|line| line.starts_with(READY)) {
        return Ok(());
    }
    if let Some(reason) = complained.lines().find_map(|line| line.strip_prefix("fctl: ")) {
        return Err(reason.to_owned());
    }
    let loader = complained.lines().next().map(|line| format!("; the loader says: {line}")).unwrap_or_default();
    Err(format!(
        "{qemu:?} does not load the library: a dynamically linked QEMU for this machine, not set-user-ID, with \"qemu\" in its name is accepted{loader}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_a_path_and_options() {
        let volume = parse_volume("a,b.img,devno=0.0.01ff,durability=writeback,cache=direct,readonly").unwrap();
        let expected =
            VolumeArgument { path: "a,b.img".into(), devno: Some(0x1FF), writeback: true, direct: true, read_only: true };
        assert_eq!(volume, expected);
        let plain = VolumeArgument { path: "disk".into(), devno: None, writeback: false, direct: false, read_only: false };
        assert_eq!(parse_volume("disk,durability=writethrough,cache=buffered").unwrap(), plain);
    }

    #[test]
    fn what_is_wrong_with_a_volume_is_said() {
        assert!(parse_volume("disk,devno=12345").unwrap_err().contains("such as 0120"));
        assert!(parse_volume("disk,cache=none").unwrap_err().contains("buffered or direct"));
        assert!(parse_volume(",readonly").unwrap_err().contains("path"));
    }

    #[test]
    fn device_numbers_are_counted_up_and_must_differ() {
        let volumes = |texts: &[&str]| texts.iter().map(|text| parse_volume(text).unwrap()).collect::<Vec<_>>();
        assert_eq!(device_numbers(&volumes(&["a", "b,devno=5", "c"])).unwrap(), [0x120, 5, 0x122]);
        assert!(device_numbers(&volumes(&["a", "b,devno=120"])).unwrap_err().contains("0120"));
    }
}
