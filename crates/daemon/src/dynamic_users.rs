//! A user of a service's own (`DynamicUser`): a number that nobody has, the same for one name until the next boot. The numbers are
//! systemd's, and so is whom they must not meet; which name has which stands in a directory of root's, so that a reload, an upgrade
//! and a crash find it again. The name service is not asked: nobody may have such a number there (systemd's users and groups, README).
//!
//! systemd keeps a file for each number that it has given, locked by whoever has it (its dynamic-user.c). Where systemd is, so do we, and
//! the lock goes over an upgrade: neither gives a number that the other has given.

use portreeve_handover::{DynamicUserState, Fd};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::FlockOperation;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The first of them, and how many there are.
const FIRST: u32 = 61_184;
const COUNT: u32 = 65_519 - FIRST + 1;
/// So many are tried for a name.
const TRIES: u32 = 64;
/// Where they stand, a file for each number with the name in it.
const PLACE: &str = "/run/portreeve/dynamic-users";
/// Where systemd notes its own.
const SYSTEMD: &str = "/run/systemd/dynamic-uid";
/// There when systemd is the manager.
const BOOTED: &str = "/run/systemd/system";
/// A link there is nobody's name.
const NO_LINK: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

thread_local! {
    static KNOWN: RefCell<HashMap<String, Claim>> = RefCell::new(HashMap::new());
}

/// A number, and systemd's file of it, locked, where systemd is.
#[derive(Debug)]
struct Claim {
    id: u32,
    lock: Option<OwnedFd>,
}

/// The number of a service, which is its group's too.
///
/// # Errors
/// A sentence: why it has none.
pub fn of(service: &str) -> Result<u32, String> {
    if let Some(known) = KNOWN.with_borrow(|known| known.get(service).map(|claim| claim.id)) {
        return Ok(known);
    }
    let systemd = systemd(Path::new(SYSTEMD), Path::new(BOOTED));
    let claim = claim(Path::new(PLACE), systemd, service, taken)?;
    let id = claim.id;
    KNOWN.with_borrow_mut(|known| known.insert(service.to_owned(), claim));
    Ok(id)
}

/// Where systemd's files are, where there is one.
fn systemd<'a>(place: &'a Path, booted: &Path) -> Option<&'a Path> {
    let is_there = || std::fs::symlink_metadata(place).is_ok_and(|meta| meta.is_dir());
    // It makes the directory itself when it gives the first number.
    let made = || booted.is_dir() && DirBuilder::new().mode(0o755).create(place).is_ok();
    (is_there() || made()).then_some(place)
}

/// What a former version of this process had.
pub fn have(service: String, id: u32, lock: OwnedFd) {
    KNOWN.with_borrow_mut(|known| known.insert(service, Claim { id, lock: Some(lock) }));
}

/// What the next version is to have.
pub fn leave() -> Vec<DynamicUserState> {
    let state = |(service, claim): (&String, &Claim)| {
        let lock = Fd(claim.lock.as_ref()?.as_raw_fd());
        Some(DynamicUserState { service: service.clone(), id: claim.id, lock })
    };
    KNOWN.with_borrow(|known| known.iter().filter_map(state).collect())
}

/// Locks systemd's file of a number; `None` where somebody else has it.
fn lock(systemd: &Path, id: u32, service: &str) -> Option<OwnedFd> {
    /// Whoever gives a number back removes the file, locked: then it is another one that counts.
    const ROUNDS: usize = 8;
    for _ in 0..ROUNDS {
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(NO_LINK)
            .clone();
        let mut file = options.open(systemd.join(id.to_string())).ok()?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        let meta = file.metadata().ok()?;
        if !meta.is_file() {
            return None;
        }
        if meta.nlink() == 0 {
            continue;
        }
        // The name, as systemd writes that of its user. Nobody reads it but people.
        let _ = file.set_len(0).and_then(|()| file.write_all(format!("{service}\n").as_bytes()));
        return Some(file.into());
    }
    None
}

fn claim(
    place: &Path,
    systemd: Option<&Path>,
    service: &str,
    taken: impl Fn() -> HashSet<u32>,
) -> Result<Claim, String> {
    if service.is_empty() {
        return Err("a service without a name has no user".to_owned());
    }
    for (dir, mode) in place.parent().map(|above| (above, 0o755)).into_iter().chain([(place, 0o700)]) {
        let made = DirBuilder::new().mode(mode).create(dir);
        if let Some(error) = made.err().filter(|error| error.kind() != ErrorKind::AlreadyExists) {
            return Err(format!("{}: {}", dir.display(), crate::machine::percent_m(&error)));
        }
        let own = rustix::process::geteuid().as_raw();
        let fine = std::fs::symlink_metadata(dir)
            .is_ok_and(|meta| meta.is_dir() && meta.uid() == own && meta.mode() & 0o022 == 0);
        if !fine {
            return Err(format!("{} is no directory that is ours alone to write", dir.display()));
        }
    }
    // The number with its lock; nothing where it is systemd's.
    let locked = |id| match systemd {
        None => Some(Claim { id, lock: None }),
        Some(systemd) => lock(systemd, id, service).map(|lock| Claim { id, lock: Some(lock) }),
    };
    let mut used = None;
    for candidate in candidates(service) {
        let path = place.join(candidate.to_string());
        match OpenOptions::new().read(true).custom_flags(NO_LINK).open(&path) {
            Ok(file) => {
                let mut name = Vec::new();
                let read = file.take(4096).read_to_end(&mut name);
                if read.is_ok()
                    && name == service.as_bytes()
                    && let Some(claim) = locked(candidate)
                {
                    return Ok(claim);
                }
                // Another one's.
                continue;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) => continue,
        }
        if used.get_or_insert_with(&taken).contains(&candidate) {
            continue;
        }
        let Some(claim) = locked(candidate) else { continue };
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made.and_then(|mut file| file.write_all(service.as_bytes())) {
            Ok(()) => return Ok(claim),
            // Another daemon was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("{}: {}", path.display(), crate::machine::percent_m(&error))),
        }
    }
    Err(format!("of {TRIES} numbers from {FIRST} on that its name comes to none is free"))
}

/// By the name alone, so that it has the same one after a boot where that is free.
fn candidates(service: &str) -> impl Iterator<Item = u32> {
    // FNV-1a, as it will ever be.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = service.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    (0..TRIES).map(move |number| {
        let hash = number.to_le_bytes().into_iter().fold(hash, step);
        FIRST + u32::try_from((hash >> 32) % u64::from(COUNT)).unwrap_or(0)
    })
}

/// Numbers of users and groups that there are, or that a process has.
fn taken() -> HashSet<u32> {
    let mut all = HashSet::new();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let names = |path: &str| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).collect::<Vec<_>>()
    };
    for (file, fields) in [("/etc/passwd", &[2, 3][..]), ("/etc/group", &[2][..])] {
        for line in read(Path::new(file)).lines() {
            let parts: Vec<&str> = line.split(':').collect();
            all.extend(fields.iter().filter_map(|&field| parts.get(field)?.parse::<u32>().ok()));
        }
    }
    all.extend(names(SYSTEMD));
    for pid in names("/proc") {
        let status = read(&Path::new("/proc").join(pid.to_string()).join("status"));
        for line in status.lines() {
            let ids = ["Uid:", "Gid:", "Groups:"].iter().find_map(|key| line.strip_prefix(key));
            all.extend(
                ids.into_iter()
                    .flat_map(|ids| ids.split_ascii_whitespace())
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_one_number_and_no_other_has_it() {
        let place = std::env::temp_dir().join(format!("portreeve-dynamic-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&place);
        DirBuilder::new().mode(0o755).create(&place).unwrap();
        let dir = place.join("ids");
        let nobody = HashSet::new;
        let claim = |dir: &Path, name: &str, taken: &dyn Fn() -> HashSet<u32>| {
            claim(dir, None, name, taken).map(|claim| claim.id)
        };
        let first = claim(&dir, "a", &nobody).unwrap();
        assert!((FIRST..FIRST + COUNT).contains(&first));
        // Its own processes run by now.
        assert_eq!(claim(&dir, "a", &|| HashSet::from([first])), Ok(first));
        let other = claim(&dir, "../a", &nobody).unwrap();
        assert_ne!(other, first);
        // Whoever has the number keeps it.
        std::fs::remove_file(dir.join(first.to_string())).unwrap();
        let moved = claim(&dir, "a", &|| HashSet::from([first])).unwrap();
        assert!(moved != first && moved != other);
        // A link there is nobody's name.
        std::fs::remove_dir_all(&dir).unwrap();
        DirBuilder::new().mode(0o700).create(&dir).unwrap();
        std::fs::write(place.join("name"), "a").unwrap();
        std::os::unix::fs::symlink(place.join("name"), dir.join(first.to_string())).unwrap();
        assert_ne!(claim(&dir, "a", &nobody).unwrap(), first);
        let all = || (FIRST..FIRST + COUNT).collect();
        assert!(claim(&dir, "b", &all).unwrap_err().contains("none is free"));
        // Neither is one that others may write.
        let open = place.join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(claim(&open, "a", &nobody).is_err());
        std::fs::remove_dir_all(&place).unwrap();
    }

    /// By systemd's protocol: a number of which somebody has locked the file is another one's, and ours are locked.
    #[test]
    fn systemd_and_we_give_no_number_twice() {
        let place = std::env::temp_dir().join(format!("portreeve-dynamic-lock-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&place);
        DirBuilder::new().mode(0o755).create(&place).unwrap();
        let (dir, theirs) = (place.join("ids"), place.join("dynamic-uid"));
        assert_eq!(systemd(&theirs, &place.join("none")), None);
        assert_eq!(systemd(&theirs, &place), Some(theirs.as_path()), "it is made where systemd would");
        let claim = |name: &str| claim(&dir, Some(&theirs), name, HashSet::new).unwrap();
        let file = |id: u32| OpenOptions::new().read(true).open(theirs.join(id.to_string())).unwrap();
        let is_free = |id| rustix::fs::flock(file(id), FlockOperation::NonBlockingLockExclusive).is_ok();
        let first = claim("a");
        assert!(!is_free(first.id));
        assert_eq!(std::fs::read_to_string(theirs.join(first.id.to_string())).unwrap(), "a\n");
        let id = first.id;
        drop(first);
        assert!(is_free(id), "after a crash, say");
        assert_eq!(claim("a").id, id);
        // systemd has given it to somebody meanwhile.
        let held = file(id);
        rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        let other = claim("a");
        assert!(other.id != id && !is_free(other.id));
        drop((held, other));
        // A link there is nobody's file, and leads nowhere.
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::remove_file(theirs.join(id.to_string())).unwrap();
        std::fs::write(place.join("victim"), "text").unwrap();
        std::os::unix::fs::symlink(place.join("victim"), theirs.join(id.to_string())).unwrap();
        assert_ne!(claim("a").id, id);
        assert_eq!(std::fs::read_to_string(place.join("victim")).unwrap(), "text");
        std::fs::remove_dir_all(&place).unwrap();
    }
}
