//! Acting as another user for one moment: the effective ids and the supplementary groups of this thread alone, so that the
//! kernel checks a path, and names a peer, as it would for a process of that user. The real and the saved ids stay, so nobody
//! may signal or trace us meanwhile, and the way back is open.

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgroups};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Runs `body` with these effective ids. It must not start processes or threads: they would keep the ids.
///
/// # Errors
/// The ids are refused; nothing was done and nothing is changed then.
pub fn as_user<T>(uid: u32, gid: u32, groups: &[u32], body: impl FnOnce() -> T) -> Result<T, Errno> {
    let (own_uid, own_gid) = (geteuid(), getegid());
    if own_uid.as_raw() == uid && own_gid.as_raw() == gid {
        return Ok(body());
    }
    let own_groups = getgroups()?;
    let wanted: Vec<Gid> = groups.iter().map(|&group| Gid::from_raw(group)).collect();
    set_thread_groups(&wanted)?;
    let taken = set_thread_res_gid(None, Some(Gid::from_raw(gid)), None)
        .and_then(|()| set_thread_res_uid(None, Some(Uid::from_raw(uid)), None));
    let done = taken.map(|()| body());
    let back = set_thread_res_uid(None, Some(own_uid), None)
        .and_then(|()| set_thread_res_gid(None, Some(own_gid), None))
        .and_then(|()| set_thread_groups(&own_groups));
    if back.is_err() {
        // The saved ids allow it always. To go on as somebody else would be worse than not to go on.
        std::process::abort();
    }
    done
}
