//! The functions pcscd calls in a driver (its "IFD handler", version 3; see pcsc-lite's `ifdhandler.h`).
//!
//! The one place of the project where `unsafe` is allowed. Every pointer here comes from pcscd, which
//! promises what `ifdhandler.h` says of it; null and too small buffers are refused all the same.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_long, c_uchar, c_ulong};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::card::Power;
use crate::control::Control;
use crate::reader::{Outcome, Presence, VirtualReader};

/// `DWORD` and `RESPONSECODE` of pcsc-lite on Linux.
type Dword = c_ulong;
type Response = c_long;

const SUCCESS: Response = 0;
const ERROR_TAG: Response = 600;
const ERROR_POWER_ACTION: Response = 608;
const COMMUNICATION_ERROR: Response = 612;
const NOT_SUPPORTED: Response = 614;
const ICC_PRESENT: Response = 615;
const ICC_NOT_PRESENT: Response = 616;
const NO_SUCH_DEVICE: Response = 617;
const INSUFFICIENT_BUFFER: Response = 618;

const POWER_DOWN: Dword = 501;

const TAG_ATR: Dword = 0x0303;
const TAG_SLOT_THREAD_SAFE: Dword = 0x0FAC;
const TAG_THREAD_SAFE: Dword = 0x0FAD;
const TAG_SLOTS_NUMBER: Dword = 0x0FAE;
const TAG_SIMULTANEOUS_ACCESS: Dword = 0x0FAF;
const TAG_STOP_POLLING_THREAD: Dword = 0x0FB2;
const TAG_POLLING_THREAD_WITH_TIMEOUT: Dword = 0x0FB3;

/// `SCARD_CTL_CODE(1)`: the CCID driver's escape, which carries lights and buzzer.
const CONTROL_ESCAPE: Dword = 0x4200_0001;
/// How many readers one loaded driver serves: as many as pcscd can have.
const READERS: c_uchar = 16;
/// The longest answer to reset (`MAX_ATR_SIZE`).
const ATR_BYTES: usize = 33;

/// The prefix of DEVICENAME: pcscd takes a name without a colon for a file that must exist already.
pub(crate) const DEVICE_PREFIX: &str = "socket:";

/// `SCARD_IO_HEADER`, passed by value.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IoHeader {
    protocol: Dword,
    length: Dword,
}

static OPEN: Mutex<BTreeMap<Dword, Control>> = Mutex::new(BTreeMap::new());

fn open() -> MutexGuard<'static, BTreeMap<Dword, Control>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reader(lun: Dword) -> Option<Arc<VirtualReader>> {
    open().get(&lun).map(Control::reader)
}

/// Opens the reader whose socket DEVICENAME names: `socket:/path`.
///
/// # Safety
/// `device_name` is null or a C string.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn IFDHCreateChannelByName(lun: Dword, device_name: *const c_char) -> Response {
    if device_name.is_null() {
        return NO_SUCH_DEVICE;
    }
    // SAFETY: not null, and pcscd passes the zero-terminated DEVICENAME that it keeps for the reader's life.
    let name = unsafe { CStr::from_ptr(device_name) };
    let Some(path) = name.to_str().ok().and_then(|name| name.strip_prefix(DEVICE_PREFIX)) else {
        return NO_SUCH_DEVICE;
    };
    match Control::listen(Path::new(path)) {
        Ok(control) => {
            open().insert(lun, control);
            SUCCESS
        }
        Err(_) => NO_SUCH_DEVICE,
    }
}

/// A reader by number: there is none, a socket has a name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn IFDHCreateChannel(_lun: Dword, _channel: Dword) -> Response {
    NO_SUCH_DEVICE
}

/// Closes a reader and its socket.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn IFDHCloseChannel(lun: Dword) -> Response {
    // Taken out first: dropping joins the reader's thread, which must not wait for this lock.
    let control = open().remove(&lun);
    match control {
        Some(control) => {
            drop(control);
            SUCCESS
        }
        None => NO_SUCH_DEVICE,
    }
}

/// What the driver is and can do.
///
/// # Safety
/// `value` is null or points to `*length` bytes; `length` is null or points to a DWORD.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn IFDHGetCapabilities(
    lun: Dword,
    tag: Dword,
    length: *mut Dword,
    value: *mut c_uchar,
) -> Response {
    let Some(reader) = reader(lun) else { return NO_SUCH_DEVICE };
    let answer: Vec<u8> = match tag {
        TAG_ATR => match reader.power_up() {
            Power::Atr(atr) => atr.to_vec(),
            Power::Nothing => return COMMUNICATION_ERROR,
        },
        TAG_THREAD_SAFE | TAG_SLOTS_NUMBER => vec![1],
        TAG_SLOT_THREAD_SAFE => vec![0],
        TAG_SIMULTANEOUS_ACCESS => vec![READERS],
        TAG_POLLING_THREAD_WITH_TIMEOUT => (wait_for_change as *const () as usize).to_ne_bytes().to_vec(),
        TAG_STOP_POLLING_THREAD => (stop_waiting as *const () as usize).to_ne_bytes().to_vec(),
        _ => return ERROR_TAG,
    };
    // SAFETY: this function's own contract is the one `give` asks for.
    unsafe { give(&answer, value, length) }
}

/// Nothing can be set.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn IFDHSetCapabilities(
    _lun: Dword,
    _tag: Dword,
    _length: Dword,
    _value: *const c_uchar,
) -> Response {
    NOT_SUPPORTED
}

/// Any protocol will do: the reader makes the answers up.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn IFDHSetProtocolParameters(
    _lun: Dword,
    _protocol: Dword,
    _flags: c_uchar,
    _pts1: c_uchar,
    _pts2: c_uchar,
    _pts3: c_uchar,
) -> Response {
    SUCCESS
}

/// Powers the card up or down.
///
/// # Safety
/// When powering up, `atr` points to 33 bytes and `length` to a DWORD; both may be null.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn IFDHPowerICC(
    lun: Dword,
    action: Dword,
    atr: *mut c_uchar,
    length: *mut Dword,
) -> Response {
    let Some(reader) = reader(lun) else { return NO_SUCH_DEVICE };
    if action == POWER_DOWN {
        return SUCCESS;
    }
    if length.is_null() {
        return COMMUNICATION_ERROR;
    }
    let bytes = match reader.power_up() {
        Power::Atr(bytes) => bytes,
        Power::Nothing => {
            // SAFETY: not null, and points to pcscd's DWORD for the answer's length.
            unsafe { *length = 0 };
            return ERROR_POWER_ACTION;
        }
    };
    let mut room = ATR_BYTES as Dword;
    // SAFETY: `atr` has room for MAX_ATR_SIZE bytes (ifdhandler.h) and `room` is a local.
    let given = unsafe { give(bytes, atr, &mut room) };
    // SAFETY: not null, as above.
    unsafe { *length = room };
    given
}

/// A command to the card.
///
/// # Safety
/// `tx` points to `tx_length` bytes, `rx` to `*rx_length` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn IFDHTransmitToICC(
    lun: Dword,
    _send_pci: IoHeader,
    tx: *const c_uchar,
    tx_length: Dword,
    rx: *mut c_uchar,
    rx_length: *mut Dword,
    _receive_pci: *mut IoHeader,
) -> Response {
    let Some(reader) = reader(lun) else { return NO_SUCH_DEVICE };
    // SAFETY: pcscd passes the client's command and its length.
    let Some(command) = (unsafe { taken(tx, tx_length) }) else { return COMMUNICATION_ERROR };
    match reader.transmit(&command) {
        // SAFETY: pcscd passes its receive buffer and that buffer's size.
        Outcome::Bytes(answer) => unsafe { give(&answer, rx, rx_length) },
        Outcome::Failed => COMMUNICATION_ERROR,
        Outcome::NoCard => ICC_NOT_PRESENT,
    }
}

/// A command to the reader itself: the escape that carries lights and buzzer.
///
/// # Safety
/// `tx` points to `tx_length` bytes, `rx` to `rx_length` bytes, `returned` to a DWORD.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn IFDHControl(
    lun: Dword,
    code: Dword,
    tx: *const c_uchar,
    tx_length: Dword,
    rx: *mut c_uchar,
    rx_length: Dword,
    returned: *mut Dword,
) -> Response {
    let Some(reader) = reader(lun) else { return NO_SUCH_DEVICE };
    if returned.is_null() {
        return COMMUNICATION_ERROR;
    }
    // SAFETY: not null, and points to pcscd's DWORD for the answer's length.
    unsafe { *returned = 0 };
    if code != CONTROL_ESCAPE {
        return NOT_SUPPORTED;
    }
    // SAFETY: pcscd passes the client's command and its length.
    let Some(command) = (unsafe { taken(tx, tx_length) }) else { return COMMUNICATION_ERROR };
    let answer = reader.signal(&command);
    let mut room = rx_length;
    // SAFETY: `rx` has `rx_length` bytes and `room` is a local.
    let given = unsafe { give(&answer, rx, &mut room) };
    // SAFETY: not null, as above.
    unsafe { *returned = room };
    given
}

/// Whether a card lies on the reader.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn IFDHICCPresence(lun: Dword) -> Response {
    match reader(lun).map(|reader| reader.look()) {
        Some(Presence::Card) => ICC_PRESENT,
        Some(Presence::Empty) => ICC_NOT_PRESENT,
        Some(Presence::Unplugged) | None => NO_SUCH_DEVICE,
    }
}

/// Where pcscd's thread for this reader waits: it sees a card as soon as it is laid down.
extern "C" fn wait_for_change(lun: Dword, milliseconds: c_int) -> Response {
    match reader(lun) {
        Some(reader) => {
            reader.wait(Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0)));
            SUCCESS
        }
        None => NO_SUCH_DEVICE,
    }
}

/// pcscd calls this on every disconnect as well as at its end.
extern "C" fn stop_waiting(lun: Dword) -> Response {
    match reader(lun) {
        Some(reader) => {
            reader.interrupt();
            SUCCESS
        }
        None => NO_SUCH_DEVICE,
    }
}

/// Copies bytes that pcscd passed.
///
/// # Safety
/// `bytes` is null or points to `length` readable bytes.
unsafe fn taken(bytes: *const c_uchar, length: Dword) -> Option<Vec<u8>> {
    let length = usize::try_from(length).ok()?;
    if bytes.is_null() {
        return None;
    }
    // SAFETY: not null, and the caller vouches for `length` bytes.
    Some(unsafe { std::slice::from_raw_parts(bytes, length) }.to_vec())
}

/// Writes an answer where pcscd wants it and says how long it is.
///
/// # Safety
/// `length` is null or points to a DWORD that says how many bytes `to` has room for.
unsafe fn give(answer: &[u8], to: *mut c_uchar, length: *mut Dword) -> Response {
    if to.is_null() || length.is_null() {
        return COMMUNICATION_ERROR;
    }
    // SAFETY: not null, and the caller vouches for it.
    let room = unsafe { *length };
    let needed = answer.len() as Dword;
    if needed > room {
        // SAFETY: as above. Nothing was written.
        unsafe { *length = 0 };
        return INSUFFICIENT_BUFFER;
    }
    // SAFETY: `to` has room for `needed` bytes, which was checked, and cannot overlap a slice of our own.
    unsafe {
        std::ptr::copy_nonoverlapping(answer.as_ptr(), to, answer.len());
        *length = needed;
    }
    SUCCESS
}
