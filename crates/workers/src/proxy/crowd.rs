//! Who must go first where too many flows are: the oldest that was never answered, then the oldest whose client has said nothing
//! since the answer. Whoever forges a source sees no answer; so a flow whose client goes on is never given up for another.

use std::collections::VecDeque;

/// How much is known of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// The target has not answered.
    Young,
    /// It has.
    Answered,
    /// And the client has said something since.
    Known,
}

/// The flows of one service, or of one source of it.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    pub(super) count: usize,
    /// In the order of their beginning; some have grown up or are gone.
    young: VecDeque<u64>,
    /// In the order of their first answer; likewise.
    answered: VecDeque<u64>,
}

impl Crowd {
    /// A flow has come to this age.
    pub(super) fn note(&mut self, number: u64, age: Age, age_of: impl Fn(u64) -> Option<Age>) {
        let queue = match age {
            Age::Young => &mut self.young,
            Age::Answered => &mut self.answered,
            Age::Known => return,
        };
        queue.push_back(number);
        // Most leave without having to make room.
        if queue.len() > 2 * self.count + 64 {
            queue.retain(|&number| age_of(number) == Some(age));
        }
    }

    /// The one that must go first; it is not in the queues any more.
    pub(super) fn first(&mut self, age_of: impl Fn(u64) -> Option<Age>) -> Option<u64> {
        for (queue, age) in [(&mut self.young, Age::Young), (&mut self.answered, Age::Answered)] {
            while let Some(number) = queue.pop_front() {
                if age_of(number) == Some(age) {
                    return Some(number);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_oldest_without_an_answer_goes_first_and_who_goes_on_stays() {
        let mut ages = HashMap::new();
        let mut crowd = Crowd::default();
        let come = |crowd: &mut Crowd, ages: &mut HashMap<u64, Age>, number, age| {
            crowd.count = ages.len();
            ages.insert(number, age);
            crowd.note(number, age, |number| ages.get(&number).copied());
        };
        for number in 0..4 {
            come(&mut crowd, &mut ages, number, Age::Young);
        }
        come(&mut crowd, &mut ages, 0, Age::Answered);
        come(&mut crowd, &mut ages, 2, Age::Answered);
        come(&mut crowd, &mut ages, 2, Age::Known);
        let mut go = |crowd: &mut Crowd| {
            let number = crowd.first(|number| ages.get(&number).copied());
            number.map(|number| ages.remove(&number));
            number
        };
        assert_eq!([(); 5].map(|()| go(&mut crowd)), [Some(1), Some(3), Some(0), None, None]);
    }

    #[test]
    fn those_that_are_gone_take_no_room() {
        let mut crowd = Crowd { count: 1, ..Crowd::default() };
        for number in 0..10_000 {
            crowd.note(number, Age::Young, |other| (other == number).then_some(Age::Young));
        }
        assert!(crowd.young.len() <= 66, "{}", crowd.young.len());
    }
}
