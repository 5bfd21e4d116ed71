//! Programs that lie where somebody else answers (NFS, FUSE; `sys::mounts`) and are to be verified: looking such a path up may wait for
//! ever, so nobody here does. A process of `portreeve` opens and reads it into memory that is sealed then, and that memory is what is
//! started: whatever its file system does afterwards, nobody waits for it. Decides how old a look may be, and who is served meanwhile;
//! which content may be started decides `verify`.

use crate::hashing::{Job, MOST_ELSEWHERE, identity_of, identity_text};
use crate::supervisor::Supervisor;
use portreeve_conf::{ProgramDigest, digest_text, program_digest};
use portreeve_handover::ElsewhereState;
use portreeve_sys::source::Identity;
use portreeve_sys::spawn::Stays;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// By a look of this age clients are served; for a younger one they wait.
const FRESH: Duration = Duration::from_secs(1);
/// So long do they wait for it. Then what was read before is started, where there is any.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of all programs that are held.
const MOST_BYTES: u64 = 256 << 20;

/// A content that was read.
#[derive(Debug)]
pub struct Content {
    /// What tells it from others.
    pub identity: Identity,
    /// Its SHA-256.
    pub digest: ProgramDigest,
    /// How it is executed.
    pub stays: Stays,
    /// Others than root may write to the file.
    pub is_loose: bool,
    /// The memory that holds it.
    pub memory: OwnedFd,
}

/// What is known of one path.
#[derive(Debug, Default)]
struct Known {
    content: Option<Content>,
    /// Why there is none.
    why: String,
    /// When the last look ended.
    looked: Option<Duration>,
    /// When the one began that is under way.
    began: Option<Duration>,
    /// Bytes that it may take.
    claim: u64,
    /// The last look found nobody who answers: nobody waits for the next one.
    silent: bool,
}

/// All of them, by their paths.
#[derive(Debug, Default)]
pub struct Elsewhere(HashMap<String, Known>);

/// What may be said of a program now.
#[derive(Debug)]
pub enum Seen {
    /// A look is under way, and it is worth to wait for it.
    UnderWay,
    /// This is its content.
    This(ProgramDigest, Stays, OwnedFd),
    /// This is, and others than root may write to the file.
    Loose(Stays, OwnedFd),
    /// There is none: why.
    Nothing(String),
}

/// What a look came to.
#[derive(Debug)]
pub enum Found {
    /// It is what it was.
    Same,
    /// It is this.
    Other(Content),
    /// It cannot be read, and its file system says why.
    Nothing(String),
    /// Nobody has answered.
    Silence,
}

impl Elsewhere {
    /// What there is, for the next version: it serves although nobody answers.
    pub fn leave(&self) -> Vec<ElsewhereState> {
        let of = |(server, content): (&str, &Content)| ElsewhereState {
            server: server.to_owned(),
            identity: identity_text(&content.identity),
            digest: digest_text(&content.digest),
            script: content.stays == Stays::Open,
            memory: crate::handover::fd(&content.memory),
        };
        // The next version looks by itself at what only a warning lets be started.
        self.contents().filter(|(_, content)| !content.is_loose).map(of).collect()
    }

    /// What the former version has left.
    pub fn take_over(&mut self, left: ElsewhereState, memory: OwnedFd) {
        let (Some(identity), Some(digest)) = (identity_of(&left.identity), program_digest(&left.digest))
        else {
            return;
        };
        let stays = if left.script { Stays::Open } else { Stays::Closed };
        let content = Content { identity, digest, stays, is_loose: false, memory };
        self.0.entry(left.server).or_default().content = Some(content);
    }

    fn contents(&self) -> impl Iterator<Item = (&str, &Content)> {
        self.0.iter().filter_map(|(server, known)| Some((server.as_str(), known.content.as_ref()?)))
    }

    /// Forgets the programs of services that are gone.
    pub fn keep_only(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.0.retain(|server, known| known.began.is_some() || is_wanted(server));
    }

    fn held(&self) -> u64 {
        self.contents().fold(0, |all, (_, content)| all.saturating_add(content.identity.size))
    }

    /// What a look at this program may take: half of what nobody holds or may take by now, so that all that are read at once stay within
    /// the bound, and one that never ends leaves room for the next.
    fn room(&self, server: &str) -> u64 {
        let under_way = self.0.values().filter(|known| known.began.is_some());
        let claimed = under_way.fold(0_u64, |all, known| all.saturating_add(known.claim));
        let own = self.0.get(server).and_then(|known| known.content.as_ref());
        let others = self.held().saturating_sub(own.map_or(0, |content| content.identity.size));
        MOST_BYTES.saturating_sub(others).saturating_sub(claimed) / 2
    }
}

impl Supervisor {
    /// What is known of a program there; begins a look where that is too old.
    pub fn seen_elsewhere(&mut self, server: &str) -> Seen {
        let now = self.stamp.mono();
        let known = self.elsewhere.0.entry(server.to_owned()).or_default();
        let stale = known.looked.is_none_or(|at| now.saturating_sub(at) >= FRESH);
        if stale && known.began.is_none() {
            self.look_elsewhere(server);
        }
        let known = self.elsewhere.0.entry(server.to_owned()).or_default();
        if let Some(began) = known.began
            && !known.silent
        {
            if now.saturating_sub(began) < PATIENCE {
                return Seen::UnderWay;
            }
            known.silent = true;
        }
        match &known.content {
            None if known.why.is_empty() => Seen::Nothing(SILENCE.to_owned()),
            None => Seen::Nothing(known.why.clone()),
            Some(content) => match rustix::io::fcntl_dupfd_cloexec(&content.memory, 3) {
                Ok(memory) if content.is_loose => Seen::Loose(content.stays, memory),
                Ok(memory) => Seen::This(content.digest, content.stays, memory),
                Err(errno) => Seen::Nothing(format!("it cannot be opened: {}", text(errno))),
            },
        }
    }

    fn look_elsewhere(&mut self, server: &str) {
        if self.hashing.elsewhere() >= MOST_ELSEWHERE {
            return;
        }
        let room = self.elsewhere.room(server);
        let known = self.elsewhere.0.entry(server.to_owned()).or_default();
        let own = known.content.as_ref();
        let former = own.filter(|content| !content.is_loose).map(|content| content.identity);
        let begun = memory(server).map_err(text).and_then(|memory| {
            let job = Job::Elsewhere { server: server.to_owned(), memory, former, room };
            self.begin_hashing(job)
        });
        let known = self.elsewhere.0.entry(server.to_owned()).or_default();
        match begun {
            Ok(()) => (known.began, known.claim) = (Some(self.stamp.mono()), room),
            Err(why) => {
                known.why = format!("it could not be hashed: {why}");
                known.looked = Some(self.stamp.mono());
            }
        }
    }

    /// A look is over: whoever waited for it goes on.
    pub fn looked_elsewhere(&mut self, server: &str, found: Found) {
        let now = self.stamp.mono();
        let held = self.elsewhere.held();
        let Some(known) = self.elsewhere.0.get_mut(server) else { return };
        (known.began, known.looked) = (None, Some(now));
        known.silent = matches!(found, Found::Silence);
        let others = held - known.content.as_ref().map_or(0, |content| content.identity.size);
        match found {
            Found::Same => known.why.clear(),
            // What another holds may have grown meanwhile.
            Found::Other(content) if others.saturating_add(content.identity.size) > MOST_BYTES => {
                known.why = format!("there is no room for its {} bytes", content.identity.size);
                known.content = None;
            }
            Found::Other(content) => {
                known.why.clear();
                known.content = Some(content);
            }
            Found::Nothing(why) => {
                known.why = why;
                known.content = None;
            }
            Found::Silence => known.why = SILENCE.to_owned(),
        }
        self.programs_known(|slot| slot.verified.awaits.is_none() && crate::verify::is_of(slot, server));
    }
}

const SILENCE: &str = "its file system does not answer";

/// Room for a program, named as it is.
fn memory(server: &str) -> Result<OwnedFd, Errno> {
    let name = Path::new(server).file_name().map_or(&b"program"[..], OsStr::as_bytes);
    let name = CString::new(name.get(..200).unwrap_or(name)).unwrap_or_default();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(&name, flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 all may be executed.
        Err(Errno::INVAL) => memfd_create(&name, flags),
        other => other,
    }
}

/// From now on nobody changes it.
pub fn seal(memory: &OwnedFd) -> Result<(), Errno> {
    fcntl_add_seals(memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)
}

fn text(errno: Errno) -> String {
    crate::machine::error_text(&errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_are_read_at_once_stay_within_the_bound() {
        let mut elsewhere = Elsewhere::default();
        let mut all = 0;
        for n in 0..MOST_ELSEWHERE {
            let room = elsewhere.room(&n.to_string());
            assert!(room > 0, "{n}");
            all += room;
            let known = Known { began: Some(Duration::ZERO), claim: room, ..Known::default() };
            elsewhere.0.insert(n.to_string(), known);
        }
        assert!(all <= MOST_BYTES, "{all}");
        // One that is over takes nothing any more.
        elsewhere.0.values_mut().for_each(|known| known.began = None);
        assert_eq!(elsewhere.room("next"), MOST_BYTES / 2);
    }
}
