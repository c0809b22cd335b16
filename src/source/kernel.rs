//! Calls of the kernel that no crate makes safely: options of packet sockets, and BPF programs and maps
//! (bpf(2)).
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr::{self, NonNull},
};

use libc::{c_int, c_long, c_void, sock_filter, sock_fprog, socklen_t};

/// An option of packet sockets (packet(7)) that is a number.
pub(super) fn set(fd: BorrowedFd<'_>, option: c_int, value: c_int) -> io::Result<()> {
    set_value(fd, libc::SOL_PACKET, option, &value)
}

/// Reads one.
pub(super) fn get(fd: BorrowedFd<'_>, option: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as socklen_t;
    let place = (&raw mut value).cast::<c_void>();
    // SAFETY: `place` and `len` point to live variables, of which the kernel writes at most `len`
    // bytes, the size of the first.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_PACKET, option, place, &raw mut len) };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// An option of packet sockets that is a classic BPF program.
pub(super) fn set_program(
    fd: BorrowedFd<'_>,
    option: c_int,
    program: &[sock_filter],
) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    // The kernel only reads it.
    let value = sock_fprog { len, filter: program.as_ptr().cast_mut() };
    set_value(fd, libc::SOL_PACKET, option, &value)
}

/// Lets an eBPF program decide what a socket takes, in the place of any filter before.
pub(super) fn attach(fd: BorrowedFd<'_>, program: &Program) -> io::Result<()> {
    set_value(fd, libc::SOL_SOCKET, libc::SO_ATTACH_BPF, &program.0.as_raw_fd())
}

fn set_value<T: Copy>(
    fd: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    value: &T,
) -> io::Result<()> {
    let (place, len) = ((&raw const *value).cast::<c_void>(), size_of::<T>() as socklen_t);
    // SAFETY: `place` points to `len` readable bytes for as long as the call takes; so does what a
    // `sock_fprog` points to, whose length is that of the slice it was made of. The kernel checks all
    // else.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, place, len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A program that was loaded.
#[derive(Debug)]
pub(super) struct Program(OwnedFd);

/// A table that programs and we share.
#[derive(Debug)]
pub(super) struct Map {
    fd: OwnedFd,
    key_len: usize,
    value_len: usize,
}

/// Numbers that programs and we share. They lie in our memory too: reading them takes no call, and so no
/// right to one.
#[derive(Debug)]
pub(super) struct Numbers<const N: usize> {
    map: Map,
    place: NonNull<[u64; N]>,
}

/// Kinds of maps.
const ARRAY: u32 = 2;
pub(super) const LRU_HASH: u32 = 9;

/// A map that can be mapped into memory (Linux 5.5).
const MMAPABLE: u32 = 1 << 10;

// Commands.
const MAP_CREATE: c_long = 0;
const PROG_LOAD: c_long = 5;
const MAP_LOOKUP_BATCH: c_long = 24;

const SOCKET_FILTER: u32 = 1;

#[repr(C)]
#[derive(Default)]
struct CreateMap {
    kind: u32,
    key_len: u32,
    value_len: u32,
    entries: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_len: u32,
    log: u64,
    version: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Batch {
    after: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

impl Program {
    /// Loads a socket filter.
    pub(super) fn load(instructions: &[u64]) -> io::Result<Self> {
        let license = c"MIT";
        let mut attr = Load {
            kind: SOCKET_FILTER,
            count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
            instructions: address(instructions.as_ptr()),
            license: address(license.as_ptr()),
            ..Load::default()
        };
        // SAFETY: The attribute is that of the command; it points to as many instructions as it says
        // and to a string that ends with a zero, all of which outlive the call. The kernel reads
        // them, and verifies the program.
        let fd = unsafe { bpf(PROG_LOAD, &mut attr)? };
        // SAFETY: The call gave a new file descriptor, which is nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

impl Map {
    pub(super) fn new(
        kind: u32,
        key_len: usize,
        value_len: usize,
        entries: u32,
    ) -> io::Result<Self> {
        Self::create(kind, key_len, value_len, entries, 0)
    }

    fn create(
        kind: u32,
        key_len: usize,
        value_len: usize,
        entries: u32,
        flags: u32,
    ) -> io::Result<Self> {
        let short = |len: usize| u32::try_from(len).map_err(io::Error::other);
        let (key, value) = (short(key_len)?, short(value_len)?);
        let mut attr = CreateMap { kind, key_len: key, value_len: value, entries, flags };
        // SAFETY: The attribute is that of the command, and points nowhere.
        let fd = unsafe { bpf(MAP_CREATE, &mut attr)? };
        // SAFETY: The call gave a new file descriptor, which is nobody else's.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, key_len, value_len })
    }

    /// The number by which a program names it.
    pub(super) fn number(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Calls `each` with every key and value. What changes meanwhile may be seen or not, or twice.
    pub(super) fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        const BATCH: u32 = 4096;
        let mut keys = vec![0u8; BATCH as usize * self.key_len];
        let mut values = vec![0u8; BATCH as usize * self.value_len];
        // A token of the kernel's, at most as long as a key or as four bytes.
        let (mut after, mut next) =
            (vec![0u8; self.key_len.max(8)], vec![0u8; self.key_len.max(8)]);
        let mut begun = false;
        loop {
            let mut attr = Batch {
                after: if begun { address(after.as_mut_ptr()) } else { 0 },
                next: address(next.as_mut_ptr()),
                keys: address(keys.as_mut_ptr()),
                values: address(values.as_mut_ptr()),
                count: BATCH,
                map: self.fd.as_fd().as_raw_fd() as u32,
                ..Batch::default()
            };
            // SAFETY: The attribute is that of the command. The kernel writes at most `count` keys and
            // values, for which there is room, and a token that fits; all of it is plain bytes.
            let result = unsafe { bpf(MAP_LOOKUP_BATCH, &mut attr) };
            let over = match result {
                Ok(_) => false,
                // That was the last of them.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                Err(error) => return Err(error),
            };
            let count = attr.count.min(BATCH) as usize;
            let found = keys.chunks(self.key_len).zip(values.chunks(self.value_len));
            found.take(count).for_each(|(key, value)| each(key, value));
            if over {
                return Ok(());
            }
            std::mem::swap(&mut after, &mut next);
            begun = true;
        }
    }
}

impl<const N: usize> Numbers<N> {
    /// All zero.
    pub(super) fn new() -> io::Result<Self> {
        let len = size_of::<[u64; N]>();
        let map = Map::create(ARRAY, size_of::<u32>(), len, 1, MMAPABLE)?;
        let fd = map.fd.as_raw_fd();
        // SAFETY: A new mapping, wherever the kernel has room, of a descriptor that is open.
        let place =
            unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
        match NonNull::new(place).filter(|_| place != libc::MAP_FAILED) {
            Some(place) => Ok(Self { map, place: place.cast() }),
            None => Err(io::Error::last_os_error()),
        }
    }

    /// The array, of one value.
    pub(super) fn map(&self) -> &Map {
        &self.map
    }

    /// What they are now; each for itself, as programs go on adding.
    pub(super) fn get(&self) -> [u64; N] {
        // SAFETY: As many lie in the mapping, from its beginning, which is that of a page, as long as
        // `self` does. The kernel adds to each in one step; no reference to them is made.
        std::array::from_fn(|at| unsafe {
            ptr::read_volatile(self.place.as_ptr().cast::<u64>().add(at))
        })
    }
}

impl<const N: usize> Drop for Numbers<N> {
    fn drop(&mut self) {
        // SAFETY: The mapping is its own, and nobody reads there any more. It can't fail then.
        unsafe { libc::munmap(self.place.as_ptr().cast(), size_of::<[u64; N]>()) };
    }
}

// SAFETY: The mapping belongs to the process, not to a thread, and is only read.
unsafe impl<const N: usize> Send for Numbers<N> {}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

/// # Safety
///
/// `attr` must be what the kernel expects of the command, and what it points to must be valid for what
/// the command does with it.
unsafe fn bpf<T>(command: c_long, attr: &mut T) -> io::Result<c_int> {
    // SAFETY: The length is that of the attribute; for all else the caller answers.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, (&raw mut *attr), size_of::<T>() as c_long)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as c_int) }
}

#[cfg(test)]
impl Program {
    /// Runs it over a packet that follows an Ethernet header, and gives what it returns.
    pub(super) fn test(&self, frame: &[u8]) -> io::Result<u32> {
        #[repr(C)]
        #[derive(Default)]
        struct Test {
            program: u32,
            result: u32,
            data_len: u32,
            out_len: u32,
            data: u64,
            out: u64,
            repeat: u32,
            duration: u32,
            rest: [u64; 6],
        }
        let mut attr = Test {
            program: self.0.as_raw_fd() as u32,
            data_len: frame.len() as u32,
            data: address(frame.as_ptr()),
            ..Test::default()
        };
        const PROG_TEST_RUN: c_long = 10;
        // SAFETY: The attribute is that of the command, which reads as many bytes as it says.
        unsafe { bpf(PROG_TEST_RUN, &mut attr) }?;
        Ok(attr.result)
    }
}
