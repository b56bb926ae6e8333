//! The VFS: the system's own, with every operation on a watched file seen, recorded, and failed where a
//! test wants it (see SQLite's `sqlite3_vfs` and `sqlite3_io_methods`).
//!
//! The one place of this crate where `unsafe` is allowed. Every pointer here comes from SQLite, which
//! promises what its header says of it. An open file of ours lies in the memory SQLite gave for it, with
//! the system's open file right behind.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_filename, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use crate::recording::{Event, Name};
use crate::watch::{Operation, State, watching};

/// An open file. The system's follows it in memory.
#[repr(C)]
struct Open {
    base: sqlite3_file,
    /// Null where nobody watches; else a leaked box, taken back on closing.
    seen: *mut Seen,
}

struct Seen {
    state: Arc<State>,
    name: Name,
    /// Whether the next sync of the file syncs its directory too: so the system's VFS does with a
    /// journal and a WAL, once for each time it is opened.
    syncs_directory: AtomicBool,
}

/// Makes the shim the default VFS of the process, once.
#[expect(clippy::panic, reason = "a test that is not watched would prove nothing")]
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: null asks for the default VFS; SQLite initializes itself for it.
        let system = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
        // SAFETY: null, or a VFS that stays for the life of the process.
        let Some(own) = (unsafe { system.as_ref() }) else { panic!("SQLite has no VFS") };
        // Whatever is not about a file's content is the system's, which does not look at its first
        // argument's own members there, but for the longest path, which is copied with the rest.
        let shim = sqlite3_vfs {
            zName: c"carepost".as_ptr(),
            szOsFile: own.szOsFile + c_int::try_from(size_of::<Open>()).unwrap_or(c_int::MAX),
            pNext: std::ptr::null_mut(),
            pAppData: system.cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            ..*own
        };
        // SAFETY: SQLite keeps the pointer, and what is leaked stays.
        let registered = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(shim)), 1) };
        assert_eq!(registered, ffi::SQLITE_OK, "SQLite refused the VFS");
    });
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // The second version has the WAL's index; the third would let SQLite write past the shim.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The same call on the system's file. A method it lacks is an I/O error.
macro_rules! pass_on {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let file = behind($file);
        // SAFETY: `behind` gives the open file of the system's VFS, whose methods are set while it is open.
        match unsafe { (*(*file).pMethods).$method } {
            // SAFETY: SQLite's own arguments, for the file they belong to.
            Some(method) => unsafe { method(file $(, $argument)*) },
            None => ffi::SQLITE_IOERR,
        }
    }};
}

/// The system's file behind ours.
fn behind(file: *mut sqlite3_file) -> *mut sqlite3_file {
    file.cast::<Open>().wrapping_add(1).cast()
}

/// Who watches an open file.
fn seen<'a>(file: *mut sqlite3_file) -> Option<&'a Seen> {
    // SAFETY: `open` has made an `Open` there, and `seen` is null or lives until `close`.
    unsafe { (*file.cast::<Open>()).seen.as_ref() }
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    path: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let empty = Open { base: sqlite3_file { pMethods: std::ptr::null() }, seen: std::ptr::null_mut() };
    // SAFETY: SQLite gives `szOsFile` bytes, aligned for any of its structures.
    unsafe { file.cast::<Open>().write(empty) };
    // SAFETY: null, or a path that ends in zero.
    let watch = unsafe { path_at(path) }.and_then(watching);
    if let Some((state, name)) = &watch {
        let operation = if state.has(name) { Operation::Open } else { Operation::Make };
        if let Some(code) = state.trouble(operation) {
            return code;
        }
    }
    // SAFETY: `install` has put the system's VFS there; the arguments are SQLite's, and the file is ours.
    let opened = unsafe {
        let system = (*vfs).pAppData.cast::<sqlite3_vfs>();
        match (*system).xOpen {
            Some(open) => open(system, path, behind(file), flags, out),
            None => ffi::SQLITE_CANTOPEN,
        }
    };
    if opened != ffi::SQLITE_OK {
        return opened;
    }
    let mut open = Open { base: sqlite3_file { pMethods: &raw const METHODS }, seen: std::ptr::null_mut() };
    if let Some((state, name)) = watch {
        if !state.has(&name) {
            state.note(Event::Made(name.clone()));
        }
        let journal = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
        let syncs_directory = flags & journal != 0 && flags & ffi::SQLITE_OPEN_CREATE != 0;
        let seen = Seen { state, name, syncs_directory: AtomicBool::new(syncs_directory) };
        open.seen = Box::into_raw(Box::new(seen));
    }
    // SAFETY: as above; only our own part is written.
    unsafe { file.cast::<Open>().write(open) };
    opened
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, path: *const c_char, directory: c_int) -> c_int {
    // SAFETY: null, or a path that ends in zero.
    let watch = unsafe { path_at(path) }.and_then(watching);
    if let Some(code) = watch.as_ref().and_then(|(state, _)| state.trouble(Operation::Delete)) {
        return code;
    }
    // SAFETY: `install` has put the system's VFS there; the arguments are SQLite's.
    let deleted = unsafe {
        let system = (*vfs).pAppData.cast::<sqlite3_vfs>();
        match (*system).xDelete {
            Some(delete) => delete(system, path, directory),
            None => ffi::SQLITE_IOERR_DELETE,
        }
    };
    if let Some((state, file)) = watch.filter(|(state, name)| deleted == ffi::SQLITE_OK && state.has(name)) {
        state.note(Event::Deleted { file, directory: directory != 0 });
    }
    deleted
}

/// # Safety
/// `path` is null or a C string.
unsafe fn path_at<'a>(path: *const c_char) -> Option<&'a Path> {
    // SAFETY: as promised.
    let path = (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) })?;
    Some(Path::new(OsStr::from_bytes(path.to_bytes())))
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let closed = pass_on!(file, xClose);
    // SAFETY: the file is open, so `open` has written it; nothing looks at `seen` after this.
    unsafe {
        let open = file.cast::<Open>();
        if !(*open).seen.is_null() {
            drop(Box::from_raw((*open).seen));
        }
        (*open).seen = std::ptr::null_mut();
    }
    closed
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    into: *mut c_void,
    bytes: c_int,
    offset: sqlite3_int64,
) -> c_int {
    if let Some(code) = seen(file).and_then(|seen| seen.state.trouble(Operation::Read)) {
        return code;
    }
    pass_on!(file, xRead, into, bytes, offset)
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    count: c_int,
    offset: sqlite3_int64,
) -> c_int {
    let Some(seen) = seen(file) else { return pass_on!(file, xWrite, from, count, offset) };
    let trouble = seen.state.trouble(Operation::Write);
    // A write that fails has come half-way.
    let count = if trouble.is_some() { count / 2 } else { count };
    let written = pass_on!(file, xWrite, from, count, offset);
    if written == ffi::SQLITE_OK {
        // SAFETY: SQLite hands at least so many readable bytes.
        let bytes =
            unsafe { std::slice::from_raw_parts(from.cast::<u8>(), usize::try_from(count).unwrap_or(0)) };
        let offset = usize::try_from(offset).unwrap_or(0);
        seen.state.note(Event::Wrote { file: seen.name.clone(), offset, bytes: bytes.into() });
    }
    trouble.unwrap_or(written)
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    let Some(seen) = seen(file) else { return pass_on!(file, xTruncate, size) };
    if let Some(code) = seen.state.trouble(Operation::Truncate) {
        return code;
    }
    let truncated = pass_on!(file, xTruncate, size);
    if truncated == ffi::SQLITE_OK {
        let size = usize::try_from(size).unwrap_or(0);
        seen.state.note(Event::Truncated { file: seen.name.clone(), size });
    }
    truncated
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    let Some(seen) = seen(file) else { return pass_on!(file, xSync, flags) };
    if let Some(code) = seen.state.trouble(Operation::Sync) {
        seen.state.note(Event::NotSynced(seen.name.clone()));
        return code;
    }
    let synced = pass_on!(file, xSync, flags);
    if synced == ffi::SQLITE_OK {
        let directory = seen.syncs_directory.swap(false, Ordering::Relaxed);
        seen.state.note(Event::Synced { file: seen.name.clone(), directory });
    }
    synced
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    pass_on!(file, xFileSize, size)
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass_on!(file, xLock, level)
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass_on!(file, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, found: *mut c_int) -> c_int {
    pass_on!(file, xCheckReservedLock, found)
}

unsafe extern "C" fn file_control(file: *mut sqlite3_file, code: c_int, argument: *mut c_void) -> c_int {
    if code == ffi::SQLITE_FCNTL_PRAGMA && seen(file).is_some_and(|seen| seen.state.is_weakened()) {
        // SAFETY: for this code SQLite hands an array of C strings: room for an answer, the pragma's
        // name, and its value or null.
        unsafe { weaken(argument.cast()) };
    }
    pass_on!(file, xFileControl, code, argument)
}

/// # Safety
/// `pragma` is an array of three, of which the second is a C string, and the third null or one that
/// nobody else holds.
unsafe fn weaken(pragma: *mut *mut c_char) {
    // SAFETY: as promised. "FULL" becomes "1", which is NORMAL, in SQLite's own copy of the value.
    unsafe {
        let (name, value) = (*pragma.add(1), *pragma.add(2));
        let is_synchronous = !name.is_null() && CStr::from_ptr(name).to_bytes() == b"synchronous";
        if is_synchronous && !value.is_null() && CStr::from_ptr(value).to_bytes() == b"FULL" {
            value.copy_from_nonoverlapping(c"1".as_ptr(), 2);
        }
    }
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    pass_on!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    pass_on!(file, xDeviceCharacteristics)
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    into: *mut *mut c_void,
) -> c_int {
    let watch = seen(file).filter(|_| extend != 0);
    if let Some(code) = watch.and_then(|seen| seen.state.trouble(Operation::Index)) {
        return code;
    }
    pass_on!(file, xShmMap, region, size, extend, into)
}

unsafe extern "C" fn shm_lock(file: *mut sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    pass_on!(file, xShmLock, offset, count, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    let file = behind(file);
    // SAFETY: as in `pass_on`, which has no call without an answer.
    if let Some(barrier) = unsafe { (*(*file).pMethods).xShmBarrier } {
        // SAFETY: the file is the method's own.
        unsafe { barrier(file) };
    }
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    pass_on!(file, xShmUnmap, delete)
}
