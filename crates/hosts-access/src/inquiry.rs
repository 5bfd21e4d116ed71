//! What one evaluation knows of its request, and asks of the world only when a rule needs it, each thing once.

use crate::address::{dot_quad, without_mapping};
use crate::message::Message;
use crate::request::{Request, is_name};
use crate::table::Place;
use crate::world::{Act, Answer, Done, End, World};
use crate::{Field, Truth};

/// Why a scan cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The world does not know yet.
    Pending,
    /// The table is in error here; the original would crash, hang or exit. What is to be said.
    Broken(Vec<u8>),
}

/// A request, its world, and what is known so far.
pub(crate) struct Inquiry<'a> {
    pub(crate) request: &'a mut Request,
    pub(crate) world: &'a mut dyn World,
    /// The line in hand.
    pub(crate) place: Option<Place>,
    /// Seconds for ident, once a rule says so.
    pub(crate) timeout: Option<u32>,
    /// Something that was asked for an expansion could not be told.
    pub(crate) missed: bool,
    /// How much of `/file` lists was read, in bytes; bounds the work of lists that name lists.
    pub(crate) listed: u64,
    /// The words that matched or might have, one for each part of the lists of the rule in hand; for `explain`.
    pub(crate) words: Option<Vec<Vec<u8>>>,
    asked: u32,
    told: Option<Option<Place>>,
    names_unavailable: [bool; 2],
    user_unavailable: bool,
    quads: [Option<Option<u32>>; 2],
}

/// How often one evaluation asks about netgroups.
pub const MOST_GROUPS: u32 = 10_000;

fn known_or_unknown(field: Field) -> Field {
    if field.is_empty() { Field::from("unknown") } else { field }
}

impl<'a> Inquiry<'a> {
    pub(crate) fn new(request: &'a mut Request, world: &'a mut dyn World) -> Self {
        Self {
            request,
            world,
            place: None,
            timeout: None,
            missed: false,
            listed: 0,
            words: None,
            asked: 0,
            told: None,
            names_unavailable: [false; 2],
            user_unavailable: false,
            quads: [None; 2],
        }
    }

    /// A table begins: what a rule's acts did to the request counts from here on.
    pub(crate) fn begin(&mut self) {
        self.quads = [None; 2];
    }

    /// The table is left.
    pub(crate) fn leave(&mut self) {
        self.place = None;
        if self.told.is_some_and(|told| told.is_some()) {
            self.tell();
        }
    }

    /// Lets the world know the line in hand, before it is asked or ordered anything there.
    fn tell(&mut self) {
        if self.told != Some(self.place) {
            self.told = Some(self.place);
            self.world.at(self.place);
        }
    }

    /// The address of one end as an IPv4 number, its mapping taken off.
    #[inline]
    pub(crate) fn quad(&mut self, end: End) -> Option<u32> {
        let quad = self.quads[end as usize];
        quad.unwrap_or_else(|| {
            let quad = dot_quad(without_mapping(self.request.end(end).address()));
            self.quads[end as usize] = Some(quad);
            quad
        })
    }

    /// Makes the name of one end known. `false`: it could not be asked.
    pub(crate) fn ask_name(&mut self, end: End) -> Result<bool, Stop> {
        if !self.request.end(end).name.is_empty() {
            return Ok(true);
        }
        if self.names_unavailable[end as usize] {
            return Ok(false);
        }
        self.tell();
        match self.world.name(end, self.request) {
            Answer::Known(name) => {
                self.request.end_mut(end).name = known_or_unknown(name);
                Ok(true)
            }
            Answer::Unavailable => {
                self.names_unavailable[end as usize] = true;
                Ok(false)
            }
            Answer::Pending => Err(Stop::Pending),
        }
    }

    /// Makes the user known. `false`: it could not be asked.
    pub(crate) fn ask_user(&mut self) -> Result<bool, Stop> {
        if !self.request.user.is_empty() {
            return Ok(true);
        }
        if self.user_unavailable {
            return Ok(false);
        }
        self.tell();
        match self.world.user(self.request, self.timeout) {
            Answer::Known(user) => {
                self.request.user = known_or_unknown(user);
                Ok(true)
            }
            Answer::Unavailable => {
                self.user_unavailable = true;
                Ok(false)
            }
            Answer::Pending => Err(Stop::Pending),
        }
    }

    /// KNOWN as a host pattern. The name is asked for even where the address decides, as the original does.
    pub(crate) fn is_known(&mut self, end: End) -> Result<Truth, Stop> {
        let asked = self.ask_name(end)?;
        let host = self.request.end(end);
        if host.address().eq_ignore_ascii_case(b"unknown") {
            return Ok(Truth::No);
        }
        Ok(if asked { is_name(host.name.as_bytes()).into() } else { Truth::Unknown })
    }

    /// LOCAL as a host pattern.
    pub(crate) fn is_local(&mut self, end: End) -> Result<Truth, Stop> {
        if !self.ask_name(end)? {
            return Ok(Truth::Unknown);
        }
        let name = self.request.end(end).name.as_bytes();
        Ok((is_name(name) && !name.contains(&b'.')).into())
    }

    /// `@group` as a host pattern.
    pub(crate) fn is_member(&mut self, group: &[u8], end: End) -> Result<Truth, Stop> {
        if !self.ask_name(end)? {
            return Ok(Truth::Unknown);
        }
        if group.is_empty() {
            return Ok(Truth::No);
        }
        self.asked += 1;
        if self.asked > MOST_GROUPS {
            return Err(Stop::Broken(b"too many netgroups to ask about".to_vec()));
        }
        self.tell();
        let host = self.request.end(end).name;
        match self.world.in_netgroup(group, host.as_bytes()) {
            Answer::Known(member) => Ok(member.into()),
            Answer::Unavailable => Ok(Truth::Unknown),
            Answer::Pending => Err(Stop::Pending),
        }
    }

    pub(crate) fn act(&mut self, act: &Act) -> Done {
        self.tell();
        self.world.act(act, self.request)
    }

    pub(crate) fn warn(&mut self, text: impl Into<Vec<u8>>) {
        let place = self.place;
        self.world.say(Message::Warning(place, text.into()));
    }

    pub(crate) fn error(&mut self, text: impl Into<Vec<u8>>) {
        let place = self.place;
        self.world.say(Message::Error(place, text.into()));
    }
}
