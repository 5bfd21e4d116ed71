//! Values that few services have: one that says nothing takes the room of an address. Decides nothing.

use std::ops::{Deref, DerefMut};

/// A value whose default is known beforehand.
pub trait Nothing: Default + 'static {
    /// The default.
    const NOTHING: &'static Self;
}

/// A value that is mostly the default one; to write to it makes room.
#[derive(Clone, Debug, Default)]
pub struct Rare<T>(Option<Box<T>>);

impl<T> Rare<T> {
    /// One that says something.
    pub fn of(value: T) -> Self {
        Self(Some(Box::new(value)))
    }

    /// Whether nothing was written to it.
    pub fn is_unmade(&self) -> bool {
        self.0.is_none()
    }

    /// The value where there is one to change; makes no room.
    pub fn made(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T: Nothing> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::NOTHING)
    }
}

impl<T: Nothing> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Nothing + PartialEq> PartialEq for Rare<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_unmade() && other.is_unmade() || **self == **other
    }
}

impl<T: Nothing + Eq> Eq for Rare<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rlimits::Rlimits;

    #[test]
    fn what_says_nothing_equals_the_default_and_takes_an_address() {
        assert_eq!(size_of::<Rare<Rlimits>>(), size_of::<usize>());
        let mut limits = Rare::<Rlimits>::default();
        assert_eq!(*limits, Rlimits::default());
        limits.core = Some(Some(1));
        assert_eq!(limits.core, Some(Some(1)));
        assert_ne!(limits, Rare::default());
        limits.core = None;
        assert_eq!(limits, Rare::default());
    }
}
