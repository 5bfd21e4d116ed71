//! Any bytes as both tables and a list, compiled: the decision, the names and the users asked for are those of the text. And the
//! image with bytes of the input in it, or the input as an image: an answer or none, but no panic and no endless loop.

use crate::tables::{AnyWorld, parts, request};
use hosts_access::image::{Compiled, Image, Lists, Original, State, Text, compile};
use hosts_access::{Content, Decision, ListFile, Settings, Table, Tables, World, evaluate};

#[derive(Debug)]
struct Bytes<'a>(&'a [u8]);

impl Text for Bytes<'_> {
    fn content(&self) -> Content<'_> {
        Content::Text(self.0)
    }
}

/// The lists as [`AnyWorld`] has them.
struct Listed<'a>(AnyWorld<'a>);

impl Lists for Listed<'_> {
    fn read(&mut self, path: &[u8]) -> Option<(State, Vec<u8>)> {
        match self.0.list(path) {
            ListFile::Bytes(bytes) => Some((State::Absent, bytes.into_owned())),
            ListFile::Absent => Some((State::Absent, Vec::new())),
            ListFile::Unreadable(_) | ListFile::TooLarge => None,
        }
    }
}

/// One input: `hosts.allow`, `hosts.deny`, a `/file` list and the request, parted by 0xff.
pub fn run(input: &[u8]) {
    let [allow, deny, list, who] = parts(input);
    let original = |path, text| Original { path, text, state: State::Absent };
    let mut lists = Listed(AnyWorld::new(who, list));
    let made = compile(&original(b"hosts.allow", allow), &original(b"hosts.deny", deny), &mut lists, 0);
    let mut image = made.expect("a small image");
    let walked = decide([Content::Text(allow), Content::Text(deny)], list, who);
    assert_eq!(compiled(&image, [allow, deny], list, who), Some(walked));
    // Each byte of the request changes one of the image.
    let mut at = who.len();
    for byte in who {
        at = at.wrapping_mul(31).wrapping_add(usize::from(*byte));
        let place = at % image.len();
        if let Some(changed) = image.get_mut(place) {
            *changed ^= byte;
        }
        compiled(&image, [allow, deny], list, who);
    }
    compiled(input, [allow, deny], list, who);
}

fn compiled(image: &[u8], texts: [&[u8]; 2], list: &[u8], who: &[u8]) -> Option<(Decision, u32, u32)> {
    let image = Image::open(image)?;
    image.is_fresh(|_| Some(State::Absent));
    let [allow, deny] = texts.map(Bytes);
    let allow = Content::Compiled(Compiled { index: image.allow(), text: &allow });
    let deny = Content::Compiled(Compiled { index: image.deny(), text: &deny });
    Some(decide([allow, deny], list, who))
}

fn decide([allow, deny]: [Content<'_>; 2], list: &[u8], who: &[u8]) -> (Decision, u32, u32) {
    let table = |path, content| Table { path, content };
    let tables = Tables { allow: table(b"hosts.allow", allow), deny: table(b"hosts.deny", deny) };
    let settings = Settings { options: true, verbose: 2, resident: false };
    let mut world = AnyWorld::new(who, list);
    let decision = evaluate(&tables, &mut request(who), &mut world, &settings);
    (decision, world.names, world.users)
}
