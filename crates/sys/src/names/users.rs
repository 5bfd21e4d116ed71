//! Users and groups of the system.

use super::{Cause, NameError, c_name, look_up, owned};
use std::ffi::c_int;

/// A user of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// A group of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Group id.
    pub gid: u32,
}

fn take_user(entry: &libc::passwd) -> User {
    // SAFETY: strings of a filled passwd entry.
    unsafe {
        User {
            name: owned(entry.pw_name),
            uid: entry.pw_uid,
            gid: entry.pw_gid,
            home: owned(entry.pw_dir),
            shell: owned(entry.pw_shell),
        }
    }
}

/// The user of this name.
///
/// # Errors
/// [`NameError`].
pub fn user(name: &str) -> Result<User, NameError> {
    let name = c_name(name)?;
    // SAFETY: valid string, entry, buffer of that length, and result.
    look_up(|e, b, n, r| unsafe { libc::getpwnam_r(name.as_ptr(), e, b, n, r) }, take_user)
}

/// The user with this id.
///
/// # Errors
/// [`NameError`].
pub fn user_by_id(uid: u32) -> Result<User, NameError> {
    // SAFETY: valid entry, buffer of that length, and result.
    look_up(|e, b, n, r| unsafe { libc::getpwuid_r(uid, e, b, n, r) }, take_user)
}

/// The group of this name.
///
/// # Errors
/// [`NameError`].
pub fn group(name: &str) -> Result<Group, NameError> {
    let name = c_name(name)?;
    look_up(
        // SAFETY: valid string, entry, buffer of that length, and result.
        |e, b, n, r| unsafe { libc::getgrnam_r(name.as_ptr(), e, b, n, r) },
        // SAFETY: a string of a filled entry.
        |entry: &libc::group| Group { name: unsafe { owned(entry.gr_name) }, gid: entry.gr_gid },
    )
}

/// All groups of a user, `gid` among them, as initgroups(3) would set them.
///
/// # Errors
/// [`NameError::Invalid`]; more than 65536 groups (the kernel's own bound) are `TooLarge`.
pub fn group_list(user: &str, gid: u32) -> Result<Vec<u32>, NameError> {
    let name = c_name(user)?;
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut count = c_int::try_from(groups.len()).unwrap_or(c_int::MAX);
        // SAFETY: the list has `count` places.
        let fits =
            unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) } >= 0;
        let wanted = usize::try_from(count).unwrap_or(0);
        if fits {
            groups.truncate(wanted);
            return Ok(groups);
        }
        if groups.len() >= 65536 {
            return Err(NameError::Temporary(Cause::TooLarge));
        }
        groups.resize(wanted.max(groups.len() * 2).min(65536), 0);
    }
}
