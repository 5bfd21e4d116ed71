//! The state that a supervisor leaves to its next version: any bytes are read or refused, and what is read is written the same.

use portreeve_handover::State;

/// One input.
pub fn run(input: &[u8]) {
    // Half of the inputs get the head that every state has, so that the records are reached.
    let mut bytes = Vec::new();
    if let Some((first, rest)) = input.split_first()
        && first % 2 == 0
    {
        bytes.extend_from_slice(b"portreeve\0st");
        bytes.extend_from_slice(&portreeve_handover::VERSION.to_le_bytes());
        bytes.extend_from_slice(rest);
    } else {
        bytes.extend_from_slice(input);
    }
    if let Ok((state, _)) = State::decode(&bytes) {
        let again = state.encode().expect("what was read is short enough").0;
        assert!(again == bytes, "what was read is written otherwise");
    }
}
