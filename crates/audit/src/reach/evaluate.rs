//! Follows a packet through the chains of a ruleset, for all sources at once: who arrives where, surely or maybe. Pure and bounded.

use super::model::{Chain, Hook, Packet, Rule, Ruleset, Verdict};
use super::ranges::{Ranges, number};

/// Chains within chains; the kernel's own bound is 16.
const DEPTH: usize = 17;
/// Rules that are looked at for one packet.
const MOST_STEPS: usize = 1 << 18;
/// Destinations that one packet may be given.
const MOST_WAYS: usize = 64;
/// Reasons that are kept.
const MOST_REASONS: usize = 4;

/// Sources that take one way, and where that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The packet as it arrives.
    pub packet: Packet,
    /// Who may arrive.
    pub maybe: Ranges,
    /// Who of them may not arrive here, too.
    pub doubt: Ranges,
}

impl Arrival {
    /// Who surely arrives.
    pub fn surely(&self) -> Ranges {
        self.maybe.minus(&self.doubt)
    }
}

/// What a walk needs beside the packet: what this host is.
pub trait Host {
    /// Whether an address is one of this host's own.
    fn is_local(&self, address: u128, packet: &Packet) -> bool;
    /// The interface behind which an address is, where that is known.
    fn out(&self, address: u128, packet: &Packet) -> Option<String>;
}

/// A walk through a ruleset.
pub struct Walk<'a, H> {
    ruleset: &'a Ruleset,
    host: &'a H,
    steps: usize,
    /// Why something is not known, in sentences.
    pub reasons: Vec<String>,
}

/// What comes of a flow in a chain.
#[derive(Default)]
struct Ends {
    accepted: Ranges,
    /// Those who may be dropped, or go another way.
    lost: Ranges,
    /// Another destination, for these.
    sent: Vec<(Verdict, Ranges)>,
}

impl Ends {
    /// Whatever may come of these.
    fn anything(&mut self, these: &Ranges) {
        self.accepted = self.accepted.or(these);
        self.lost = self.lost.or(these);
    }
}

impl<'a, H: Host> Walk<'a, H> {
    /// A walk that has not begun.
    pub fn new(ruleset: &'a Ruleset, host: &'a H) -> Self {
        Walk { ruleset, host, steps: 0, reasons: Vec::new() }
    }

    /// Where a packet from these sources arrives: at this host itself, or at what it forwards to.
    pub fn arrivals(&mut self, packet: Packet, sources: Ranges) -> Vec<Arrival> {
        let doubt = match self.ruleset.unread.is_empty() {
            true => Ranges::none(),
            false => {
                self.ruleset.unread.iter().for_each(|why| note(&mut self.reasons, why.clone()));
                sources.clone()
            }
        };
        let mut ways = vec![Arrival { packet, maybe: sources, doubt }];
        for hook in [Hook::Ingress, Hook::Prerouting] {
            ways = self.hook(hook, ways);
        }
        for way in &mut ways {
            if !way.packet.local {
                way.packet.out = self.host.out(way.packet.to, &way.packet);
            }
        }
        let (here, through): (Vec<_>, Vec<_>) = ways.into_iter().partition(|way| way.packet.local);
        let mut ways = self.hook(Hook::Input, here);
        ways.extend(self.hook(Hook::Forward, through));
        ways
    }

    fn hook(&mut self, hook: Hook, mut ways: Vec<Arrival>) -> Vec<Arrival> {
        let Some(first) = ways.first() else { return ways };
        let chains = self.ruleset.at(hook, first.packet.family, &first.packet.interface);
        for chain in chains {
            let mut next = Vec::new();
            for way in ways {
                if !way.maybe.is_empty() {
                    self.base(chain, way, &mut next);
                }
            }
            if next.len() > MOST_WAYS {
                note(
                    &mut self.reasons,
                    format!("more than {MOST_WAYS} ways lead through chain {}", chain.label()),
                );
                next.truncate(MOST_WAYS);
                next.iter_mut().for_each(|way| way.doubt = way.maybe.clone());
            }
            ways = next;
        }
        ways
    }

    fn base(&mut self, chain: &Chain, way: Arrival, next: &mut Vec<Arrival>) {
        let mut ends = Ends::default();
        let fell = self.chain(chain, way.maybe.clone(), &way.packet, 0, &mut ends);
        let accepts = chain.base.as_ref().is_none_or(|base| base.accepts);
        if accepts {
            ends.accepted = ends.accepted.or(&fell);
        } else {
            ends.lost = ends.lost.or(&fell);
        }
        let sent = ends.sent.iter().fold(Ranges::none(), |all, (_, some)| all.or(some));
        // Who may go one way and the other surely goes neither.
        let doubt = way.doubt.or(&ends.lost);
        for (at, (verdict, sources)) in ends.sent.iter().enumerate() {
            let elsewhere = ends.sent.iter().enumerate().filter(|(other, _)| *other != at);
            let elsewhere = elsewhere.fold(ends.accepted.clone(), |all, (_, (_, some))| all.or(some));
            let mut packet = way.packet.clone();
            self.send(verdict, &mut packet);
            next.push(Arrival { packet, maybe: sources.clone(), doubt: doubt.or(&elsewhere).and(sources) });
        }
        let doubt = doubt.or(&sent).and(&ends.accepted);
        next.push(Arrival { packet: way.packet, maybe: ends.accepted, doubt });
    }

    fn send(&self, verdict: &Verdict, packet: &mut Packet) {
        let Verdict::To(address, port) = verdict else { return };
        packet.translated = true;
        packet.port = port.or(packet.port);
        if let Some(address) = address {
            packet.to = number(*address);
            packet.local = self.host.is_local(packet.to, packet);
        }
    }

    /// Who falls off the chain's end.
    fn chain(
        &mut self,
        chain: &Chain,
        mut flow: Ranges,
        packet: &Packet,
        depth: usize,
        ends: &mut Ends,
    ) -> Ranges {
        if depth >= DEPTH {
            note(&mut self.reasons, format!("chain {} is too deep", chain.label()));
            ends.anything(&flow);
            return flow;
        }
        let mut fell = Ranges::none();
        for rule in &chain.rules {
            if flow.is_empty() {
                break;
            }
            self.steps += 1;
            if self.steps > MOST_STEPS {
                note(&mut self.reasons, "the rules are too many to follow".to_owned());
                ends.anything(&flow);
                break;
            }
            if rule.verdicts.is_empty() {
                continue;
            }
            let passes = rule.test.passes(packet);
            let mut caught = passes.maybe.of_flow(&flow);
            if caught.is_empty() {
                continue;
            }
            let sure = passes.surely.of_flow(&flow);
            if caught != sure && !matters_not(rule) {
                self.doubt(chain, rule);
            }
            flow = flow.minus(&sure);
            let uncertain = caught.minus(&sure);
            for (test, verdict) in &rule.verdicts {
                let passes = test.passes(packet);
                let these = passes.maybe.of_flow(&caught);
                if these.is_empty() {
                    continue;
                }
                let surely = passes.surely.of_flow(&caught);
                if surely != these {
                    self.doubt(chain, rule);
                }
                caught = caught.minus(&surely);
                match verdict {
                    Verdict::Accept => ends.accepted = ends.accepted.or(&these),
                    Verdict::Drop => ends.lost = ends.lost.or(&these),
                    Verdict::Return => fell = fell.or(&these),
                    Verdict::Continue => flow = flow.or(&these),
                    Verdict::To(..) => ends.sent.push((verdict.clone(), these)),
                    Verdict::Unknown(_) => {
                        self.doubt(chain, rule);
                        ends.anything(&these);
                        flow = flow.or(&these);
                    }
                    Verdict::Jump(name) | Verdict::Goto(name) => match self.ruleset.beside(chain, name) {
                        Some(other) => {
                            let back = self.chain(other, these, packet, depth + 1, ends);
                            match verdict {
                                Verdict::Goto(_) => fell = fell.or(&back),
                                _ => flow = flow.or(&back),
                            }
                        }
                        None => {
                            self.doubt(chain, rule);
                            ends.anything(&these);
                            flow = flow.or(&these);
                        }
                    },
                }
            }
            // No verdict of a map was theirs: the next rule is. And who maybe did not pass goes on, too.
            flow = flow.or(&caught).or(&uncertain);
        }
        fell.or(&flow)
    }

    fn doubt(&mut self, chain: &Chain, rule: &Rule) {
        let verdict = rule.verdicts.iter().find_map(|(test, verdict)| match verdict {
            Verdict::Unknown(what) => Some(what.as_str()),
            Verdict::Jump(name) | Verdict::Goto(name) if self.ruleset.beside(chain, name).is_none() => {
                Some(name.as_str())
            }
            _ => test.unknown(),
        });
        let what = rule.test.unknown().or(verdict).unwrap_or("a condition on what is not known");
        note(&mut self.reasons, format!("rule {} of chain {}: {what}", rule.number, chain.label()));
    }
}

/// A rule that decides nothing: whoever passes goes on as who does not.
fn matters_not(rule: &Rule) -> bool {
    rule.verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Continue)
}

fn note(reasons: &mut Vec<String>, reason: String) {
    if reasons.len() < MOST_REASONS && !reasons.contains(&reason) {
        reasons.push(reason);
    }
}
