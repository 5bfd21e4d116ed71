//! Who may sign which baseline. The host's key signs any. A baseline may name one successor: a key that signs the next one alone, which names
//! the key after it; whoever signs forgets the former key. So who holds today's append key can add to the chain and change nothing of it.

use super::chain::{Baseline, Digest, Store};
use super::entry::hex;
use super::key::Public;

/// Most baselines that are gone through.
const MOST: u32 = 1_000_000;

/// Who vouches for a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The host's key itself.
    Signed,
    /// An append key, that the host's key named in the baseline of this number or let name.
    Appended(u32),
}

/// Whether a baseline follows the one before it, as far as the two themselves tell. `None`: it does.
pub fn broken(baseline: &Baseline, former: &Baseline, host_key: &Public) -> Option<&'static str> {
    let (now, before) = (&baseline.header, &former.header);
    if now.parent != Some(former.digest) {
        return Some("does not follow the one before it");
    }
    if now.signer == *host_key {
        return None;
    }
    if before.successor != Some(now.signer) {
        return Some("signed by another key than the one before it allows");
    }
    // What is looked at is the host key's to say: an append key could let everything be left out.
    if now.rules != before.rules || now.hash != before.hash {
        return Some("an append key has changed what is looked at");
    }
    None
}

impl Store {
    fn before(&self, baseline: &Baseline) -> Result<Option<Baseline>, String> {
        let number = baseline.number.checked_sub(1).filter(|number| *number > 0);
        match number {
            Some(number) if self.numbers()?.contains(&number) => self.open(number).map(Some),
            _ => Ok(None),
        }
    }

    /// Who vouches for a baseline, given the host's key.
    ///
    /// # Errors
    /// Nobody does.
    pub fn standing(&self, baseline: &Baseline, host_key: &Public) -> Result<Standing, String> {
        if baseline.header.signer == *host_key {
            return Ok(Standing::Signed);
        }
        let refused = |of: &Baseline, why: &str| {
            let (signer, trusted) = (hex(&baseline.header.signer), hex(host_key));
            Err(format!(
                "baseline {}: it is signed by the key {signer}, not by the key {trusted} that is trusted, nor by one that it let append: baseline {} {why}",
                baseline.number, of.number
            ))
        };
        let Some(mut former) = self.before(baseline)? else {
            return refused(baseline, "has none before it");
        };
        if let Some(why) = broken(baseline, &former, host_key) {
            return refused(baseline, why);
        }
        for _ in 0..MOST {
            if former.header.signer == *host_key {
                return Ok(Standing::Appended(former.number));
            }
            let Some(earlier) = self.before(&former)? else {
                return refused(&former, "has none before it");
            };
            if let Some(why) = broken(&former, &earlier, host_key) {
                return refused(&former, why);
            }
            former = earlier;
        }
        refused(&former, "is too far from its beginning")
    }

    /// Whether a baseline with this digest leads to `baseline`, each being the one before the next; its number.
    ///
    /// # Errors
    /// None does: the chain was written anew, or cut.
    pub fn anchored(&self, baseline: &Baseline, anchor: &Digest) -> Result<u32, String> {
        if baseline.digest == *anchor {
            return Ok(baseline.number);
        }
        let missing = || {
            format!(
                "no baseline up to {} has the digest {}: the chain is not the one that was written down",
                baseline.number,
                hex(anchor)
            )
        };
        let mut parent = baseline.header.parent;
        let mut former = self.before(baseline)?;
        for _ in 0..MOST {
            let Some(now) = former.filter(|former| parent == Some(former.digest)) else { break };
            if now.digest == *anchor {
                return Ok(now.number);
            }
            parent = now.header.parent;
            former = self.before(&now)?;
        }
        Err(missing())
    }
}
