//! Becoming another user for good, in the whole process: libc's calls, which change every thread. (A child that is about to
//! execute a program takes its ids in `child`.) And what this process is already, which no child need take.

use crate::image::Ids;
use rustix::io::Errno;
use std::ffi::{CStr, c_int};

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

fn groups() -> Option<Vec<u32>> {
    Some(rustix::process::getgroups().ok()?.iter().map(|group| group.as_raw()).collect())
}

fn same_groups(wanted: &[u32]) -> bool {
    let Some(mut now) = groups() else { return false };
    let mut wanted = wanted.to_vec();
    now.sort_unstable();
    now.dedup();
    wanted.sort_unstable();
    wanted.dedup();
    now == wanted
}

/// What a child has from us without asking. To take it once more costs as much as to take another: the kernel copies the credentials.
#[derive(Debug)]
pub(crate) struct Own {
    /// User and group: the effective ones.
    pub(crate) ids: (u32, u32),
    /// Of these two the real, the effective and the saved one are the same.
    are_settled: bool,
    /// None where they are not known.
    groups: Option<Vec<u32>>,
    is_in_root: bool,
}

impl Own {
    /// As it is now. Nothing of it may change as long as this is asked.
    pub(crate) fn look() -> Self {
        let ([real_user, user, saved_user], [real_group, group, saved_group]) = (user_ids(), group_ids());
        Self {
            ids: (user, group),
            are_settled: [real_user, saved_user] == [user; 2] && [real_group, saved_group] == [group; 2],
            groups: groups(),
            is_in_root: std::env::current_dir().is_ok_and(|path| path == std::path::Path::new("/")),
        }
    }

    /// Whether nothing changes for who takes these; `all`: the supplementary groups, too.
    pub(crate) fn has(&self, ids: &Ids, all: bool) -> bool {
        self.are_settled
            && self.ids == (ids.uid, ids.gid)
            && (!all || self.groups.as_ref() == Some(&ids.groups))
    }

    /// Whether this is where it works.
    pub(crate) fn works_in(&self, dir: &CStr) -> bool {
        self.is_in_root && dir == c"/"
    }
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

    #[test]
    fn what_one_is_already_is_known() {
        let own = Own::look();
        let (uid, gid) = own.ids;
        let mine = Ids { uid, gid, groups: groups().unwrap() };
        assert!(own.has(&mine, true) && own.has(&mine, false));
        let more = Ids { groups: [&[65_533][..], &mine.groups].concat(), ..mine };
        assert!(!own.has(&more, true) && own.has(&more, false));
        assert!(!own.has(&Ids { uid: uid + 1, ..more.clone() }, false));
        assert!(!own.has(&Ids { gid: gid + 1, ..more }, false));
        let unsettled = Own { are_settled: false, ..Own::look() };
        assert!(!unsettled.has(&mine_again(), false));
        let unknown = Own { groups: None, ..Own::look() };
        assert!(!unknown.has(&Ids { groups: vec![], ..mine_again() }, true));
        let here = std::env::current_dir().unwrap();
        assert_eq!(own.works_in(c"/"), here == std::path::Path::new("/"));
        assert!(Own { is_in_root: true, ..own }.works_in(c"/"));
        assert!(!Own { is_in_root: true, ..Own::look() }.works_in(c"/tmp"));
    }

    fn mine_again() -> Ids {
        let ([_, uid, _], [_, gid, _]) = (user_ids(), group_ids());
        Ids { uid, gid, groups: groups().unwrap() }
    }
}
