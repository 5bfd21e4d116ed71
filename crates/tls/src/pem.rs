//! PEM (RFC 7468), as far as certificates and keys need it. rustls' own reader would do, but for the copy of a key's text that it
//! leaves in freed memory: here each piece is decoded into memory that is overwritten when it is given back.

use zeroize::Zeroizing;

/// A section that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// A section: its label and what it holds.
pub(crate) type Section<'a> = (&'a [u8], Zeroizing<Vec<u8>>);

/// The sections with one of these labels, in their order. Text between sections, and other sections, are passed over.
pub(crate) fn sections<'a>(
    pem: &'a [u8],
    labels: &[&[u8]],
) -> impl Iterator<Item = Result<Section<'a>, Broken>> {
    let mut lines = pem.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii);
    std::iter::from_fn(move || {
        loop {
            let label = begins(lines.next()?).filter(|label| labels.contains(label));
            if let Some(label) = label {
                return Some(body(&mut lines, label).map(|body| (label, body)).ok_or(Broken));
            }
        }
    })
}

fn begins(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----")
}

fn ends(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(b"-----END ")?.strip_suffix(b"-----")
}

/// Up to the line that ends it. The memory is as much as the letters need, so that it never grows: growing would leave a copy.
fn body<'a>(
    lines: &mut (impl Iterator<Item = &'a [u8]> + Clone),
    label: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let letters: usize = lines.clone().take_while(|line| ends(line).is_none()).map(<[u8]>::len).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(letters));
    // Sextets that are no byte yet, how many, and how many letters of padding have come.
    let (mut pending, mut sextets, mut padding) = (0u32, 0u32, 0u32);
    for line in lines.by_ref() {
        if let Some(end) = ends(line) {
            let whole = match sextets {
                0 => padding == 0,
                2 | 3 => sextets + padding == 4,
                _ => false,
            };
            return (end == label && whole && !out.is_empty()).then_some(out);
        }
        for &letter in line {
            if letter == b'=' {
                padding += 1;
                continue;
            }
            let sextet = sextet(letter).filter(|_| padding == 0)?;
            pending = pending << 6 | sextet;
            sextets += 1;
            // A byte is whole after the second, third and fourth sextet.
            let kept = [None, None, Some(4), Some(2), Some(0)].get(sextets as usize).copied().flatten();
            if let Some(kept) = kept {
                out.push((pending >> kept & 0xff) as u8);
            }
            if sextets == 4 {
                (pending, sextets) = (0, 0);
            }
        }
    }
    None
}

fn sextet(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    const C: &[u8] = b"CERTIFICATE";

    fn read(pem: &[u8]) -> Result<Vec<Vec<u8>>, Broken> {
        sections(pem, &[C]).map(|section| section.map(|(_, bytes)| bytes.to_vec())).collect()
    }

    fn certificate(body: &str) -> Vec<u8> {
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n").into_bytes()
    }

    #[test]
    fn sections_are_found_among_others() {
        for (body, bytes) in [("QQ==", "A"), ("QUI=", "AB"), ("QUJD", "ABC"), ("QU\r\n JD\nRA==", "ABCD")] {
            assert_eq!(read(&certificate(body)), Ok(vec![bytes.into()]), "{body:?}");
        }
        let key = b"text\n-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n";
        let both = [&key[..], &certificate("QQ=="), b"more\n", &certificate("Qg==")].concat();
        assert_eq!(read(&both), Ok(vec![b"A".into(), b"B".into()]));
        let found: Vec<_> = sections(&both, &[b"PRIVATE KEY", C]).map(|found| found.unwrap().0).collect();
        assert_eq!(found, [&b"PRIVATE KEY"[..], C, C]);
        assert_eq!(read(b""), Ok(vec![]));
    }

    #[test]
    fn what_is_broken_is_not_read() {
        for body in [
            "",
            "Q",
            "QQ",
            "QQ=",
            "QQ===",
            "Q===",
            "QUJD=",
            "Q=Q=",
            "Proc-Type: 4,ENCRYPTED\n\nQUJD",
            "Q\0==",
        ] {
            assert_eq!(read(&certificate(body)), Err(Broken), "{body:?}");
        }
        assert_eq!(read(b"-----BEGIN CERTIFICATE-----\nQUJD\n"), Err(Broken), "no end");
        let other = b"-----BEGIN CERTIFICATE-----\nQUJD\n-----END PRIVATE KEY-----\n";
        assert_eq!(read(other), Err(Broken));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes in "(-----(BEGIN|END) CERTIFICATE-----[\n\r]?|[A-Za-z+/=\n :-]{0,9}|\\PC){0,12}") {
            for section in sections(bytes.as_bytes(), &[C]).flatten() {
                prop_assert!(!section.1.is_empty() && section.1.len() < bytes.len());
            }
        }

        /// What rustls' reader makes of it, and nothing else; and nothing grows.
        #[test]
        fn as_rustls_reads_it(bytes in proptest::collection::vec(any::<u8>(), 1..200), width in 4usize..80) {
            let mut text = String::new();
            for chunk in bytes.chunks(3) {
                let n = chunk.iter().fold(0u32, |n, &byte| n << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
                let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
                for at in 0..4 {
                    let letter = letters[(n >> (18 - 6 * at) & 63) as usize];
                    text.push(if at > chunk.len() { '=' } else { char::from(letter) });
                }
            }
            let lines: Vec<_> = text.as_bytes().chunks(width).map(|l| String::from_utf8_lossy(l)).collect();
            let pem = certificate(&lines.join("\n"));
            let theirs = CertificateDer::from_pem_slice(&pem).unwrap();
            prop_assert_eq!(read(&pem).unwrap(), [theirs.to_vec()]);
            let ours = sections(&pem, &[C]).next().unwrap().unwrap().1;
            prop_assert_eq!(ours.capacity(), text.len(), "it has not grown");
        }
    }
}
