//! The contract of [`Register`].

use bytes::Bytes;

use super::check;
use crate::register::{Held, Register, RegisterError, RegisterKey, Revision, VALUE_BYTES};

/// Runs every check; `open` opens the register of a name (see the module above).
pub async fn suite<R: Register + Clone>(open: impl AsyncFn(&str) -> R) {
    let register = &open("shared").await;
    check("what was never written is nothing", nothing(register)).await;
    check("a write follows the revision it names", follows(register)).await;
    check("a write that follows another revision changes nothing", conflicts(register)).await;
    check("of writes that follow one revision one succeeds", agreement(register)).await;
    check("keys do not meet", apart(register)).await;
    check("a value may hold any bytes, up to the bound, and none", any_bytes(register)).await;
    check("a value that is too large is refused, and changes nothing", too_large(register)).await;
    check("who follows hears what is held, then what changes", hears(register)).await;
    check("all who follow hear the newest, whenever they ask", newest(register)).await;
    check("what was written survives a restart", survives(&open)).await;
}

fn key(text: &str) -> RegisterKey {
    RegisterKey::parse(text).expect("a key")
}

async fn write(register: &impl Register, at: &str, value: &'static str, after: Revision) -> Revision {
    register.write(&key(at), Bytes::from_static(value.as_bytes()), after).await.expect("written")
}

async fn read(register: &impl Register, at: &str) -> Held {
    register.read(&key(at)).await.expect("an available register")
}

fn held(revision: Revision, value: &'static str) -> Held {
    Held { revision, value: Some(Bytes::from_static(value.as_bytes())) }
}

/// Reads until it is so: a read may be old.
async fn until_held(register: &impl Register, at: &str, wanted: Held) {
    while read(register, at).await != wanted {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

async fn nothing(register: &impl Register) {
    assert_eq!(read(register, "nothing.there").await, Held { revision: 0, value: None });
}

async fn follows(register: &impl Register) {
    let first = write(register, "follows", "one", 0).await;
    assert!(first > 0);
    until_held(register, "follows", held(first, "one")).await;
    let second = write(register, "follows", "two", first).await;
    assert!(second > first);
    until_held(register, "follows", held(second, "two")).await;
}

async fn conflicts(register: &impl Register) {
    let first = write(register, "conflicts", "one", 0).await;
    let second = write(register, "conflicts", "two", first).await;
    for after in [0, first, second + 1] {
        let refused = register.write(&key("conflicts"), "three".into(), after).await;
        assert_eq!(refused, Err(RegisterError::Conflict), "after {after}");
    }
    until_held(register, "conflicts", held(second, "two")).await;
    assert!(write(register, "conflicts", "three", second).await > second);
}

/// Many count together: what each adds is there in the end.
async fn agreement<R: Register + Clone>(register: &R) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 10;
    let writers = (0..WRITERS).map(|_| {
        let register = register.clone();
        tokio::spawn(async move {
            let mut added = 0;
            while added < EACH {
                let Held { revision, value } = read(&register, "agreement").await;
                let count = value.map_or(0, |value| number(&value)) + 1;
                match register.write(&key("agreement"), count.to_string().into(), revision).await {
                    Ok(_) => added += 1,
                    Err(error) => assert_eq!(error, RegisterError::Conflict),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer");
    }
    let mut follow = register.follow(&key("agreement"));
    while follow.next().await.value.is_none_or(|value| number(&value) != WRITERS * EACH) {}
}

fn number(value: &Bytes) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).expect("a number")
}

async fn apart(register: &impl Register) {
    let (one, two) =
        (write(register, "apart.a", "one", 0).await, write(register, "apart.a.b", "two", 0).await);
    assert!(two > one);
    until_held(register, "apart.a", held(one, "one")).await;
    until_held(register, "apart.a.b", held(two, "two")).await;
    assert_eq!(read(register, "apart").await, Held::default());
}

async fn any_bytes(register: &impl Register) {
    let value: Bytes = (0..VALUE_BYTES).map(|n| (n % 251) as u8).collect();
    let first = register.write(&key("bytes"), value.clone(), 0).await.expect("written");
    until_held(register, "bytes", Held { revision: first, value: Some(value) }).await;
    let second = write(register, "bytes", "", first).await;
    until_held(register, "bytes", held(second, "")).await;
}

async fn too_large(register: &impl Register) {
    let first = write(register, "large", "small", 0).await;
    let value = Bytes::from(vec![0; VALUE_BYTES + 1]);
    let refused = register.write(&key("large"), value, first).await;
    assert_eq!(refused, Err(RegisterError::TooLarge(VALUE_BYTES + 1)));
    until_held(register, "large", held(first, "small")).await;
}

async fn hears(register: &impl Register) {
    let mut early = register.follow(&key("hears"));
    assert_eq!(early.next().await, Held::default(), "nothing is something to know");
    let first = write(register, "hears", "one", 0).await;
    assert_eq!(early.next().await, held(first, "one"));
    let mut late = register.follow(&key("hears"));
    assert_eq!(late.next().await, held(first, "one"));
    write(register, "hears.not", "another's", 0).await;
    let second = write(register, "hears", "two", first).await;
    assert_eq!((early.next().await, late.next().await), (held(second, "two"), held(second, "two")));
}

async fn newest(register: &impl Register) {
    let mut all: Vec<_> = (0..3).map(|_| register.follow(&key("newest"))).collect();
    drop(all.pop());
    let mut last = 0;
    for _ in 0..50 {
        last = write(register, "newest", "value", last).await;
    }
    for follow in &mut all {
        let mut seen = follow.next().await.revision;
        while seen < last {
            let next = follow.next().await.revision;
            assert!(next > seen, "revisions grow");
            seen = next;
        }
        assert_eq!(seen, last);
    }
}

async fn survives<R: Register>(open: impl AsyncFn(&str) -> R) {
    let register = open("restart").await;
    let revision = write(&register, "survives", "value", 0).await;
    drop(register);
    let register = open("restart").await;
    until_held(&register, "survives", held(revision, "value")).await;
    let refused = register.write(&key("survives"), "other".into(), 0).await;
    assert_eq!(refused, Err(RegisterError::Conflict));
}
