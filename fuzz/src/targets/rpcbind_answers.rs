//! Any bytes as what rpcbind sends: records come out whole or not at all, within their bound, however the stream is cut;
//! and an answer is read without a panic, with clean strings and at most so many entries.

#[path = "../../../crates/workers/src/registrar/xdr.rs"]
#[allow(dead_code, reason = "the target reads; the worker also writes")]
mod xdr;

use xdr::{MOST_ENTRIES, Records, Reply, Version};

/// One input.
pub fn run(input: &[u8]) {
    let (mut whole, mut cut) = (Records::default(), Records::default());
    let at_once = whole.feed(input);
    let mut piecewise = Ok(None);
    for byte in input {
        piecewise = cut.feed(std::slice::from_ref(byte));
        if !matches!(piecewise, Ok(None)) {
            break;
        }
    }
    if let Ok(Some(record)) = &at_once {
        assert!(record.len() <= xdr::LONGEST);
        assert_eq!(piecewise.as_ref(), Ok(&Some(record.clone())), "cut otherwise");
    }
    for version in [Version::Four, Version::Three, Version::Two] {
        if let Ok(table) = xdr::table(version, input) {
            assert!(table.len() <= MOST_ENTRIES);
            for entry in &table {
                assert!((entry.netid.bytes().chain(entry.owner.bytes())).all(|b| b.is_ascii_graphic()));
                if let Some(address) = entry.address {
                    assert_eq!(xdr::from_universal(&xdr::universal(address)), Some(address));
                }
            }
        }
    }
    let xid = input.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    if let Ok(Reply::Accepted(result)) = xdr::reply(xid, input) {
        assert!(result.len() < input.len());
        let _ = (xdr::boolean(result), xdr::table(Version::Four, result));
    }
}
