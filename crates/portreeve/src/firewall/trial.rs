//! A trial of rules: armed first, then loaded, then confirmed or taken back. Whoever changes the kernel's table or the state does
//! it here, under the store's lock. Who may confirm is `proof`'s to say, who takes back when nobody does is `watchdog`'s.

use super::state::{Kept, Loaded, Lock, Outcome, Pending, State, Store, Trial, boot, since_boot};
use super::{TABLE, nft, sessions, text, witness};
use crate::failure::{Failure, system_text};
use portreeve_sys::clock;
use std::time::Duration;

/// From the arming until the rules are loaded; beyond it, whoever loads them is held for dead.
const LOADING: Duration = Duration::from_secs(45);

/// A token that nobody guesses and anybody can type.
fn token() -> Result<String, Failure> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0_u8; 8];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.map_err(|error| Failure::new(format!("/dev/urandom: {}", system_text(&error))))?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

/// This process, and when it began.
fn applier() -> (u32, u64) {
    let own = std::process::id();
    (own, sessions::began(own).unwrap_or(0))
}

/// Whether that process still runs.
pub fn runs((process, began): (u32, u64)) -> bool {
    sessions::began(process) == Some(began)
}

/// Writes down that these rules are about to be tried. From here on they are taken back unless somebody confirms.
///
/// # Errors
/// Another trial is under way; what runs could not be restored; the state could not be written.
pub fn arm(
    store: &Store,
    lock: &Lock,
    table: &str,
    former: Option<String>,
    within: Duration,
) -> Result<Pending, Failure> {
    let mut state = store.read()?;
    if let Some(pending) = &state.pending {
        return Err(Failure::with_help(
            format!("a trial is under way: {} is not confirmed yet", pending.token),
            "`portreeve firewall confirm` or `portreeve firewall rollback` ends it",
        ));
    }
    // What could not be restored must not be taken away.
    nft::check(&text::transaction(former.as_deref())).map_err(|failed| {
        Failure::new(format!("what runs now could not be restored afterwards: {failed}"))
    })?;
    let (within, loading) = (millis(within), millis(LOADING));
    let pending = Pending {
        token: token()?,
        boot: boot(),
        deadline: since_boot().saturating_add(loading).saturating_add(within),
        table: table.to_owned(),
        former,
        applier: applier(),
        loaded: None,
    };
    state.pending = Some(pending.clone());
    store.write(lock, &state)?;
    Ok(pending)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Loads a table outside of a trial, or none: no witness is left.
///
/// # Errors
/// The kernel does not take it; nothing was changed.
pub fn replace(table: Option<&str>, lock: Option<&Lock>) -> Result<(), nft::Failed> {
    nft::load(&format!("{}{}", witness::removal(), text::transaction(table)), lock)
}

/// Loads the rules of an armed trial and its witness, and looks who is connected right after: they came before the rules. Without
/// the witness where the kernel, or nft, does not take it; then says why.
///
/// # Errors
/// The kernel did not take them (nothing was changed); the state could not be written (they were taken back).
pub fn load(
    store: &Store,
    lock: &Lock,
    pending: &Pending,
    witness: &str,
    within: Duration,
) -> Result<Option<String>, Failure> {
    let alone = format!("{}{}", witness::removal(), text::transaction(Some(&pending.table)));
    // One transaction: nobody is noted whom the rules were not asked about.
    let both = format!("{alone}{witness}");
    let unwitnessed = nft::check(&both).err().map(|failed| failed.to_string());
    if let Err(failed) = nft::load(if unwitnessed.is_none() { &both } else { &alone }, Some(lock)) {
        let why = format!("the kernel did not take the rules: {failed}");
        let restored = undo(store, lock, pending, &why);
        return Err(restored.err().unwrap_or_else(|| Failure::new(why)));
    }
    let record = || {
        let connections = sessions::connections().map_err(|error| {
            Failure::new(format!("connections cannot be listed: {}", system_text(&error)))
        })?;
        let at = since_boot();
        let connections = connections.iter().map(|one| one.cookie).collect();
        let mut state = store.read()?;
        state.pending = Some(Pending {
            loaded: Some(Loaded { at, connections, witnessed: unwitnessed.is_none() }),
            deadline: at.saturating_add(millis(within)),
            ..pending.clone()
        });
        store.write(lock, &state)
    };
    record().inspect_err(|why| {
        let _ = undo(store, lock, pending, &why.to_string());
    })?;
    Ok(unwitnessed)
}

/// Takes a trial back: the kernel first, then the state, so that whoever is cut off in between does it again.
///
/// # Errors
/// The kernel does not take the former table, nor none; the state could not be written.
pub fn undo(store: &Store, lock: &Lock, pending: &Pending, why: &str) -> Result<(), Failure> {
    if matches!(store.trial(&pending.token), Trial::Ended) {
        return Ok(());
    }
    let mut why = format!("taken back: {why}");
    if let Err(failed) = replace(pending.former.as_deref(), Some(lock)) {
        // Better no rules of ours than rules that lock everybody out.
        replace(None, Some(lock))
            .map_err(|again| Failure::new(format!("the trial could not be taken back: {failed}; {again}")))?;
        why.push_str(&format!(
            "; the former rules could not be loaded ({failed}): there are none of ours now"
        ));
    }
    let mut state = store.read().unwrap_or_default();
    state.pending = None;
    state.last =
        Some(Outcome { token: pending.token.clone(), confirmed: false, why, at: clock::wall_seconds() });
    store.write(lock, &state)
}

/// Keeps the rules of a trial, and sends the witness away. Should that fail, the watchdogs do it.
///
/// # Errors
/// The state could not be written.
pub fn keep(
    store: &Store,
    lock: &Lock,
    mut state: State,
    pending: &Pending,
    by: &str,
) -> Result<(), Failure> {
    let at = clock::wall_seconds();
    state.confirmed = Some(Kept { table: pending.table.clone(), at, by: by.to_owned() });
    state.before = Some(pending.former.clone());
    state.pending = None;
    state.last = Some(Outcome {
        token: pending.token.clone(),
        confirmed: true,
        why: format!("confirmed by {by}"),
        at,
    });
    store.write(lock, &state)?;
    let _ = nft::load(&witness::removal(), Some(lock));
    Ok(())
}

/// Sends away a witness that its trial left behind.
///
/// # Errors
/// It is told by the store, or by nft.
pub fn tidy(store: &Store, lock: &Lock) -> Result<(), Failure> {
    if store.read()?.pending.is_none() {
        nft::load(&witness::removal(), Some(lock)).map_err(|failed| Failure::new(failed.to_string()))?;
    }
    Ok(())
}

/// Ends what nobody will end: a trial of a former boot, one whose time is over, one whose process died before it loaded anything.
///
/// # Errors
/// As [`undo`].
pub fn settle(store: &Store, lock: &Lock) -> Result<(), Failure> {
    let mut state = store.read()?;
    let Some(pending) = state.pending.clone() else { return Ok(()) };
    if pending.boot != boot() {
        // The kernel began without rules: there is nothing to take back, and what was not confirmed is not loaded.
        state.pending = None;
        let why = "taken back: the host was booted before anybody confirmed".to_owned();
        state.last = Some(Outcome { token: pending.token, confirmed: false, why, at: clock::wall_seconds() });
        return store.write(lock, &state);
    }
    match over(&pending) {
        Some(why) => undo(store, lock, &pending, why),
        None => Ok(()),
    }
}

/// Why a trial of this boot is over, if it is.
pub fn over(pending: &Pending) -> Option<&'static str> {
    if since_boot() >= pending.deadline {
        return Some("nobody confirmed in time");
    }
    (pending.loaded.is_none() && !runs(pending.applier)).then_some("the process that applied it ended")
}

/// Whether the kernel's table is this one.
///
/// # Errors
/// nft does not answer.
pub fn is_loaded(table: &str) -> Result<bool, Failure> {
    let listing = nft::listing(TABLE).map_err(|failed| Failure::new(failed.to_string()))?;
    Ok(listing.is_some_and(|listing| text::difference(&listing, table).is_empty()))
}
