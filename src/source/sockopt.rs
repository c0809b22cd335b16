//! Options of packet sockets that no crate sets safely.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use libc::{c_int, c_void, sock_filter, sock_fprog, socklen_t};

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

fn set_value<T>(fd: BorrowedFd<'_>, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let (place, len) = ((&raw const *value).cast::<c_void>(), size_of::<T>() as socklen_t);
    // SAFETY: `place` points to `len` readable bytes for as long as the call takes; so does what a
    // `sock_fprog` points to, whose length is that of the slice it was made of. The kernel checks all
    // else.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, place, len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
