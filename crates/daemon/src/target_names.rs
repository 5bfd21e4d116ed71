//! Target names of redirected services, looked up again: when the TTL of their addresses is over, every minute where no TTL is known, and
//! at once when a target did not accept. The
//! resolver worker is asked and never waited for; the addresses so far serve until its answer is there.

use crate::slot::SlotId;
use crate::supervisor::Supervisor;
use crate::targets::{Answered, Ask};
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_workers::protocol::{Answer, Family, Question, ToResolver, Worker};

impl Supervisor {
    /// Sets the alarm for the names of a slot.
    pub fn watch_targets(&mut self, id: SlotId) {
        if let Some(next) = self.slots.get(&id).and_then(|slot| slot.targets.next_refresh()) {
            self.timers.set(next, Alarm::Targets(id));
        }
    }

    /// The alarm. One that a reload or an earlier question has overtaken does nothing: another one is set.
    pub fn refresh_targets(&mut self, id: SlotId) {
        let now = self.stamp.mono();
        let next = self.slots.get(&id).and_then(|slot| slot.targets.next_refresh());
        if next.is_some_and(|next| next <= now) && self.stopping.is_none() {
            self.look_up_targets(id, false);
            self.watch_targets(id);
        }
    }

    /// Asks for the names of a slot that are due.
    pub fn look_up_targets(&mut self, id: SlotId, failed: bool) {
        let now = self.stamp.mono();
        let asks = self.slots.get_mut(&id).map(|slot| slot.targets.due(failed, now)).unwrap_or_default();
        for ask in &asks {
            self.ask_for_target(id, ask);
        }
        if failed && !asks.is_empty() {
            self.watch_targets(id);
        }
    }

    fn ask_for_target(&mut self, id: SlotId, ask: &Ask) {
        self.need_worker(Worker::Resolver);
        let ticket = self.ticket();
        let family = if ask.v6 { Family::V6 } else { Family::V4 };
        let question = Question::Target(ask.host.to_string(), family);
        let mut bytes = Vec::new();
        let message = ToResolver::Lookup { ticket, question };
        let asked = message.encode(&mut bytes).is_ok() && self.tell(Worker::Resolver, bytes, None);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.targets.asked(ask, ticket);
        }
        if asked {
            self.see_that_resolver_lives();
        } else {
            self.target_answer(ticket, &Answer::Unavailable);
        }
    }

    /// An answer of the resolver. False: it was to no question about a target.
    pub fn target_answer(&mut self, ticket: u64, answer: &Answer) -> bool {
        let (addresses, seconds) = match answer {
            Answer::Target(list, seconds) => (Some(list.as_slice()), *seconds),
            Answer::NotFound => (Some([].as_slice()), None),
            _ => (None, None),
        };
        for (&id, slot) in &mut self.slots {
            let Some(targets) = slot.targets.made() else { continue };
            let name = slot.service.id.clone();
            let answered = targets.answered(ticket, addresses, seconds);
            let next = targets.next_refresh();
            if answered != Answered::NotOurs
                && let Some(next) = next
            {
                // How long they hold was not known when the last alarm was set.
                self.timers.set(next, Alarm::Targets(id));
            }
            let text = match answered {
                Answered::NotOurs => continue,
                Answered::Same => return true,
                Answered::Ask(ask) => {
                    self.ask_for_target(id, &ask);
                    return true;
                }
                Answered::Moved(host) => format!("service {name}: the target {host} has other addresses"),
                Answered::Unasked(host) => format!(
                    "service {name}: the target {host} cannot be looked up, as the resolver does not answer; the former addresses serve on"
                ),
                Answered::Lost(host) => {
                    format!(
                        "service {name}: no address is found for the target {host}; the former ones serve on"
                    )
                }
            };
            self.say(Level::Notice, &text);
            self.end_stray_flows(id);
            return true;
        }
        false
    }
}
