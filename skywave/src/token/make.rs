//! Making a token.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use skywave_client::ChannelName;
use skywave_protocol::UserId;

use super::capability;
use super::key::KeyArgs;

#[derive(Debug, clap::Args)]
pub(super) struct MakeArgs {
    /// The user the token names (claim sub); without it the bearer is anonymous, with the token's rights
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// What the bearer may do where, e.g. 'chat:*=subscribe,publish' (may be repeated)
    #[arg(long, value_name = "PATTERN=OPERATIONS")]
    cap: Vec<String>,
    /// The bearer is a backend: may do everything in every channel, speak for users and end their connections
    #[arg(long, conflicts_with = "cap")]
    admin: bool,
    /// How long the token is valid: 30s, 15m, 12h, 7d, or never
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = lifetime)]
    expires: Lifetime,
    /// Token id, by which it can be revoked; "auto" makes one
    #[arg(long, value_name = "ID")]
    jti: Option<String>,
    /// Issuer (claim iss)
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
    /// Audience (claim aud)
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// Name of the key, for relays that know several (header kid)
    #[arg(long, value_name = "NAME")]
    kid: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    For(Duration),
    Never,
}

fn lifetime(text: &str) -> Result<Lifetime, String> {
    if text == "never" {
        return Ok(Lifetime::Never);
    }
    let wrong = || "a number and a unit (30s, 15m, 12h, 7d), or never".to_owned();
    let at = text.len() - text.chars().last().filter(char::is_ascii).map_or(0, char::len_utf8);
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = number.parse().map_err(|_| wrong())?;
    match count.checked_mul(seconds) {
        // A thousand years: beyond it somebody has mistyped, and dates stay dates.
        Some(total) if (1..=1_000 * 365 * 86_400).contains(&total) => {
            Ok(Lifetime::For(Duration::from_secs(total)))
        }
        _ => Err(wrong()),
    }
}

pub(super) fn run(args: MakeArgs) -> anyhow::Result<ExitCode> {
    let signing = args.key.signing()?;
    let mut header = jsonwebtoken::Header::new(signing.algorithm);
    header.kid.clone_from(&args.kid);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let token = jsonwebtoken::encode(&header, &args.claims(now)?, &signing.key)?;
    writeln!(std::io::stdout(), "{token}")?;
    Ok(ExitCode::SUCCESS)
}

impl MakeArgs {
    fn claims(&self, now: u64) -> anyhow::Result<Map<String, Value>> {
        let mut claims = Map::new();
        let mut claim = |name: &str, value: Option<Value>| {
            claims.extend(value.map(|value| (name.to_owned(), value)));
        };
        if let Some(user) = &self.user {
            UserId::parse(user)?;
        }
        claim("sub", self.user.clone().map(Value::from));
        claim("iat", Some(now.into()));
        claim(
            "exp",
            match self.expires {
                Lifetime::For(time) => Some((now + time.as_secs()).into()),
                Lifetime::Never => None,
            },
        );
        claim("iss", self.issuer.clone().map(Value::from));
        claim("aud", self.audience.clone().map(Value::from));
        claim(
            "jti",
            self.jti.as_ref().map(|id| match id.as_str() {
                "auto" => ulid::Ulid::generate().to_string().into(),
                id => id.into(),
            }),
        );
        let capabilities = capability::claim(&self.cap)?;
        for pattern in capabilities.keys() {
            let beginning = pattern.strip_suffix('*').unwrap_or(pattern);
            if !beginning.is_empty() {
                // Completed to a name, so that "chat:" may stand before the star.
                ChannelName::parse(&format!("{beginning}x"))
                    .map_err(|error| anyhow::anyhow!("--cap {pattern:?}: {error}"))?;
            }
        }
        claim("cap", (!capabilities.is_empty()).then(|| json!(capabilities)));
        claim("admin", self.admin.then_some(true.into()));
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read() {
        assert_eq!(lifetime("90s"), Ok(Lifetime::For(Duration::from_secs(90))));
        assert_eq!(lifetime("7d"), Ok(Lifetime::For(Duration::from_secs(604_800))));
        assert_eq!(lifetime("never"), Ok(Lifetime::Never));
        for wrong in ["", "s", "5", "0s", "1y", "-1h", "1é", "99999999999d"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
