//! `LISTEN_PID=N` in a child's environment (sd_listen_fds(3)): its own number, which nobody knows before it exists. The child
//! writes the digits; the room for them is its parent's, who waits.

use std::ffi::c_char;
use std::sync::atomic::{AtomicU8, Ordering};

const KEY: &[u8] = b"LISTEN_PID=";
/// The key, the digits of the greatest pid and a NUL.
const ROOM: usize = KEY.len() + 10 + 1;

/// A variable without its digits.
#[derive(Debug)]
pub(crate) struct ListenPid([AtomicU8; ROOM]);

impl ListenPid {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|at| AtomicU8::new(KEY.get(at).copied().unwrap_or(0))))
    }

    /// As the environment has it; NUL-terminated before and after [`Self::set`], valid as long as `self` lives.
    pub(crate) fn pointer(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }

    /// Writes the digits. No allocation, no lock, no panic: it runs between clone and execve.
    pub(crate) fn set(&self, pid: u32) {
        let mut digits = [0u8; 10];
        let mut rest = pid;
        let mut count = 0usize;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        let used = digits.iter().skip(digits.len() - count);
        for (place, &byte) in self.0.iter().skip(KEY.len()).zip(used) {
            place.store(byte, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pid: u32) -> String {
        let variable = ListenPid::new();
        variable.set(pid);
        variable
            .0
            .iter()
            .map(|byte| char::from(byte.load(Ordering::Relaxed)))
            .filter(|c| *c != '\0')
            .collect()
    }

    #[test]
    fn every_number_has_room() {
        for pid in [0, 7, 10, 4_194_304, u32::MAX] {
            assert_eq!(text(pid), format!("LISTEN_PID={pid}"));
        }
        assert_eq!(ListenPid::new().0.last().map(|byte| byte.load(Ordering::Relaxed)), Some(0));
    }
}
