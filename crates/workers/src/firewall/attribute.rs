//! Messages of netlink and their attributes (netlink(7); libnl's "attributes"): written into one buffer, read without a copy.
//! Knows no message of its own.

/// Length of a netlink header.
pub(super) const HEADER: usize = 16;
/// Length of a netfilter header.
const NFGEN: usize = 4;
/// Marks an attribute that holds others.
const NESTED: u16 = 0x8000;
const KIND: u16 = 0x3fff;

/// This message is a request.
pub(super) const REQUEST: u16 = 1;
/// It wants to be acknowledged.
pub(super) const ACK: u16 = 4;
/// All of a kind, please.
pub(super) const DUMP: u16 = 0x300;
/// Make it, if it is not there.
pub(super) const CREATE: u16 = 0x400;
/// Behind the others.
pub(super) const APPEND: u16 = 0x800;

/// Messages one behind the other.
#[derive(Debug, Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    /// Where the last message begins.
    begin: usize,
    sequence: u32,
}

impl Messages {
    pub(super) fn starting_at(sequence: u32) -> Self {
        Messages { bytes: Vec::new(), begin: 0, sequence }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number that the next message will have.
    pub(super) fn next_sequence(&self) -> u32 {
        self.sequence
    }

    /// Length of the message that is being written.
    pub(super) fn message_len(&self) -> usize {
        self.bytes.len() - self.begin
    }

    /// Begins a message. `resource` is the netfilter header's last field, in host order.
    pub(super) fn begin(&mut self, kind: u16, flags: u16, family: u8, resource: u16) {
        self.begin = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        self.end();
    }

    /// Puts the length of the message that was begun last into its header.
    fn end(&mut self) {
        let length = u32::try_from(self.message_len()).unwrap_or(u32::MAX);
        if let Some(field) = self.bytes.get_mut(self.begin..self.begin + 4) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
    }

    /// The message that was begun last is to be acknowledged; its number.
    pub(super) fn acknowledge(&mut self) -> u32 {
        if let Some(field) = self.bytes.get_mut(self.begin + 6..self.begin + 8) {
            let flags = u16::from_ne_bytes([field[0], field[1]]) | ACK;
            field.copy_from_slice(&flags.to_ne_bytes());
        }
        self.sequence.wrapping_sub(1)
    }

    /// An attribute with bytes.
    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        let at = self.open_as(kind);
        self.bytes.extend_from_slice(value);
        self.close(at);
    }

    pub(super) fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    pub(super) fn put_u64(&mut self, kind: u16, value: u64) {
        self.put(kind, &value.to_be_bytes());
    }

    /// An attribute with a string, which gets its NUL.
    pub(super) fn put_str(&mut self, kind: u16, value: &str) {
        let at = self.open_as(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.close(at);
    }

    /// An attribute that holds what `fill` writes.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let at = self.open(kind);
        fill(self);
        self.close(at);
    }

    /// Begins an attribute that holds others; [`Messages::close`] ends it.
    pub(super) fn open(&mut self, kind: u16) -> usize {
        self.open_as(kind | NESTED)
    }

    fn open_as(&mut self, kind: u16) -> usize {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        at
    }

    /// Ends an attribute, its padding included.
    pub(super) fn close(&mut self, at: usize) {
        let length = u16::try_from(self.bytes.len() - at).unwrap_or(u16::MAX);
        if let Some(field) = self.bytes.get_mut(at..at + 2) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.end();
    }
}

/// One message that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    /// In an answer our own socket, in a notification the socket of whoever made the change.
    pub(super) port: u32,
    /// What follows the netlink header.
    pub(super) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The family in the netfilter header.
    pub(super) fn family(&self) -> u8 {
        self.body.first().copied().unwrap_or(0)
    }

    /// The attributes behind the netfilter header.
    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes(self.body.get(NFGEN..).unwrap_or_default())
    }

    /// The error that the message reports; 0 is an acknowledgement.
    pub(super) fn error(&self) -> Option<i32> {
        self.body.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes)
    }
}

/// The messages in what was received; what is cut off or nonsense ends it.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let number = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let length = usize::try_from(number(0)?).ok()?;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let (sequence, port) = (number(8)?, number(12)?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, sequence, port, body })
    })
}

/// Attributes one behind the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The first of a kind.
    pub(super) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find(|(k, _)| *k == kind).map(|(_, value)| value)
    }

    pub(super) fn nested(self, kind: u16) -> Option<Attributes<'a>> {
        self.get(kind).map(Attributes)
    }

    pub(super) fn u32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    pub(super) fn u64(self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// A string without its NUL.
    pub(super) fn str(self, kind: u16) -> Option<&'a str> {
        let bytes = self.get(kind)?;
        std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(self.0.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?) & KIND;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Messages::starting_at(7);
        out.begin(0x0a01, REQUEST, 1, 10);
        out.put_str(1, "abc");
        out.nest(2, |out| out.put_u64(3, 5));
        out.begin(0x0a02, REQUEST, 2, 0);
        assert_eq!(out.next_sequence(), 9);
        let all: Vec<_> = messages(out.bytes()).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].sequence, all[0].family()), (0x0a01, 7, 1));
        assert_eq!(all[0].attributes().str(1), Some("abc"));
        assert_eq!(all[0].attributes().nested(2).and_then(|nested| nested.u64(3)), Some(5));
        assert_eq!(all[1].attributes().count(), 0);
    }

    #[test]
    fn nonsense_ends_the_reading() {
        for length in [0u32, 3, 15, 21, u32::MAX] {
            let mut bytes = vec![0; 20];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&bytes).count(), 0, "{length}");
        }
        assert_eq!(Attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(Attributes(&[9, 0, 1, 0, 1, 2, 3, 4]).count(), 0);
    }
}
