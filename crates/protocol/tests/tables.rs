//! The tables of codes are total and without duplicates. Totality rests on matches the compiler checks: who adds a
//! variant is led here, and to the table.

use std::collections::HashSet;

use skywave_protocol::close::CloseCode;
use skywave_protocol::error::ErrorCode;
use skywave_protocol::message::GapReason;

/// Runs `check` with every variant, and fails to compile when one is missing.
macro_rules! every {
    ($enum:ident: $($variant:ident)*) => {{
        // Never called: the match alone matters.
        #[allow(dead_code)]
        fn exhaustive(value: $enum) {
            match value { $($enum::$variant => {})* }
        }
        [$($enum::$variant),*]
    }};
}

fn distinct<T: Eq + std::hash::Hash + std::fmt::Debug>(items: impl Iterator<Item = T>) -> usize {
    let mut seen = HashSet::new();
    items.for_each(|item| {
        let shown = format!("{item:?}");
        assert!(seen.insert(item), "{shown} stands twice");
    });
    seen.len()
}

#[test]
fn every_error_code_has_one_row() {
    let all = every!(ErrorCode:
        BadRequest InvalidChannel InvalidId InvalidData TooLarge Unauthorized TokenExpired Forbidden NotFound
        UnknownNamespace AlreadySubscribed NotSubscribed NotAvailable RateLimited TooManySubscriptions ChannelFull
        ServerFull LogUnavailable StoreUnavailable Timeout Draining Internal);
    assert_eq!(ErrorCode::TABLE.len(), all.len());
    for code in all {
        assert!(ErrorCode::TABLE.iter().any(|row| row.0 == code), "{code:?}");
        assert_eq!(ErrorCode::from_name(code.name()), Some(code));
        assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        assert!((400..600).contains(&code.http_status()), "{code:?}");
    }
    assert_eq!(distinct(ErrorCode::TABLE.iter().map(|row| row.1)), all.len());
    assert_eq!(distinct(ErrorCode::TABLE.iter().map(|row| row.2)), all.len());
    assert_eq!(ErrorCode::from_name("none_of_ours"), None);
}

#[test]
fn every_close_code_has_one_row() {
    use skywave_protocol::close::Reconnect;
    let all = every!(CloseCode:
        Normal ProtocolError UnsupportedData InvalidUtf8 TooLarge InternalError Drain Slow PingTimeout ServerFull
        RateLimited TokenExpired Unauthorized Revoked Forbidden ConnectRequired);
    assert_eq!(CloseCode::TABLE.len(), all.len());
    for code in all {
        assert!(CloseCode::TABLE.iter().any(|row| row.0 == code), "{code:?}");
        assert_eq!(CloseCode::from_number(code.number()), Some(code));
        assert!(code.reason().len() <= 123, "fits a close frame");
        match code.number() {
            4000..4500 => assert_ne!(code.reconnect(), Reconnect::No, "{code:?}: 40xx say come back"),
            4500..5000 => assert_eq!(code.reconnect(), Reconnect::No, "{code:?}: 45xx say do not"),
            number => assert!((1000..=1015).contains(&number), "{code:?}"),
        }
    }
    assert_eq!(distinct(CloseCode::TABLE.iter().map(|row| row.1)), all.len());
    assert_eq!(distinct(CloseCode::TABLE.iter().map(|row| row.2)), all.len());
    // Numbers of a later version keep the advice of their range.
    assert_eq!(CloseCode::from_wire(4400).reconnect(), Reconnect::Resume);
    assert_eq!(CloseCode::from_wire(4999).reconnect(), Reconnect::No);
}

#[test]
fn every_gap_reason_has_one_row() {
    let all = every!(GapReason: Retention Epoch Failover Unavailable);
    assert_eq!(GapReason::TABLE.len(), all.len());
    for reason in all {
        assert!(GapReason::TABLE.iter().any(|row| row.0 == reason), "{reason:?}");
        assert_eq!(GapReason::from_name(reason.name()), reason);
        assert_eq!(GapReason::from_number(reason.number().into()), reason);
        assert_ne!(reason.number(), 0, "0 means no gap");
    }
    assert_eq!(distinct(GapReason::TABLE.iter().map(|row| row.1)), all.len());
    assert_eq!(distinct(GapReason::TABLE.iter().map(|row| row.2)), all.len());
}
