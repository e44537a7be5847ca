//! `cluster.json`: where everything is, for programs that are not ours. Its form is documented in `docs/cluster.md` and only
//! ever added to.

use serde_json::{Map, Value, json};

use crate::folder::Folder;
use crate::member::{Kind, Member};
use crate::store::State;

/// Lists that every region has, be they empty.
const LISTS: [Kind; 6] = [Kind::Edge, Kind::Core, Kind::Nats, Kind::Redis, Kind::Kafka, Kind::Postgres];

pub(crate) fn of(state: &State, folder: &Folder) -> Value {
    let region = |name: &String| {
        let members = |kind: Kind| {
            let those = state.members.iter().filter(|member| member.region.as_ref() == Some(name));
            those.filter(|member| member.kind == kind).map(entry).collect::<Value>()
        };
        let lists: Map<String, Value> =
            LISTS.iter().map(|kind| (kind.list().to_owned(), members(*kind))).collect();
        (name.clone(), Value::Object(lists))
    };
    let regions: Map<String, Value> = state.regions.iter().map(region).collect();
    let pairs = state
        .regions
        .iter()
        .enumerate()
        .flat_map(|(at, a)| state.regions[at + 1..].iter().map(move |b| json!({ "a": a, "b": b })));
    let wan = state.members.iter().find(|member| member.kind == Kind::Wan).map(entry);
    json!({
        "regions": regions,
        "home": state.regions.first(),
        "links": pairs.collect::<Value>(),
        "wan": wan,
        "secret_file": folder.secret(),
        "folder": folder.path(),
    })
}

fn entry(member: &Member) -> Value {
    let mut entry = Map::from_iter([
        ("name".to_owned(), json!(member.name)),
        ("pid".to_owned(), json!(member.pid())),
        ("log".to_owned(), json!(member.log())),
    ]);
    entry.extend(member.addresses.iter().map(|(name, address)| (name.clone(), json!(address))));
    Value::Object(entry)
}
