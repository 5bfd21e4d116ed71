//! Tests of the whole reader, by subject.
