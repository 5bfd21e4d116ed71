//! Becoming another user for good, in the whole process: libc's calls, which change every thread. (A child that is about to
//! execute a program takes its ids in `child`.)

use rustix::io::Errno;
use std::ffi::c_int;

/// The call that refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {errno}")]
pub struct Refused {
    /// Its name.
    pub call: &'static str,
    /// Why.
    pub errno: Errno,
}

/// Takes supplementary groups, then the group, then the user id: real, effective and saved, each looked at afterwards.
/// `groups` none leaves the supplementary groups. What is so already is not asked for, so that a process without
/// privileges may become what it is.
///
/// # Errors
/// The first call that refused; what came before it has happened.
pub fn become_for_good(uid: Option<u32>, gid: Option<u32>, groups: Option<&[u32]>) -> Result<(), Refused> {
    if let Some(groups) = groups
        && !same_groups(groups)
    {
        // SAFETY: the list has its length.
        check("setgroups", unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    }
    if let Some(gid) = gid
        && group_ids() != [gid; 3]
    {
        // SAFETY: plain integers.
        check("setgid", unsafe { libc::setresgid(gid, gid, gid) })?;
        if group_ids() != [gid; 3] {
            return Err(Refused { call: "setgid", errno: Errno::PERM });
        }
    }
    if let Some(uid) = uid
        && user_ids() != [uid; 3]
    {
        // SAFETY: plain integers.
        check("setuid", unsafe { libc::setresuid(uid, uid, uid) })?;
        if user_ids() != [uid; 3] {
            return Err(Refused { call: "setuid", errno: Errno::PERM });
        }
    }
    Ok(())
}

fn check(call: &'static str, result: c_int) -> Result<(), Refused> {
    if result == 0 {
        return Ok(());
    }
    let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::PERM);
    Err(Refused { call, errno })
}

fn user_ids() -> [u32; 3] {
    let mut ids = [u32::MAX; 3];
    let [real, effective, saved] = &mut ids;
    // SAFETY: three places.
    unsafe { libc::getresuid(real, effective, saved) };
    ids
}

fn group_ids() -> [u32; 3] {
    let mut ids = [u32::MAX; 3];
    let [real, effective, saved] = &mut ids;
    // SAFETY: three places.
    unsafe { libc::getresgid(real, effective, saved) };
    ids
}

fn same_groups(wanted: &[u32]) -> bool {
    let Ok(mut now) = rustix::process::getgroups().map(|g| g.iter().map(|g| g.as_raw()).collect::<Vec<_>>())
    else {
        return false;
    };
    let mut wanted = wanted.to_vec();
    now.sort_unstable();
    now.dedup();
    wanted.sort_unstable();
    wanted.dedup();
    now == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn becoming_what_one_is_needs_no_privilege() {
        let [uid, effective, saved] = user_ids();
        let [gid, ..] = group_ids();
        assert_eq!([effective, saved], [uid; 2], "tests run as one user");
        assert_eq!(become_for_good(Some(uid), Some(gid), None), Ok(()));
    }
}
