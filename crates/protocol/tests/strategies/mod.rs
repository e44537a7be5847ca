//! Generators of every message, for the property tests and for the corpus of the short fuzz run.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use skywave_protocol::close::CloseCode;
use skywave_protocol::error::{ErrorCode, WireError};
use skywave_protocol::inner::{
    CellNews, Control, CoreAnswer, CoreBeat, CorePhase, CoreReply, CoreRequest, Excerpt, HistoryAnswer, Live,
    LogRecord, NodeBeat, Notice, PresenceChange, PresenceDelta, ReplyTo,
};
use skywave_protocol::limits::HISTORY_PAGE_MAX;
use skywave_protocol::message::{
    ClientMessage, Connect, Connected, GapReason, HistoryPage, HistoryQuery, Member, Publish, Published,
    Push, Recovery, Reply, Request, ServerMessage, Subscribe, Subscribed,
};
use skywave_protocol::position::{Epoch, Position};
use skywave_protocol::publication::{Payload, Publication};
use skywave_protocol::{ChannelName, ClientId, MessageId, NodeId, PlacementKey, Subject, UserId};

fn channel() -> impl Strategy<Value = ChannelName> + Clone {
    "[A-Za-z0-9_.@/=+,~#-][A-Za-z0-9_.:@/=+,~#-]{0,30}".prop_map(|name| ChannelName::parse(&name).unwrap())
}

fn message_id() -> impl Strategy<Value = MessageId> + Clone {
    "[!-~]{1,64}".prop_map(|id| MessageId::parse(&id).unwrap())
}

fn user() -> impl Strategy<Value = UserId> + Clone {
    r#"[a-z "\\é😀\u{2028}]{1,20}"#.prop_map(|id| UserId::parse(&id).unwrap())
}

fn client() -> impl Strategy<Value = ClientId> + Clone {
    "[!-~]{1,20}".prop_map(|id| ClientId::parse(&id).unwrap())
}

fn node() -> impl Strategy<Value = NodeId> + Clone {
    "[!-~]{1,20}".prop_map(|id| NodeId::parse(&id).unwrap())
}

fn epoch() -> impl Strategy<Value = Epoch> + Clone {
    "[A-Za-z0-9_-]{1,32}".prop_map(|text| Epoch::parse(&text).unwrap())
}

fn position() -> impl Strategy<Value = Position> + Clone {
    (epoch(), any::<u64>()).prop_map(|(epoch, offset)| Position { epoch, offset })
}

/// JSON text, with any white space a client may send.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("JSON has no such number", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just(r#""\ud800 \u0000""#.to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let space = "[ \t\n\r]{0,2}";
        prop_oneof![
            (vec(inner.clone(), 0..4), space)
                .prop_map(|(items, space)| format!("[{}]", items.join(&format!(",{space}")))),
            (vec((any::<String>(), inner), 0..4), space).prop_map(|(fields, space)| {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(key, value)| format!("{}{space}:{value}", serde_json::to_string(key).unwrap()))
                    .collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        3 => json().prop_map(|json| Payload::from_json(json.as_bytes()).unwrap()),
        1 => vec(any::<u8>(), 0..300).prop_map(|bytes| Payload::Binary(bytes.into())),
    ]
}

fn publication() -> impl Strategy<Value = Arc<Publication>> {
    (any::<u64>(), option::of(message_id()), option::of(user()), any::<u64>(), payload()).prop_map(
        |(offset, id, from, time_ms, data)| Arc::new(Publication { offset, id, from, time_ms, data }),
    )
}

fn member() -> impl Strategy<Value = Member> {
    (client(), option::of(user())).prop_map(|(client, user)| Member { client, user })
}

fn error() -> impl Strategy<Value = WireError> {
    let codes: Vec<ErrorCode> = ErrorCode::TABLE.iter().map(|row| row.0).collect();
    (prop::sample::select(codes), any::<String>(), any::<Option<u64>>())
        .prop_map(|(code, message, retry_after_ms)| WireError { code, message, retry_after_ms })
}

fn gap_reason() -> impl Strategy<Value = GapReason> {
    prop::sample::select(GapReason::TABLE.iter().map(|row| row.0).collect::<Vec<_>>())
}

fn history_query() -> impl Strategy<Value = HistoryQuery> {
    (channel(), any::<u64>(), any::<u64>(), 1..=HISTORY_PAGE_MAX, any::<bool>()).prop_map(
        |(channel, after, before, limit, reverse)| HistoryQuery { channel, after, before, limit, reverse },
    )
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (any::<Option<String>>(), option::of("[a-z é]{0,20}"), option::of("[a-z :é]{1,20}"), any::<bool>())
            .prop_map(|(token, name, key, placed)| {
                let key = key.map(|key| PlacementKey::parse(&key).unwrap());
                Request::Connect(Connect { token, name, key, placed })
            }),
        (channel(), option::of(position()), any::<bool>()).prop_map(|(channel, recover, presence)| {
            Request::Subscribe(Subscribe { channel, recover, presence })
        }),
        channel().prop_map(|channel| Request::Unsubscribe { channel }),
        (channel(), option::of(message_id()), payload())
            .prop_map(|(channel, id, data)| Request::Publish(Publish { channel, id, data })),
        history_query().prop_map(Request::History),
        channel().prop_map(|channel| Request::Presence { channel }),
        any::<String>().prop_map(|token| Request::Refresh { token }),
        Just(Request::Ping),
    ]
}

pub(crate) fn client_message() -> impl Strategy<Value = ClientMessage> {
    (any::<u32>(), request()).prop_map(|(id, request)| ClientMessage { id, request })
}

fn connected() -> impl Strategy<Value = Connected> {
    let names = (client(), option::of(user()), any::<String>(), node());
    (names, any::<(u32, u32, Option<u64>, u32)>()).prop_map(
        |((client, user, region, node), (ping, pong, expires_in_seconds, message_bytes))| Connected {
            client,
            user,
            region,
            node,
            ping_seconds: ping,
            pong_timeout_seconds: pong,
            expires_in_seconds,
            message_bytes,
        },
    )
}

fn recovery() -> impl Strategy<Value = Recovery> {
    prop_oneof![
        Just(Recovery::Exact),
        (any::<(u64, u64)>(), gap_reason()).prop_map(|((from, to), reason)| Recovery::Gap {
            from,
            to,
            reason
        }),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        connected().prop_map(Reply::Connected),
        (channel(), option::of(position()), option::of(recovery())).prop_map(
            |(channel, position, recovery)| Reply::Subscribed(Subscribed { channel, position, recovery })
        ),
        channel().prop_map(|channel| Reply::Unsubscribed { channel }),
        (option::of(position()), any::<bool>())
            .prop_map(|(position, duplicate)| Reply::Published(Published { position, duplicate })),
        (channel(), position(), vec(publication(), 0..4)).prop_map(|(channel, position, publications)| {
            let Position { epoch, offset: head } = position;
            Reply::History(HistoryPage { channel, epoch, head, publications })
        }),
        (channel(), vec(member(), 0..4)).prop_map(|(channel, members)| Reply::Presence { channel, members }),
        any::<Option<u64>>().prop_map(|expires_in_seconds| Reply::Refreshed { expires_in_seconds }),
        Just(Reply::Pong),
        error().prop_map(Reply::Error),
    ]
}

fn push() -> impl Strategy<Value = Push> {
    let close_codes: Vec<CloseCode> = CloseCode::TABLE.iter().map(|row| row.0).collect();
    prop_oneof![
        (channel(), option::of(epoch()), publication())
            .prop_map(|(channel, epoch, publication)| Push::Publication { channel, epoch, publication }),
        (channel(), epoch(), any::<(u64, u64)>(), gap_reason())
            .prop_map(|(channel, epoch, (from, to), reason)| Push::Gap { channel, epoch, from, to, reason }),
        (channel(), member()).prop_map(|(channel, member)| Push::Join { channel, member }),
        (channel(), member()).prop_map(|(channel, member)| Push::Leave { channel, member }),
        (channel(), option::of(position())).prop_map(|(channel, position)| Push::Subscribed(Subscribed {
            channel,
            position,
            recovery: None
        })),
        (channel(), error()).prop_map(|(channel, error)| Push::Unsubscribed { channel, error }),
        any::<(Option<String>, u32)>().prop_map(|(target, within_ms)| Push::Move { target, within_ms }),
        any::<u32>().prop_map(|seconds| Push::Expiring { seconds }),
        (prop::sample::select(close_codes), any::<String>())
            .prop_map(|(code, reason)| Push::Close { code, reason }),
    ]
}

pub(crate) fn server_message() -> impl Strategy<Value = ServerMessage> {
    prop_oneof![
        8 => (any::<u32>(), reply()).prop_map(|(id, reply)| ServerMessage::Reply { id, reply }),
        8 => push().prop_map(ServerMessage::Push),
        1 => Just(ServerMessage::Ping),
    ]
}

fn reply_to() -> impl Strategy<Value = ReplyTo> {
    (node(), any::<u32>(), any::<u64>()).prop_map(|(node, requester, correlation)| ReplyTo {
        subject: Subject::reply(&node, requester),
        correlation,
    })
}

pub(crate) fn log_record() -> impl Strategy<Value = LogRecord> {
    let publisher = (option::of(user()), option::of(message_id()), option::of(reply_to()));
    (channel(), any::<u64>(), "[a-z0-9-]{0,20}", payload(), publisher).prop_map(
        |(channel, time_ms, region, data, (from, id, reply))| LogRecord {
            channel,
            time_ms,
            from,
            id,
            region: region.into(),
            data,
            reply,
        },
    )
}

pub(crate) fn live() -> impl Strategy<Value = Live> {
    let change = prop_oneof![
        member().prop_map(PresenceChange::Join),
        member().prop_map(PresenceChange::Leave),
        vec(member(), 0..4).prop_map(PresenceChange::All),
        (any::<u32>(), any::<u32>(), vec(member(), 0..4))
            .prop_map(|(part, parts, members)| PresenceChange::Part { part, parts, members }),
        Just(PresenceChange::Beat),
        Just(PresenceChange::Ask),
    ];
    prop_oneof![
        (channel(), option::of(epoch()), publication())
            .prop_map(|(channel, epoch, publication)| Live::Publication { channel, epoch, publication }),
        (channel(), position()).prop_map(|(channel, position)| Live::Head { channel, position }),
        (channel(), node(), any::<u64>(), change).prop_map(|(channel, node, version, change)| {
            Live::Presence { channel, delta: PresenceDelta { node, version, change } }
        }),
    ]
}

pub(crate) fn core_request() -> impl Strategy<Value = CoreRequest> {
    prop_oneof![
        log_record().prop_map(CoreRequest::Publish),
        (history_query(), reply_to()).prop_map(|(query, reply)| CoreRequest::History { query, reply }),
        (any::<u64>(), any::<u64>(), log_record()).prop_map(|(link, number, record)| CoreRequest::Numbered {
            link,
            number,
            record
        }),
        (any::<u64>(), any::<u64>(), reply_to()).prop_map(|(link, next, reply)| CoreRequest::Check {
            link,
            next,
            reply
        }),
    ]
}

pub(crate) fn core_reply() -> impl Strategy<Value = CoreReply> {
    let history = (channel(), position(), any::<u64>(), vec(publication(), 0..4), option::of(gap_reason()))
        .prop_map(|(channel, head, first, publications, gap)| HistoryAnswer {
            channel,
            head,
            first,
            publications,
            gap,
        });
    let result = prop_oneof![
        (position(), any::<bool>())
            .prop_map(|(position, duplicate)| Ok(CoreAnswer::Published { position, duplicate })),
        history.prop_map(|answer| Ok(CoreAnswer::History(answer))),
        any::<(u64, u64)>().prop_map(|(link, number)| Ok(CoreAnswer::Missing { link, number })),
        error().prop_map(Err),
    ];
    (any::<u64>(), result).prop_map(|(correlation, result)| CoreReply { correlation, result })
}

pub(crate) fn excerpt() -> impl Strategy<Value = Excerpt> {
    (channel(), epoch(), 1..=u64::MAX - 8, vec(publication(), 1..5)).prop_map(
        |(channel, epoch, first, some)| {
            let placed = some
                .iter()
                .zip(first..)
                .map(|(it, offset)| Arc::new(Publication { offset, ..(**it).clone() }));
            Excerpt::new(channel, epoch, placed.collect()).unwrap()
        },
    )
}

pub(crate) fn notice() -> impl Strategy<Value = Notice> {
    (any::<u128>(), any::<u64>(), control()).prop_map(|(id, age_ms, control)| Notice { id, age_ms, control })
}

fn control() -> impl Strategy<Value = Control> {
    prop_oneof![
        user().prop_map(|user| Control::DisconnectUser { user }),
        any::<(String, u64)>().prop_map(|(token_id, until)| Control::RevokeToken { token_id, until }),
        (user(), channel()).prop_map(|(user, channel)| Control::Subscribe { user, channel }),
        (user(), channel()).prop_map(|(user, channel)| Control::Unsubscribe { user, channel }),
    ]
}

pub(crate) fn node_beat() -> impl Strategy<Value = NodeBeat> {
    let numbers = (any::<u64>(), any::<u32>(), any::<u32>());
    (node(), "[a-z:/.]{0,30}", numbers, any::<bool>()).prop_map(
        |(node, url, (sequence, connections, capacity), draining)| NodeBeat {
            node,
            url: url.into(),
            sequence,
            connections,
            capacity,
            draining,
        },
    )
}

pub(crate) fn cell_news() -> impl Strategy<Value = CellNews> {
    prop_oneof![
        any::<u32>().prop_map(|partition| CellNews::Stalled { partition }),
        any::<u32>().prop_map(|partition| CellNews::Serving { partition }),
    ]
}

pub(crate) fn core_beat() -> impl Strategy<Value = CoreBeat> {
    let phase = prop_oneof![Just(CorePhase::Serving), Just(CorePhase::Leaving), Just(CorePhase::Gone)];
    let owned = (0..=300_u32).prop_flat_map(|partitions| {
        (Just(partitions), prop::collection::vec(0..partitions.max(1), 0..=partitions.min(20) as usize))
    });
    (node(), phase, owned).prop_map(|(core, phase, (partitions, owned))| CoreBeat {
        core,
        phase,
        partitions,
        owned,
    })
}
