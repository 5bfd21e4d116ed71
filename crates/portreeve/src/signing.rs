//! Who signs the next baseline: the host's key, or an append key. Owns the file of the append key, which is another key after each signature: the
//! former one is overwritten, so that nobody can sign the past with what is found here today.

use crate::escape;
use crate::failure::Failure;
use crate::sealing;
use portreeve_audit::sealed::chain::Baseline;
use portreeve_audit::sealed::entry::hex;
use portreeve_audit::sealed::key::{Key, Public, Use, public_of};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

/// Who signs.
#[derive(clap::Args, Debug)]
pub struct Signing {
    /// The key that signs: the host's, which need not stay on this host, or an append key
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The file that holds its passphrase in its first line; else the terminal is asked
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Make an append key in this file: it may sign what follows, and nothing that is there already
    #[arg(long, value_name = "FILE")]
    pub grant: Option<PathBuf>,
}

/// A key that is ready to sign, and the append key that follows it.
pub struct Signer {
    /// The key.
    pub key: Key,
    next: Option<Next>,
}

/// The append key of the baseline after this one: it waits beside its place.
struct Next {
    public: Public,
    new: PathBuf,
    place: PathBuf,
}

fn beside(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(".next");
    name.into()
}

/// A key that was opened before anything was written. `None` where a run that was cut off left another one beside it.
pub struct Opened(Option<Key>);

impl Signing {
    /// Opens the key; asks for its passphrase.
    ///
    /// # Errors
    /// It cannot be read or opened.
    pub fn open(&self) -> Result<Opened, Failure> {
        if beside(&self.key).exists() {
            return Ok(Opened(None));
        }
        self.read().map(|key| Opened(Some(key)))
    }

    fn read(&self) -> Result<Key, Failure> {
        sealing::key(&self.key, self.passphrase_file.as_deref())
    }
}

impl Signer {
    /// The key, for the baseline that follows `last`. The store is locked meanwhile: two runs must not both make the next key.
    ///
    /// # Errors
    /// It may not sign this one, or the key after it cannot be written.
    pub fn new(signing: &Signing, opened: Opened, last: Option<&Baseline>) -> Result<Self, Failure> {
        settle(&signing.key, last)?;
        if let Some(place) = &signing.grant {
            settle(place, last)?;
        }
        let key = opened.0.map_or_else(|| signing.read(), Ok)?;
        let place = match (key.use_(), &signing.grant) {
            (Use::Any, None) => return Ok(Signer { key, next: None }),
            (Use::Any, Some(place)) => place,
            (Use::Append, Some(_)) => {
                return Err(Failure::new("--grant: an append key lets nobody else append"));
            }
            (Use::Append, None) => &signing.key,
        };
        let (next, text) = match key.use_() {
            Use::Any => Key::generate(Use::Append, None),
            Use::Append => {
                may_append(&key, last)?;
                key.next()
            }
        }
        .map_err(Failure::new)?;
        let new = beside(place);
        sealing::write_new(&new, &text, 0o600)?;
        let next = Next { public: next.public(), new, place: place.clone() };
        Ok(Signer { key, next: Some(next) })
    }

    /// Who may sign the next one beside the host's key.
    pub fn successor(&self) -> Option<Public> {
        self.next.as_ref().map(|next| next.public)
    }

    /// The baseline is in the chain: the key that signed it is of no use any more.
    ///
    /// # Errors
    /// The next key cannot be put in its place; it is when this is run again.
    pub fn finished(self) -> Result<(), Failure> {
        self.next.map_or(Ok(()), |next| replace(&next.new, &next.place))
    }
}

fn may_append(key: &Key, last: Option<&Baseline>) -> Result<(), Failure> {
    let Some(last) = last else {
        return Err(Failure::new("an append key signs no first baseline: the host's key does"));
    };
    match last.header.successor {
        Some(successor) if successor == key.public() => Ok(()),
        successor => {
            let named = successor.map_or("none".to_owned(), |key| hex(&key));
            Err(Failure::with_help(
                format!("this append key is {}; baseline {} names {named}", hex(&key.public()), last.number),
                "`--key` with the host's key and `--grant FILE` make another",
            ))
        }
    }
}

/// What a run that was cut off left beside the key: it counts where the last baseline names it.
fn settle(place: &Path, last: Option<&Baseline>) -> Result<(), Failure> {
    let new = beside(place);
    let text = match std::fs::read_to_string(&new) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(sealing::failed(&new, &error)),
    };
    if public_of(&text).is_some() && public_of(&text) == last.and_then(|last| last.header.successor) {
        return replace(&new, place);
    }
    std::fs::remove_file(&new).map_err(|error| sealing::failed(&new, &error))
}

/// Puts a key in the place of another, whose bytes are overwritten first, as far as the file system does what it is told.
fn replace(new: &Path, place: &Path) -> Result<(), Failure> {
    let overwrite = || -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut file = match File::options().write(true).custom_flags(flags).open(place) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(4096);
        file.rewind()?;
        file.write_all(&vec![b'\n'; length])?;
        file.sync_all()
    };
    let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let moved =
        overwrite().and_then(|()| std::fs::rename(new, place)).and_then(|()| File::open(parent)?.sync_all());
    moved.map_err(|error| {
        Failure::with_help(
            format!("{}: {error}", escape::os(place.as_os_str())),
            format!("the next key waits in {}", escape::os(new.as_os_str())),
        )
    })
}
