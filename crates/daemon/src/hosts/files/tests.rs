//! Whatever happens to the tables and the list that they name, and whenever: the decision is that of the texts on the disk.

use super::*;
use hosts_access::{Answer, Decision, Done, End, Field, Message, Request, Settings, Table, World, evaluate};
use std::borrow::Cow;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

struct Reads<'a>(&'a mut dyn FnMut(&[u8]) -> ListFile<Vec<u8>>);

impl World for Reads<'_> {
    fn name(&mut self, _: End, _: &Request) -> Answer<Field> {
        Answer::Known(Field::from("unknown"))
    }

    fn user(&mut self, _: &Request, _: Option<u32>) -> Answer<Field> {
        Answer::Known(Field::from("unknown"))
    }

    fn in_netgroup(&mut self, _: &[u8], _: &[u8]) -> Answer<bool> {
        Answer::Known(false)
    }

    fn list(&mut self, path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        owned((self.0)(path))
    }

    fn act(&mut self, _: &hosts_access::Act, _: &mut Request) -> Done {
        Done::Done
    }

    fn say(&mut self, _: Message) {}
}

fn owned(list: ListFile<Vec<u8>>) -> ListFile<Cow<'static, [u8]>> {
    match list {
        ListFile::Bytes(bytes) => ListFile::Bytes(Cow::Owned(bytes)),
        ListFile::Absent => ListFile::Absent,
        ListFile::Unreadable(why) => ListFile::Unreadable(why),
        ListFile::TooLarge => ListFile::TooLarge,
    }
}

fn decide(tables: &Tables<'_>, client: &str, list: &mut dyn FnMut(&[u8]) -> ListFile<Vec<u8>>) -> Decision {
    let mut request = Request { daemon: Field::from("d"), ..Request::default() };
    request.client.addr = Field::from(client);
    let settings = Settings { options: true, verbose: 0, resident: false };
    evaluate(tables, &mut request, &mut Reads(list), &settings)
}

struct Set {
    here: PathBuf,
    allow: &'static str,
    deny: &'static str,
    list: PathBuf,
}

impl Set {
    fn new(name: &str) -> Self {
        let here = std::env::temp_dir().join(format!("portreeve-files-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&here).unwrap();
        let path = |name: &str| -> &'static str { here.join(name).to_str().unwrap().to_owned().leak() };
        Self { allow: path("allow"), deny: path("deny"), list: here.join("list"), here }
    }

    /// Usual addresses, which the compiled form knows, and others, for which the texts are read.
    fn check(&self, files: &mut Files, what: &str) {
        for client in
            ["10.7.0.1", "10.7.0.2", "10.7.0.3", "10.0.3.3", "192.0.2.1", "::10.7.0.2", "fe80::1%lo"]
        {
            let plain = |path: &'static str| std::fs::read(path).ok();
            let (allow, deny) = (plain(self.allow), plain(self.deny));
            let table = |path: &'static str, text| Table {
                path: path.as_bytes(),
                content: match text {
                    Some(text) => Content::Text(text),
                    None => Content::Missing,
                },
            };
            let texts = Tables {
                allow: table(self.allow, allow.as_deref()),
                deny: table(self.deny, deny.as_deref()),
            };
            let expected = decide(&texts, client, &mut |_| match std::fs::read(&self.list) {
                Ok(bytes) => ListFile::Bytes(bytes),
                Err(_) => ListFile::Absent,
            });
            files.refresh();
            let (tables, lists) = files.tables();
            let found = decide(&tables, client, &mut |path| match lists.read(path) {
                ListFile::Bytes(bytes) => ListFile::Bytes(bytes.into_owned()),
                ListFile::Absent => ListFile::Absent,
                ListFile::Unreadable(why) => ListFile::Unreadable(why),
                ListFile::TooLarge => ListFile::TooLarge,
            });
            files.finish();
            assert_eq!(found, expected, "{what}: {client}");
        }
    }

    /// Waits until only the compiled form is held.
    fn until_compiled(&self, files: &mut Files) {
        for _ in 0..400 {
            self.check(files, "while they are compiled");
            if files.compiled_bytes().is_some() && files.views().iter().all(|table| table.text_bytes == 0) {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("never compiled: {files:?}");
    }

    fn rules(&self, last: &str) -> String {
        let long: String = (0..2000).map(|n| format!("d: 10.0.{}.{}\n", n / 200, n % 200)).collect();
        format!("{long}d: {}\nd: [::10.7.0.9]\n{last}\n", self.list.display())
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.here);
    }
}

fn write_unseen(path: &Path, text: &str) {
    let modified = std::fs::metadata(path).unwrap().modified().unwrap();
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn the_decision_is_that_of_the_disk() {
    let set = Set::new("disk");
    std::fs::write(set.allow, "d: 10.7.0.1\n").unwrap();
    std::fs::write(set.deny, set.rules("d: 10.7.0.2 [::10.7.0.2]")).unwrap();
    std::fs::write(&set.list, "10.7.0.3\n").unwrap();
    let mut files = Files::at(set.allow, set.deny);
    set.until_compiled(&mut files);
    assert_eq!(files.lists.held(), 0, "a list that is compiled is not held twice");
    let replace = |text: &str| {
        let new = set.here.join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, set.deny).unwrap();
    };
    let changes: [(&str, &dyn Fn()); 9] = [
        ("in place, same size and time", &|| {
            write_unseen(Path::new(set.deny), &set.rules("d: 10.7.0.4 [::10.7.0.4]"));
        }),
        ("renamed over", &|| replace(&set.rules("d: 10.7.0.2 [::10.7.0.2] fe80::"))),
        ("the list, same size and time", &|| write_unseen(&set.list, "10.7.0.2\n")),
        ("the short table beside it", &|| std::fs::write(set.allow, "d: 10.0.3.3\n").unwrap()),
        ("cut", &|| std::fs::write(set.deny, &set.rules("d: ALL")[..20_000]).unwrap()),
        ("longer", &|| std::fs::write(set.deny, set.rules("d: ALL EXCEPT 10.7.0.1 ::10.7.0.2")).unwrap()),
        ("the list is gone", &|| std::fs::remove_file(&set.list).unwrap()),
        ("the same bytes again", &|| {
            let text = std::fs::read(set.deny).unwrap();
            std::fs::write(set.deny, text).unwrap();
        }),
        ("gone", &|| std::fs::remove_file(set.allow).unwrap()),
    ];
    // Each while only the compiled form is held, and then twice in a row before it is compiled again.
    for (what, change) in changes {
        change();
        set.check(&mut files, what);
        std::thread::sleep(Duration::from_millis(30));
        set.check(&mut files, what);
        set.until_compiled(&mut files);
    }
    std::fs::write(set.deny, "d: 10.7.0.1\n").unwrap();
    set.check(&mut files, "short");
    assert_eq!(files.compiled_bytes(), None, "a short table is evaluated as it stands");
}
