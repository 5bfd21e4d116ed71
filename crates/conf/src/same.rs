//! Whether two readings of a service are one service to its clients: all is equal but where it stands in the files.

use crate::service::Service;

impl Service {
    /// Whether clients are served the same by both: all is equal but where it stands in the files.
    pub fn serves_as(&self, other: &Service) -> bool {
        let places = |s: &Self| (s.place.clone(), s.action_place.clone(), s.only_from_place.clone());
        if places(self) == places(other) {
            return self == other;
        }
        let moved = Service {
            place: self.place.clone(),
            action_place: self.action_place.clone(),
            only_from_place: self.only_from_place.clone(),
            sandbox: other.sandbox.clone().map(|mut sandbox| {
                sandbox.place = self.sandbox.as_ref().and_then(|own| own.place.clone());
                sandbox
            }),
            ..other.clone()
        };
        *self == moved
    }
}
