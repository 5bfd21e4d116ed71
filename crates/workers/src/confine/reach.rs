//! Landlock: which files, ports and processes a worker can reach.

use crate::protocol::{Missing, Worker};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use std::path::Path;

/// The rights that are asked for. Older kernels give what they have (and we say so); newer ones add nothing behind our
/// back.
const KNOWN: ABI = ABI::V6;

/// Where the name service's configuration, plug-ins, tables and sockets live. Paths that do not exist are skipped.
/// Landlock of this version does not stop connect(2) to a socket with a path; reading the directory is not needed for it.
const NAME_SERVICE: [&str; 9] =
    ["/etc", "/usr", "/lib", "/lib32", "/lib64", "/run", "/var/lib", "/var/db", "/dev/urandom"];

/// Restricts this thread and all that come from it. Returns what is missing.
pub(super) fn restrict(worker: Worker, keeps: Option<&Path>) -> Option<Missing> {
    let status = match worker {
        Worker::Builtin
        | Worker::Proxy
        | Worker::Registrar
        | Worker::Header
        | Worker::Tls
        | Worker::Firewall
        | Worker::Sensor => nothing(),
        Worker::Ledger => keeps.map_or_else(nothing, only),
        Worker::Resolver => name_service(),
    };
    match status {
        Ok(RulesetStatus::FullyEnforced) => None,
        Ok(RulesetStatus::PartiallyEnforced) => Some(Missing::LandlockPart),
        Ok(RulesetStatus::NotEnforced) | Err(_) => Some(Missing::Landlock),
    }
}

/// No file, no new connection, no signal. The clients' sockets are open already.
fn nothing() -> Result<RulesetStatus, RulesetError> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// Regular files of one directory: read, written, made, renamed and removed. No directory in it, no link, no socket, and
/// nothing is executed.
fn only(directory: &Path) -> Result<RulesetStatus, RulesetError> {
    let files = AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::ReadDir
        | AccessFs::MakeReg
        | AccessFs::RemoveFile;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules([directory], files))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// Reading where the name service reads; nothing written, nothing executed, no port of our own but one that the kernel picks
/// (0), since ident is asked from the address that the client came to. Connections stay possible: DNS over TCP, LDAP and the
/// like choose their own ports. Nothing listens: seccomp has no listen(2).
fn name_service() -> Result<RulesetStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(NAME_SERVICE, read))?
        .add_rule(NetPort::new(0, AccessNet::BindTcp))?
        .restrict_self()?;
    Ok(status.ruleset)
}
