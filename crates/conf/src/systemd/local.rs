//! Unix sockets of a socket unit: what `bind` says of them, and who may connect. systemd's defaults hold, which are wider than
//! portreeve's own, and that is said.

use super::find::Loaded;
use super::pair::{Out, SECTION};
use super::specifier::expand;
use super::unit::{Setting, boolean};
use crate::host::Host;
use std::path::Path;

/// The protocol of their groups.
pub(super) const UNIX: &str = "unix";

/// Mode of a socket where nothing is written (systemd.socket(5)).
const MODE: u32 = 0o666;

/// `attribute = value`, in order.
type Said = Vec<(&'static str, String)>;

/// Whether a value of `Listen…=` is a unix socket.
pub(super) fn is_local(value: &str) -> bool {
    value.starts_with(['/', '@'])
}

/// The word of `bind`; of a path as systemd reads it, without needless slashes and dots.
pub(super) fn word(value: &str) -> Result<String, String> {
    if value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("`{}` holds blanks, which a word of `bind` cannot", value.escape_debug()));
    }
    if value.starts_with('@') {
        return Ok(value.to_owned());
    }
    let steps: Vec<&str> = value.split('/').filter(|step| !matches!(*step, "" | ".")).collect();
    Ok(format!("/{}", steps.join("/")))
}

/// Owner, group and mode of the files that `paths` name; nothing for a unit without.
///
/// # Errors
/// Why it is not known who may connect.
pub(super) fn rights(
    host: &dyn Host,
    socket: &Loaded,
    paths: &[(&Setting, &str)],
    out: &mut Out<'_>,
) -> Result<Said, String> {
    let unit = &socket.unit;
    let of_files = ["SocketUser", "SocketGroup", "SocketMode", "DirectoryMode", "RemoveOnStop", "Symlinks"];
    let [user, group, mode, _, _, _] = of_files.map(|key| unit.last(SECTION, key));
    let Some((first, _)) = paths.first() else {
        for setting in of_files.iter().filter_map(|key| unit.last(SECTION, key)) {
            out.told(setting, "it is about the files of sockets, and this socket has none");
        }
        return Ok(Vec::new());
    };
    files(host, socket, paths, out);
    let name = |setting: Option<&Setting>| {
        let Some(setting) = setting else { return Ok(None) };
        let value =
            expand(&setting.value, &socket.name).map_err(|why| format!("`{}=`: {why}", setting.key))?;
        let odd = value.is_empty() || value.contains(|c: char| c.is_whitespace() || c.is_control());
        if odd { Err(format!("`{}=` is no name", setting.key)) } else { Ok(Some(value)) }
    };
    let (owner, mut owners) = (name(user)?, name(group)?);
    let mut said = Said::new();
    if let (Some(owner), Some(setting)) = (owner, user) {
        out.at("socket_owner", setting);
        if owners.is_none() {
            let found = match owner.parse() {
                Ok(uid) => host.user_by_id(uid),
                Err(_) => host.user(&owner),
            };
            owners = found.map(|user| user.gid.to_string());
            out.at("socket_group", setting);
            if owners.is_none() {
                out.lost(
                    setting,
                    "the user's group, which systemd takes, is not known here: write `socket_group`",
                );
            }
        }
        said.push(("socket_owner", owner));
    }
    group.into_iter().for_each(|setting| out.at("socket_group", setting));
    said.extend(owners.map(|group| ("socket_group", group)));
    let number = match mode {
        None => MODE,
        Some(setting) => u32::from_str_radix(&setting.value, 8)
            .ok()
            .filter(|mode| *mode <= 0o777)
            .ok_or("`SocketMode=` is no mode in octal up to 0777")?,
    };
    match mode {
        Some(setting) => out.at("socket_mode", setting),
        None => out.told(
            first,
            "everybody on this host may connect, as under systemd, because no `SocketMode=` is written (0666)",
        ),
    }
    said.push(("socket_mode", format!("{number:03o}")));
    Ok(said)
}

/// What systemd does beside the socket itself.
fn files(host: &dyn Host, socket: &Loaded, paths: &[(&Setting, &str)], out: &mut Out<'_>) {
    let unit = &socket.unit;
    let missing = |path: &str| {
        let parent = Path::new(path).parent()?;
        (!host.is_directory(parent).unwrap_or(false)).then(|| parent.to_string_lossy().into_owned())
    };
    for (setting, path) in paths {
        if let Some(parent) = missing(path) {
            let text = format!(
                "the directory `{}` is not there, and portreeve makes none: let tmpfiles.d(5) make it",
                parent.escape_debug()
            );
            out.told(setting, &text);
        }
    }
    if let Some(setting) = unit.last(SECTION, "DirectoryMode") {
        out.told(setting, "portreeve makes no directories: let tmpfiles.d(5) do it");
    }
    if let Some(setting) = unit.last(SECTION, "RemoveOnStop")
        && boolean(&setting.value) != Some(true)
    {
        out.told(setting, "portreeve removes the file of a socket that it stops serving");
    }
    for setting in unit.list(SECTION, "Symlinks") {
        out.lost(setting, "portreeve makes no links: let tmpfiles.d(5) make them");
    }
}

/// What an accepted connection cannot be asked for: lists of addresses, which under systemd do not hold for these sockets either.
pub(super) fn without_lists(socket: &Loaded, said: &mut Said, out: &mut Out<'_>) {
    let before = said.len();
    said.retain(|(name, _)| !matches!(*name, "only_from" | "no_access"));
    if said.len() == before {
        return;
    }
    for key in ["IPAddressAllow", "IPAddressDeny"] {
        if let Some(setting) = socket.unit.list(SECTION, key).last() {
            out.told(setting, "it does not hold for the unix socket, whose clients have no address");
        }
    }
}
