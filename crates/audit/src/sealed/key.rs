//! Who may sign a baseline: an Ed25519 key in a file of its own, locked by a passphrase (scrypt, ChaCha20-Poly1305) unless told otherwise.
//! The host needs the public half alone, except while it signs. An append key is of one use: each signature names the next one.

use super::entry::{hex, unhex};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// The first line of a key's file, by what the key is for.
const HEADS: [(&str, Use); 2] =
    [("portreeve-integrity-key 1", Use::Any), ("portreeve-integrity-append-key 1", Use::Append)];

/// What is signed begins with this, so that a signature says nothing about anything else.
const CONTEXT: &[u8] = b"portreeve integrity baseline 1\n";

/// scrypt: 2^15 times 1 KiB, a tenth of a second and 32 MiB (RFC 7914, OWASP's floor of 2024).
const COST: u8 = 15;
const SALT: usize = 16;

/// A public key.
pub type Public = [u8; 32];

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The host's key: it signs any baseline.
    Any,
    /// It signs one baseline, after the one that names it.
    Append,
}

/// A key that can sign.
pub struct Key {
    pair: Ed25519KeyPair,
    use_: Use,
    /// Of an append key, for the one that follows it.
    passphrase: Option<Vec<u8>>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&hex(&self.public())).finish()
    }
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the kernel gives no random bytes".to_owned())?;
    Ok(bytes)
}

impl Key {
    /// A new key, and the text of its file.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn generate(use_: Use, passphrase: Option<&[u8]>) -> Result<(Self, String), String> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| "no key can be made".to_owned())?;
        let key = Self::of(document.as_ref(), use_, passphrase)?;
        let secret = match passphrase {
            None => format!("plain {}", hex(document.as_ref())),
            Some(passphrase) => {
                let (salt, nonce) = (random::<SALT>()?, random::<NONCE_LEN>()?);
                let mut sealed = document.as_ref().to_vec();
                lock(passphrase, &salt, COST)?
                    .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
                    .map_err(|_| "the key cannot be locked".to_owned())?;
                format!("scrypt {COST} {} {} {}", hex(&salt), hex(&nonce), hex(&sealed))
            }
        };
        let head = HEADS.iter().find(|(_, of)| *of == use_).map_or("", |(head, _)| *head);
        let text = format!("{head}\npublic {}\nsecret {secret}\n", hex(&key.public()));
        Ok((key, text))
    }

    /// The append key that follows this one, and the text of its file, locked as this one is.
    ///
    /// # Errors
    /// As [`Key::generate`].
    pub fn next(&self) -> Result<(Self, String), String> {
        Self::generate(Use::Append, self.passphrase.as_deref())
    }

    fn of(document: &[u8], use_: Use, passphrase: Option<&[u8]>) -> Result<Self, String> {
        let pair = Ed25519KeyPair::from_pkcs8(document).map_err(|_| "it is no Ed25519 key".to_owned())?;
        let passphrase = passphrase.filter(|_| use_ == Use::Append).map(<[u8]>::to_vec);
        Ok(Key { pair, use_, passphrase })
    }

    /// Reads a key's file; the passphrase is asked for only where it is locked.
    ///
    /// # Errors
    /// It is no such file, or the passphrase is another one.
    pub fn read(text: &str, passphrase: impl FnOnce() -> Result<Vec<u8>, String>) -> Result<Self, String> {
        let lines: Vec<&str> = text.lines().collect();
        let use_ = |head: &str| HEADS.iter().find(|(own, _)| *own == head).map(|(_, of)| *of);
        let (use_, secret) = match lines[..] {
            [head, _, secret] => use_(head).map(|use_| (use_, secret)),
            _ => None,
        }
        .ok_or("it is no key of portreeve integrity")?;
        let words: Vec<&str> = secret.split(' ').collect();
        let damaged = || "the key is damaged".to_owned();
        let key = match words[..] {
            ["secret", "plain", document] => Self::of(&bytes(document).ok_or_else(damaged)?, use_, None)?,
            ["secret", "scrypt", cost, salt, nonce, sealed] => {
                let cost = cost.parse().ok().filter(|cost| (10..=20).contains(cost)).ok_or_else(damaged)?;
                let salt = unhex::<SALT>(salt).ok_or_else(damaged)?;
                let nonce = unhex::<NONCE_LEN>(nonce).ok_or_else(damaged)?;
                let mut sealed = bytes(sealed).ok_or_else(damaged)?;
                let passphrase = passphrase()?;
                let document = lock(&passphrase, &salt, cost)?
                    .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
                    .map_err(|_| "the passphrase is another one, or the key is damaged".to_owned())?
                    .to_vec();
                Self::of(&document, use_, Some(&passphrase))?
            }
            _ => return Err(damaged()),
        };
        if public_of(text) == Some(key.public()) { Ok(key) } else { Err(damaged()) }
    }

    /// What it is for.
    pub fn use_(&self) -> Use {
        self.use_
    }

    /// A secret that only this key has, for what a run leaves behind for the next one.
    pub fn secret(&self, purpose: &str) -> [u8; 32] {
        let message = [b"portreeve integrity secret 1\n", purpose.as_bytes()].concat();
        super::hash::Hash::Sha256.once(self.pair.sign(&message).as_ref())
    }

    /// Its public half.
    pub fn public(&self) -> Public {
        let mut public = [0; 32];
        public.copy_from_slice(self.pair.public_key().as_ref());
        public
    }

    /// Signs the digest of a baseline.
    pub fn sign(&self, digest: &[u8; 32]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(&message(digest)).as_ref());
        signature
    }
}

/// The public half that a key's file names, or the file of a public key alone.
pub fn public_of(text: &str) -> Option<Public> {
    let line = text.lines().find_map(|line| line.strip_prefix("public "));
    unhex(line.unwrap_or(text).trim())
}

/// Whether this key has signed this digest.
pub fn is_signed(public: &Public, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(&message(digest), signature).is_ok()
}

fn message(digest: &[u8; 32]) -> Vec<u8> {
    [CONTEXT, digest].concat()
}

fn lock(passphrase: &[u8], salt: &[u8; SALT], cost: u8) -> Result<LessSafeKey, String> {
    let refused = |_| "scrypt refuses these parameters".to_owned();
    let parameters = scrypt::Params::new(cost, 8, 1).map_err(refused)?;
    let mut key = [0; 32];
    scrypt::scrypt(passphrase, salt, &parameters, &mut key).map_err(|_| "scrypt failed".to_owned())?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(|_| "no key of this length".to_owned())?;
    Ok(LessSafeKey::new(key))
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() > 1024 {
        return None;
    }
    (0..text.len() / 2).map(|at| unhex::<1>(text.get(2 * at..2 * at + 2)?).map(|[byte]| byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> Result<Vec<u8>, String> {
        panic!("no passphrase is needed")
    }

    #[test]
    fn a_locked_key_opens_with_its_passphrase_alone() {
        let (key, text) = Key::generate(Use::Append, Some(b"correct horse")).unwrap();
        let again = Key::read(&text, || Ok(b"correct horse".to_vec())).unwrap();
        assert_eq!(again.public(), key.public());
        assert!(Key::read(&text, || Ok(b"wrong".to_vec())).unwrap_err().contains("passphrase"));
        assert_eq!(public_of(&text), Some(key.public()));
        assert_eq!((again.use_(), again.secret("x")), (Use::Append, key.secret("x")));
        assert_ne!(key.secret("x"), key.secret("y"));
        let (next, text) = again.next().unwrap();
        assert_ne!(next.public(), key.public());
        assert_eq!(Key::read(&text, || Ok(b"correct horse".to_vec())).unwrap().public(), next.public());
    }

    #[test]
    fn what_is_signed_is_that_digest_by_that_key() {
        let (key, text) = Key::generate(Use::Any, None).unwrap();
        let key = Key::read(&text, never).map(|again| (again.sign(&[7; 32]), key)).unwrap();
        assert!(is_signed(&key.1.public(), &[7; 32], &key.0));
        assert!(!is_signed(&key.1.public(), &[8; 32], &key.0));
        let (other, _) = Key::generate(Use::Any, None).unwrap();
        assert!(!is_signed(&other.public(), &[7; 32], &key.0));
    }

    #[test]
    fn damaged_files_are_refused() {
        let (_, text) = Key::generate(Use::Any, None).unwrap();
        let (_, other) = Key::generate(Use::Any, None).unwrap();
        let head = HEADS[0].0;
        let swapped =
            format!("{head}\n{}\n{}\n", other.lines().nth(1).unwrap(), text.lines().nth(2).unwrap());
        for text in ["", head, &text[..text.len() - 3], &swapped, &text.replace("plain", "scrypt 99 00 00")] {
            assert!(Key::read(text, never).is_err(), "{text}");
        }
    }
}
