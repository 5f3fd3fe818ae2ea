// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the host kernel's VFIO would answer.

use crate::adapter::{Adapter, ADAPTER};
use crate::descriptors::{self, Descriptor};
use crate::hooks::Answer;
use crate::memory_map::Range;
use crate::regions::Region;
use std::ffi::{c_int, c_ulong, c_void};
use std::mem::size_of;
use std::os::fd::{BorrowedFd, FromRawFd as _, IntoRawFd as _, RawFd};
use vfio_bindings::bindings::vfio as uapi;
use vmm_sys_util::eventfd::EventFd;

/// `_IO(VFIO_TYPE, VFIO_BASE + number)`.
const fn request(number: u32) -> c_ulong {
    (uapi::VFIO_TYPE as c_ulong) << 8 | (uapi::VFIO_BASE + number) as c_ulong
}

const GET_API_VERSION: c_ulong = request(0);
const CHECK_EXTENSION: c_ulong = request(1);
const SET_IOMMU: c_ulong = request(2);
const GROUP_GET_STATUS: c_ulong = request(3);
const GROUP_SET_CONTAINER: c_ulong = request(4);
const GROUP_UNSET_CONTAINER: c_ulong = request(5);
const GROUP_GET_DEVICE_FD: c_ulong = request(6);
const DEVICE_GET_INFO: c_ulong = request(7);
const DEVICE_GET_REGION_INFO: c_ulong = request(8);
const DEVICE_GET_IRQ_INFO: c_ulong = request(9);
const DEVICE_SET_IRQS: c_ulong = request(10);
const DEVICE_RESET: c_ulong = request(11);
const IOMMU_GET_INFO: c_ulong = request(12);
const IOMMU_MAP_DMA: c_ulong = request(13);
const IOMMU_UNMAP_DMA: c_ulong = request(14);

const VIABLE: u32 = uapi::VFIO_GROUP_FLAGS_VIABLE | uapi::VFIO_GROUP_FLAGS_CONTAINER_SET;
const TRIGGER_BY_EVENTFD: u32 = uapi::VFIO_IRQ_SET_DATA_EVENTFD | uapi::VFIO_IRQ_SET_ACTION_TRIGGER;

/// A region's information with the capability that says what sort of region it is.
#[repr(C)]
#[derive(Clone, Copy)]
struct TypedRegion {
    region: uapi::vfio_region_info,
    kind: uapi::vfio_region_info_cap_type,
}

/// Reads what the caller passes.
///
/// # Safety
/// `argument` points to a `T`, which is plain old data.
unsafe fn get<T>(argument: *const c_void) -> Answer<T> {
    if argument.is_null() {
        return Err(libc::EFAULT);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { argument.cast::<T>().read_unaligned() })
}

/// Gives the caller an answer.
///
/// # Safety
/// `argument` points to room for a `T`, and is not null.
unsafe fn put<T>(argument: *mut c_void, answer: T) {
    // SAFETY: the caller's promise.
    unsafe { argument.cast::<T>().write_unaligned(answer) }
}

#[allow(clippy::cast_possible_truncation, reason = "structures of a few dozen bytes")]
const fn bytes<T>() -> u32 {
    size_of::<T>() as u32
}

fn adapter() -> Answer<&'static Adapter> {
    ADAPTER.get().ok_or(libc::ENODEV)
}

/// # Safety
/// `argument` is what the request wants, as to the kernel.
pub unsafe fn ioctl(descriptor: Descriptor, request: c_ulong, argument: *mut c_void) -> Answer<c_int> {
    // SAFETY: the caller's promise goes on.
    unsafe {
        match descriptor {
            Descriptor::Container => container(request, argument),
            Descriptor::Group(index) => group(index, request, argument),
            Descriptor::Device(index) => device(index, request, argument),
        }
    }
}

/// # Safety
/// As [`ioctl`].
unsafe fn container(request: c_ulong, argument: *mut c_void) -> Answer<c_int> {
    // SAFETY: the caller's promise, for each request by `linux/vfio.h`.
    unsafe {
        match request {
            GET_API_VERSION => Ok(0),
            CHECK_EXTENSION => {
                let extension = argument.addr();
                Ok(c_int::from(
                    [uapi::VFIO_TYPE1_IOMMU, uapi::VFIO_TYPE1v2_IOMMU].iter().any(|&known| known as usize == extension),
                ))
            }
            SET_IOMMU => Ok(0),
            IOMMU_GET_INFO => {
                let mut iommu: uapi::vfio_iommu_type1_info = std::mem::zeroed();
                (iommu.argsz, iommu.flags) = (bytes::<uapi::vfio_iommu_type1_info>(), uapi::VFIO_IOMMU_INFO_PGSIZES);
                iommu.iova_pgsizes = !0xFFF;
                // Callers built for an older kernel have room for the first two fields only.
                let room = get::<u32>(argument)?.min(iommu.argsz) as usize;
                std::ptr::copy_nonoverlapping(std::ptr::from_ref(&iommu).cast::<u8>(), argument.cast(), room);
                Ok(0)
            }
            IOMMU_MAP_DMA => {
                let map: uapi::vfio_iommu_type1_dma_map = get(argument)?;
                let range = Range { guest: map.iova, host: map.vaddr, bytes: map.size };
                adapter()?.map(range)?;
                Ok(0)
            }
            IOMMU_UNMAP_DMA => {
                let mut unmap: uapi::vfio_iommu_type1_dma_unmap = get(argument)?;
                let all = unmap.flags & uapi::VFIO_DMA_UNMAP_FLAG_ALL != 0;
                let (guest, length) = if all { (0, u64::MAX) } else { (unmap.iova, unmap.size) };
                unmap.size = adapter()?.unmap(guest, length)?;
                put(argument, unmap);
                Ok(0)
            }
            _ => Err(libc::ENOTTY),
        }
    }
}

/// # Safety
/// As [`ioctl`].
unsafe fn group(index: usize, request: c_ulong, argument: *mut c_void) -> Answer<c_int> {
    match request {
        GROUP_GET_STATUS => {
            // SAFETY: this request passes this structure.
            unsafe {
                let mut status: uapi::vfio_group_status = get(argument)?;
                status.flags = VIABLE;
                put(argument, status);
            }
            Ok(0)
        }
        GROUP_SET_CONTAINER | GROUP_UNSET_CONTAINER => Ok(0),
        GROUP_GET_DEVICE_FD => {
            let adapter = adapter()?;
            adapter.note_asked();
            let (mut device, configuration) = adapter.device(index).ok_or(libc::ENODEV)?;
            if let Err(error) = device.open(configuration) {
                eprintln!("fctl: {error}");
                return Err(libc::EBUSY);
            }
            descriptors::make(Descriptor::Device(index)).map_err(|error| {
                device.close(adapter);
                error.raw_os_error().unwrap_or(libc::EIO)
            })
        }
        _ => Err(libc::ENOTTY),
    }
}

/// # Safety
/// As [`ioctl`].
unsafe fn device(index: usize, request: c_ulong, argument: *mut c_void) -> Answer<c_int> {
    // SAFETY: the caller's promise, for each request by `linux/vfio.h`.
    unsafe {
        match request {
            DEVICE_GET_INFO => {
                let room: u32 = get(argument)?;
                let mut description: uapi::vfio_device_info = std::mem::zeroed();
                description.argsz = bytes::<uapi::vfio_device_info>();
                description.flags = uapi::VFIO_DEVICE_FLAGS_CCW | uapi::VFIO_DEVICE_FLAGS_RESET;
                (description.num_regions, description.num_irqs) = (4, uapi::VFIO_CCW_NUM_IRQS);
                let room = room.min(description.argsz) as usize;
                std::ptr::copy_nonoverlapping(std::ptr::from_ref(&description).cast::<u8>(), argument.cast(), room);
                Ok(0)
            }
            DEVICE_GET_REGION_INFO => region_info(argument),
            DEVICE_GET_IRQ_INFO => {
                let mut irq: uapi::vfio_irq_info = get(argument)?;
                if irq.index >= uapi::VFIO_CCW_NUM_IRQS {
                    return Err(libc::EINVAL);
                }
                (irq.flags, irq.count) = (uapi::VFIO_IRQ_INFO_EVENTFD, 1);
                put(argument, irq);
                Ok(0)
            }
            DEVICE_SET_IRQS => set_irqs(index, argument),
            DEVICE_RESET => {
                let (mut device, _) = adapter()?.device(index).ok_or(libc::ENODEV)?;
                device.reset().map(|()| 0)
            }
            _ => Err(libc::ENOTTY),
        }
    }
}

/// # Safety
/// `argument` points to a `vfio_region_info` with the room that its `argsz` says.
unsafe fn region_info(argument: *mut c_void) -> Answer<c_int> {
    // SAFETY: the caller's promise.
    let mut description: uapi::vfio_region_info = unsafe { get(argument)? };
    let region = Region::from_index(description.index).ok_or(libc::EINVAL)?;
    let room = description.argsz;
    (description.offset, description.size) = (region.offset(), region.size() as u64);
    description.flags = uapi::VFIO_REGION_INFO_FLAG_READ | uapi::VFIO_REGION_INFO_FLAG_WRITE;
    (description.argsz, description.cap_offset) = (bytes::<uapi::vfio_region_info>(), 0);
    if let Some(subtype) = subtype(region) {
        description.flags |= uapi::VFIO_REGION_INFO_FLAG_CAPS;
        description.argsz = bytes::<TypedRegion>();
        if room >= description.argsz {
            description.cap_offset = bytes::<uapi::vfio_region_info>();
            // SAFETY: integers only.
            let mut kind: uapi::vfio_region_info_cap_type = unsafe { std::mem::zeroed() };
            (kind.header.id, kind.header.version) = (2, 1);
            (kind.type_, kind.subtype) = (uapi::VFIO_REGION_TYPE_CCW, subtype);
            // SAFETY: the caller has said that there is this much room.
            unsafe { put(argument, TypedRegion { region: description, kind }) };
            return Ok(0);
        }
    }
    // SAFETY: the caller's promise.
    unsafe { put(argument, description) };
    Ok(0)
}

const fn subtype(region: Region) -> Option<u32> {
    match region {
        Region::Io => None,
        Region::Command => Some(uapi::VFIO_REGION_SUBTYPE_CCW_ASYNC_CMD),
        Region::Schib => Some(uapi::VFIO_REGION_SUBTYPE_CCW_SCHIB),
        Region::ChannelReport => Some(uapi::VFIO_REGION_SUBTYPE_CCW_CRW),
    }
}

/// # Safety
/// `argument` points to a `vfio_irq_set` with the data that it says it has.
unsafe fn set_irqs(index: usize, argument: *mut c_void) -> Answer<c_int> {
    let header = size_of::<uapi::vfio_irq_set>();
    // SAFETY: integers, and an array without elements; the caller's promise.
    let [argsz, flags, irq, _start, count] = unsafe { get::<[u32; 5]>(argument)? };
    if flags != TRIGGER_BY_EVENTFD || count != 1 || (argsz as usize) < header + size_of::<RawFd>() {
        return Err(libc::EINVAL);
    }
    // SAFETY: the size was just looked at.
    let eventfd: RawFd = unsafe { get(argument.cast::<u8>().add(header).cast())? };
    if irq != uapi::VFIO_CCW_IO_IRQ_INDEX {
        // Nobody reports channel events or asks for the device back.
        return if irq < uapi::VFIO_CCW_NUM_IRQS { Ok(0) } else { Err(libc::EINVAL) };
    }
    let adapter = adapter()?;
    let (mut device, configuration) = adapter.device(index).ok_or(libc::ENODEV)?;
    if eventfd < 0 {
        device.unlisten(adapter);
        return Ok(0);
    }
    // SAFETY: QEMU's eventfd is open while it sets it.
    let ours = unsafe { BorrowedFd::borrow_raw(eventfd) }.try_clone_to_owned().map_err(|_| libc::EMFILE)?;
    // SAFETY: an eventfd that is ours.
    let interrupt = unsafe { EventFd::from_raw_fd(ours.into_raw_fd()) };
    device.listen(adapter, index, interrupt).map(|()| 0).map_err(|error| {
        eprintln!("fctl: volume {:?} cannot be used: {error}", configuration.path);
        libc::EIO
    })
}

/// Reads a region of a device.
///
/// # Safety
/// `to` points to `length` bytes that may be written.
pub unsafe fn read(index: usize, to: *mut u8, length: usize, offset: i64) -> Answer<usize> {
    let region = Region::at(offset).filter(|region| region.size() == length).ok_or(libc::EINVAL)?;
    let (mut device, _) = adapter()?.device(index).ok_or(libc::ENODEV)?;
    let mut bytes = [0; crate::regions::IO_BYTES];
    let bytes = bytes.get_mut(..length).ok_or(libc::EINVAL)?;
    device.read(region, bytes)?;
    // SAFETY: the caller's promise; `bytes` has that length.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, length) };
    Ok(length)
}

/// Writes a region of a device.
///
/// # Safety
/// `from` points to `length` bytes.
pub unsafe fn write(index: usize, from: *const u8, length: usize, offset: i64) -> Answer<usize> {
    let region = Region::at(offset).filter(|region| region.size() == length).ok_or(libc::EINVAL)?;
    let (mut device, _) = adapter()?.device(index).ok_or(libc::ENODEV)?;
    let mut bytes = [0; crate::regions::IO_BYTES];
    let bytes = bytes.get_mut(..length).ok_or(libc::EINVAL)?;
    // SAFETY: the caller's promise; `bytes` has that length.
    unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), length) };
    device.write(region, bytes)?;
    Ok(length)
}

/// A descriptor of ours is closed.
pub fn close(descriptor: Descriptor) {
    let (Descriptor::Device(index), Some(adapter)) = (descriptor, ADAPTER.get()) else { return };
    if let Some((mut device, _)) = adapter.device(index) {
        device.close(adapter);
    }
}
