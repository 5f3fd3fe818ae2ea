// SPDX-License-Identifier: MIT OR Apache-2.0
//! The paths by which QEMU looks at a host's channel subsystem and at its VFIO, and what is there.

use crate::config::{group, host_subchannel};
use crate::descriptors::Descriptor;

/// The channel path of all volumes: installed, available and operational.
const CHPID: &str = "42";
/// FICON, native.
const CHANNEL_PATH_TYPE: &str = "1b\n";

/// The content of a file below `/sys`, if it is one that we answer for.
pub fn content(path: &str, volumes: usize) -> Option<String> {
    if path.strip_prefix("/sys/devices/css0/chp0.").is_some_and(|rest| rest.strip_suffix("/type") == Some(CHPID)) {
        return Some(CHANNEL_PATH_TYPE.into());
    }
    let (_, attribute) = below_a_volume(path, volumes)?;
    match attribute {
        "pimpampom" => Some("80 80 ff\n".into()),
        "chpids" => Some(format!("{CHPID} 00 00 00 00 00 00 00\n")),
        _ => None,
    }
}

/// What a symbolic link below `/sys` points to, if it is one that we answer for: QEMU takes the last part of it for the group's number.
pub fn link(path: &str, volumes: usize) -> Option<String> {
    let (index, rest) = below_a_volume(path, volumes)?;
    rest.ends_with("/iommu_group").then(|| format!("/sys/kernel/iommu_groups/{}", group(index)))
}

/// The volume whose subchannel this path is below, and the path from there.
fn below_a_volume(path: &str, volumes: usize) -> Option<(usize, &str)> {
    let (name, rest) = path.strip_prefix("/sys/bus/css/devices/")?.split_once('/')?;
    Some(((0..volumes).find(|&index| host_subchannel(index) == name)?, rest))
}

/// What is opened by a path below `/dev/vfio`, if it is ours.
pub fn special_file(path: &str, volumes: usize) -> Option<Descriptor> {
    let name = path.strip_prefix("/dev/vfio/")?;
    if name == "vfio" {
        return Some(Descriptor::Container);
    }
    let number: usize = name.parse().ok()?;
    (0..volumes).find(|&index| group(index) == number).map(Descriptor::Group)
}
