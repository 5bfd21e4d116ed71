//! An attribute of a request: at most 127 bytes, cut silently, as the original's string buffers hold them (reference A10).

/// A short byte string; empty means "not asked for yet".
#[derive(Clone, Copy)]
pub struct Field {
    len: u8,
    bytes: [u8; Field::MAX],
}

impl Field {
    /// The longest text an attribute holds, in bytes.
    pub const MAX: usize = 127;
    /// Nothing yet.
    pub const EMPTY: Self = Self { len: 0, bytes: [0; Self::MAX] };

    /// The text up to its first NUL, cut to [`Field::MAX`] bytes.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut field = Self::EMPTY;
        for (to, from) in field.bytes.iter_mut().zip(text) {
            *to = *from;
            field.len += 1;
        }
        field
    }

    /// The text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The text, to be cleaned in place: its length stays.
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..usize::from(self.len)).unwrap_or_default()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Default for Field {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Field {}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}
