//! `user` and `group`: what the manual says, groups first, each looked at afterwards. (Debian's build checks that the names
//! exist and drops nothing; reference A7.)

use portreeve_sys::identity::{Refused, become_for_good};
use portreeve_sys::names;
use portreeve_sys::source::reason;

/// Becomes `group` and, of the supplementary groups, that one alone. Gives its number.
///
/// # Errors
/// The text of the error of the rule.
pub fn become_group(group: &[u8]) -> Result<u32, Vec<u8>> {
    let gid = group_id(group)?;
    become_for_good(None, Some(gid), Some(&[gid])).map_err(|refused| told(&refused, "setgroups", group))?;
    Ok(gid)
}

/// Becomes `user` with all their groups; `group` or, without it, `earlier` (of a `group` option before) stands in for their
/// primary group.
///
/// # Errors
/// The text of the error of the rule.
pub fn become_user(user: &[u8], group: Option<&[u8]>, earlier: Option<u32>) -> Result<(), Vec<u8>> {
    let gid = group.map(group_id).transpose()?.or(earlier);
    let (name, found) = user_named(user)?;
    let gid = gid.unwrap_or(found.gid);
    let groups = names::group_list(name, gid)
        .map_err(|error| [b"initgroups(", user, b"): ", error.to_string().as_bytes()].concat())?;
    become_for_good(Some(found.uid), Some(gid), Some(&groups)).map_err(|refused| {
        let of = if refused.call == "setgid" { group.unwrap_or(user) } else { user };
        told(&refused, "initgroups", of)
    })
}

/// Whether there are such a user and group, without becoming them.
///
/// # Errors
/// The text of the error of the rule.
pub fn check(user: &[u8], group: Option<&[u8]>) -> Result<(), Vec<u8>> {
    group.map(group_id).transpose()?;
    user_named(user).map(|_| ())
}

fn user_named(user: &[u8]) -> Result<(&str, names::User), Vec<u8>> {
    let unknown = || [b"unknown user: \"", user, b"\""].concat();
    let name = std::str::from_utf8(user).map_err(|_| unknown())?;
    Ok((name, names::user(name).map_err(|_| unknown())?))
}

/// The number of a group.
///
/// # Errors
/// The text of the error of the rule.
pub fn group_id(group: &[u8]) -> Result<u32, Vec<u8>> {
    let unknown = || [b"unknown group: \"", group, b"\""].concat();
    let name = std::str::from_utf8(group).map_err(|_| unknown())?;
    names::group(name).map(|found| found.gid).map_err(|_| unknown())
}

fn told(refused: &Refused, for_groups: &str, of: &[u8]) -> Vec<u8> {
    let call = if refused.call == "setgroups" { for_groups } else { refused.call };
    let why = reason(&refused.errno.into());
    [call.as_bytes(), b"(", of, b"): ", why.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_errors_of_the_rule() {
        assert_eq!(become_group(b"no-such-group").unwrap_err(), b"unknown group: \"no-such-group\"");
        assert_eq!(become_user(b"no-such-user", None, None).unwrap_err(), b"unknown user: \"no-such-user\"");
        let both = become_user(b"no-such-user", Some(b"no-such-group"), None);
        assert_eq!(both.unwrap_err(), b"unknown group: \"no-such-group\"");
        assert_eq!(become_user(b"\xff", None, None).unwrap_err(), b"unknown user: \"\xff\"");
    }
}
