//! Reads the configuration without ever waiting: its lines, then ask the resolver for whom they name, then its services; where these ask
//! for more, again with the answers, until nothing is missing. A reload asks first what the last reading asked: where all is answered as
//! before, nothing is read anew, since a reading depends on nothing else. Owns a reading under way; what is done with it stands in `reload`.

use crate::machine::Machine;
use crate::recorded::{Answers, Known, Recorder};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::{Level, Sections};
use portreeve_sys::clock;
use portreeve_workers::protocol::{Answer, Question, ToResolver, Worker};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Rounds of asking: an answer may lead to a further question (a user's groups), not to an endless chain.
const ROUNDS: u32 = 8;
/// How long the resolver may take over all of it.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long it may take, once it was late, over what its answers lead to: one dead server must not cost a local user its groups.
const MORE: Duration = Duration::from_secs(5);
/// Between the parts of a reload, which are each some milliseconds with a thousand services: whoever came meanwhile is accepted, and the
/// programs that were started for him have the processor.
const PAUSE: Duration = Duration::from_millis(3);
/// Questions on their way at once.
const WINDOW: usize = 128;

/// Why the configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The supervisor starts.
    Start,
    /// A signal or a control client (by number) asked.
    Reload(Option<u32>),
}

/// A reading under way.
#[derive(Debug)]
pub struct Reading {
    number: u64,
    purpose: Purpose,
    machine: Machine,
    round: u32,
    /// What is not answered by then is answered by what was said before.
    until: Duration,
    to_ask: VecDeque<Question>,
    asked: HashMap<u64, Question>,
    /// What the files said, so that all rounds read the same.
    known: Known,
    /// Their lines.
    sections: Option<Sections>,
    /// The answers of the last reading are to be compared first.
    compare: bool,
    again: bool,
    next: Next,
}

/// What the alarm of a reading is for.
#[derive(Debug)]
enum Next {
    /// What the resolver has not answered by then is answered by what it said before.
    Answers,
    /// The next part of a reload.
    Round,
    /// This is put into force.
    Force(Box<(portreeve_conf::Reading, Answers)>),
}

impl Reading {
    /// Somebody asked for another reading while this one was under way.
    pub fn ask_again(&mut self) {
        self.again = true;
    }
}

impl Supervisor {
    /// Begins to read.
    pub fn read_configuration(&mut self, purpose: Purpose) {
        let (number, until) = (self.ticket(), self.stamp.mono() + DEADLINE);
        self.reading = Some(Reading {
            number,
            purpose,
            machine: Machine::with(&self.mounts),
            round: 0,
            until,
            to_ask: VecDeque::new(),
            asked: HashMap::new(),
            known: Known::default(),
            sections: None,
            compare: purpose != Purpose::Start && self.is_as_read(),
            again: false,
            next: Next::Answers,
        });
        self.timers.set(until, Alarm::Reading(number));
        self.read_round();
    }

    fn read_round(&mut self) {
        let Some(mut reading) = self.reading.take() else { return };
        reading.round += 1;
        let last = reading.round > 2 * ROUNDS;
        let recorder = Recorder::new(&reading.machine, std::mem::take(&mut reading.known));
        let missing = |recorder: &Recorder<'_>| !last && recorder.misses();
        if reading.compare {
            let same = recorder.agrees(&self.answers);
            if !missing(&recorder) {
                if same {
                    drop(recorder);
                    let (purpose, again) = (reading.purpose, reading.again);
                    self.remain(purpose);
                    return self.read_if(again);
                }
                // What only the former reading asked is no part of this one, nor is the time that it took. What it read is
                // not read twice: the listing of a directory and its files are of one moment.
                reading.known = recorder.of_files().unasked();
                (reading.compare, reading.round) = (false, 0);
                (reading.number, reading.until) = (self.ticket(), self.stamp.mono() + DEADLINE);
                self.timers.set(reading.until, Alarm::Reading(reading.number));
                self.reading = Some(reading);
                return self.read_round();
            }
        }
        if !missing(&recorder) {
            let first = reading.sections.is_none();
            let gathered = match reading.sections.take() {
                Some(sections) => Ok(sections),
                None => portreeve_conf::gather(&recorder, &self.options.sources),
            };
            let done = match gathered {
                // What the lines themselves depend on is not known: they are to be read again.
                _ if missing(&recorder) => None,
                Ok(sections) => {
                    if first {
                        sections.foresee(&recorder);
                    }
                    // Of a reload the lines are one part, the services another.
                    let later = missing(&recorder) || first && reading.purpose != Purpose::Start;
                    let result = (!later).then(|| sections.resolve(&recorder));
                    let result = result.filter(|_| !missing(&recorder));
                    reading.sections = Some(sections);
                    result
                }
                Err(unreadable) => Some(*unreadable),
            };
            if let Some(result) = done {
                let answers = recorder.answers();
                // Whatever the lines were is not needed any more, and much.
                (reading.sections, reading.machine) = (None, Machine::default());
                return self.put_into_force(reading, result, answers);
            }
        }
        reading.known = recorder.of_files();
        let spent = reading.round > ROUNDS;
        reading.to_ask.extend(reading.machine.take_wanted());
        let asks = !reading.to_ask.is_empty();
        self.reading = Some(reading);
        if spent {
            return self.give_up_questions();
        }
        if asks {
            self.need_worker(Worker::Resolver);
        }
        self.ask_more();
        // Where none of the words could be asked for, no answer will come that goes on.
        self.next_round_if_answered();
    }

    fn put_into_force(&mut self, reading: Reading, result: portreeve_conf::Reading, answers: Answers) {
        if reading.purpose == Purpose::Start {
            self.apply(Purpose::Start, result, answers);
            return self.read_if(reading.again);
        }
        self.reading = Some(reading);
        self.go_on_at(clock::monotonic() + PAUSE, Next::Force(Box::new((result, answers))));
    }

    /// The alarm that the reading had means nothing any more. A pause counts from now, not from when the turn began: a part takes
    /// longer than the pause is to be.
    fn go_on_at(&mut self, at: Duration, next: Next) {
        let number = self.ticket();
        let Some(reading) = &mut self.reading else { return };
        (reading.number, reading.next) = (number, next);
        self.timers.set(at, Alarm::Reading(number));
    }

    fn read_if(&mut self, again: bool) {
        if again && self.exit.is_none() {
            self.read_configuration(Purpose::Reload(None));
        }
    }

    fn ask_more(&mut self) {
        loop {
            let Some(reading) = &mut self.reading else { return };
            if reading.asked.len() >= WINDOW {
                return;
            }
            let Some(question) = reading.to_ask.pop_front() else { return };
            let ticket = self.ticket();
            let message = ToResolver::Lookup { ticket, question: question.clone() };
            let mut bytes = Vec::new();
            let sent = message.encode(&mut bytes).is_ok() && self.tell(Worker::Resolver, bytes, None);
            let Some(reading) = &mut self.reading else { return };
            if sent {
                // Before it is seen whether the resolver lives: what one has taken with it is asked again.
                reading.asked.insert(ticket, question);
                self.see_that_resolver_lives();
            } else {
                // A word that cannot even be asked for (too long, not a name) has no answer, and never had one.
                let answer = self.answers.to(&question).unwrap_or(Answer::NotFound);
                reading.machine.answer(question, answer);
            }
        }
    }

    /// The resolver has answered a question of the reading.
    pub fn reading_answer(&mut self, ticket: u64, answer: Answer) {
        let Some(reading) = &mut self.reading else { return };
        let Some(question) = reading.asked.remove(&ticket) else { return };
        let answer = match answer {
            Answer::Unavailable => self.stand_in(&question, "did not answer"),
            answer => answer,
        };
        if let Some(reading) = &mut self.reading {
            reading.machine.answer(question, answer);
        }
        self.ask_more();
        self.next_round_if_answered();
    }

    fn next_round_if_answered(&mut self) {
        let is_done =
            |r: &&Reading| r.asked.is_empty() && r.to_ask.is_empty() && matches!(r.next, Next::Answers);
        match self.reading.as_ref().filter(is_done).map(|reading| reading.purpose) {
            Some(Purpose::Start) => self.read_round(),
            Some(Purpose::Reload(_)) => self.go_on_at(clock::monotonic() + PAUSE, Next::Round),
            None => {}
        }
    }

    /// The moment of a reading has come.
    pub fn reading_due(&mut self, number: u64) {
        let Some(reading) = self.reading.as_mut().filter(|reading| reading.number == number) else { return };
        match std::mem::replace(&mut reading.next, Next::Answers) {
            Next::Answers => self.give_up_questions(),
            Next::Round => {
                let until = reading.until;
                self.go_on_at(until, Next::Answers);
                self.read_round();
            }
            Next::Force(result) => {
                let (purpose, again) = (reading.purpose, reading.again);
                self.reading = None;
                self.apply(purpose, result.0, result.1);
                self.read_if(again);
            }
        }
    }

    /// The resolver died while it was asked: what was on its way is asked again once it is back.
    pub fn reading_lost_resolver(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.to_ask.extend(reading.asked.drain().map(|(_, question)| question));
            self.ask_more();
            self.next_round_if_answered();
        }
    }

    fn give_up_questions(&mut self) {
        let (number, until) = (self.ticket(), self.stamp.mono() + MORE);
        let Some(reading) = &mut self.reading else { return };
        (reading.number, reading.until) = (number, until);
        let mut open: Vec<Question> = reading.asked.drain().map(|(_, question)| question).collect();
        open.extend(reading.to_ask.drain(..));
        self.timers.set(until, Alarm::Reading(number));
        for question in open {
            let answer = self.stand_in(&question, "did not answer in time");
            if let Some(reading) = &mut self.reading {
                reading.machine.answer(question, answer);
            }
        }
        self.read_round();
    }

    /// The answer to a question that nobody answered: what was said for the configuration in force, since an outage must not take a name
    /// off a list that refuses by it, nor a user from a service. Where nothing was said, there is no such thing, as in xinetd.
    fn stand_in(&mut self, question: &Question, what: &str) -> Answer {
        let before = self.answers.to(question).filter(|answer| *answer != Answer::NotFound);
        let asked = asked_for(question);
        if let Some(answer) = before {
            let text = format!("the resolver did not answer for {asked}: what it said before stands");
            self.say(Level::Notice, &text);
            return answer;
        }
        self.say(Level::Error, &format!("the name service {what}: {asked}"));
        Answer::NotFound
    }
}

fn asked_for(question: &Question) -> String {
    match question {
        Question::User(name) => format!("user {name}"),
        Question::UserById(uid) => format!("user {uid}"),
        Question::Group(name) => format!("group {name}"),
        Question::GroupsOf(name, _) => format!("groups of {name}"),
        Question::ServicePort(name, protocol) => format!("service {name}/{protocol}"),
        Question::Protocol(name) => format!("protocol {name}"),
        Question::RpcNumber(name) => format!("RPC program {name}"),
        Question::Network(name) => format!("network {name}"),
        Question::Addresses(name, _) | Question::Target(name, _) => format!("host {name}"),
        Question::InNetgroup(group, host) => format!("host {host} in netgroup {group}"),
    }
}
