//! A token's header and claims, read strictly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use skywave_engine::capability::Capabilities;
use skywave_protocol::UserId;

use super::error::AuthError;
use super::strict_json::Object;

/// Longest `kid` that is compared with anything, in bytes.
const KID_BYTES: usize = 256;
/// Longest `jti`, in bytes: it becomes part of a key of the shared state.
const TOKEN_ID_BYTES: usize = 256;
/// Largest NumericDate taken: the integers a JSON number holds exactly (about 285 million years).
const NUMERIC_DATE_MAX: f64 = 9_007_199_254_740_992.0;

/// The three parts of a token in JWS compact form (RFC 7515, 7.1), not yet decoded.
pub(super) struct Parts<'a> {
    pub(super) header: &'a str,
    pub(super) claims: &'a str,
    pub(super) signature: &'a str,
    /// What the signature covers: `header.claims`.
    pub(super) signed: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn split(token: &'a str) -> Result<Self, AuthError> {
        let malformed = AuthError::Malformed("it has three parts with dots between");
        let (signed, signature) = token.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(malformed)?;
        if claims.contains('.') {
            return Err(malformed);
        }
        Ok(Self { header, claims, signature, signed })
    }
}

fn decode(part: &str, problem: &'static str) -> Result<Vec<u8>, AuthError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthError::Malformed(problem))
}

/// What is read of a header. `jku`, `jwk`, `x5u`, `x5c` and the like are deliberately not among it.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
}

impl Header {
    pub(super) fn parse(part: &str) -> Result<Self, AuthError> {
        let text = decode(part, "its header is not base64url")?;
        let mut object = Object::parse(&text)
            .ok_or(AuthError::Malformed("its header is not a JSON object with each key once"))?;
        if object.contains("crit") || object.contains("b64") || object.contains("zip") {
            return Err(AuthError::Malformed("its header asks for an extension that is not supported"));
        }
        // `none`, in whatever spelling, is no `Algorithm`. Read as a string first: as an enum of serde, `{"HS256":null}`
        // would do.
        let algorithm =
            match object.take::<String>("alg").map(|name| name.map(|name| name.parse::<Algorithm>())) {
                Some(Ok(Ok(algorithm))) => algorithm,
                _ => return Err(AuthError::Malformed("its header names no signing algorithm")),
            };
        let kid = match object.take::<String>("kid") {
            None => None,
            Some(Ok(kid)) if kid.len() <= KID_BYTES => Some(kid),
            Some(_) => return Err(AuthError::Malformed("its header has a kid that is no short string")),
        };
        match object.take::<String>("typ") {
            None => {}
            Some(Ok(kind)) if kind.eq_ignore_ascii_case("JWT") || kind.eq_ignore_ascii_case("at+jwt") => {}
            Some(_) => return Err(AuthError::Malformed("its header names another type than JWT")),
        }
        Ok(Self { algorithm, kid })
    }
}

/// What is read of the claims; times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Claims {
    pub(super) user: Option<UserId>,
    pub(super) expires_at_s: Option<u64>,
    pub(super) not_before_s: Option<u64>,
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<Vec<String>>,
    pub(super) token_id: Option<String>,
    pub(super) capabilities: Capabilities,
    pub(super) admin: bool,
}

impl Claims {
    /// Reads claims whose signature holds.
    pub(super) fn parse(part: &str) -> Result<Self, AuthError> {
        let text = decode(part, "its claims are not base64url")?;
        let mut object = Object::parse(&text)
            .ok_or(AuthError::Malformed("its claims are not a JSON object with each key once"))?;
        let claims = Self {
            user: user(object.take("sub"))?,
            expires_at_s: date("exp", object.take("exp"))?,
            not_before_s: date("nbf", object.take("nbf"))?,
            issuer: string("iss", object.take("iss"))?,
            audience: audience(object.take("aud"))?,
            token_id: token_id(object.take("jti"))?,
            capabilities: capabilities(object.take("cap"))?,
            admin: admin(object.take("admin"))?,
        };
        // Not used, but a token that gets it wrong was not made by something to be trusted.
        date("iat", object.take("iat"))?;
        Ok(claims)
    }
}

type Taken<T> = Option<Result<T, serde_json::Error>>;

fn bad(claim: &'static str, problem: &'static str) -> AuthError {
    AuthError::BadClaim { claim, problem }
}

/// A NumericDate (RFC 7519, 2): a number; fractions of a second are cut off.
fn date(claim: &'static str, taken: Taken<f64>) -> Result<Option<u64>, AuthError> {
    match taken {
        None => Ok(None),
        Some(Ok(seconds)) if (0.0..=NUMERIC_DATE_MAX).contains(&seconds) => Ok(Some(seconds as u64)),
        Some(_) => Err(bad(claim, "no time in seconds since 1970")),
    }
}

fn string(claim: &'static str, taken: Taken<String>) -> Result<Option<String>, AuthError> {
    taken.transpose().map_err(|_| bad(claim, "no string"))
}

fn user(taken: Taken<String>) -> Result<Option<UserId>, AuthError> {
    let Some(name) = string("sub", taken)? else { return Ok(None) };
    UserId::parse(&name).map(Some).map_err(|_| bad("sub", "empty, too long, or holds control characters"))
}

fn token_id(taken: Taken<String>) -> Result<Option<String>, AuthError> {
    match string("jti", taken)? {
        Some(id) if id.is_empty() || id.len() > TOKEN_ID_BYTES => Err(bad("jti", "empty or too long")),
        id => Ok(id),
    }
}

fn admin(taken: Taken<bool>) -> Result<bool, AuthError> {
    taken.transpose().map(Option::unwrap_or_default).map_err(|_| bad("admin", "neither true nor false"))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn audience(taken: Taken<OneOrMany>) -> Result<Option<Vec<String>>, AuthError> {
    match taken {
        None => Ok(None),
        Some(Ok(OneOrMany::One(name))) => Ok(Some(vec![name])),
        Some(Ok(OneOrMany::Many(names))) => Ok(Some(names)),
        Some(Err(_)) => Err(bad("aud", "neither a string nor a list of strings")),
    }
}

/// `{"pattern": ["operation", …] or "operation", …}`.
fn capabilities(taken: Taken<Object<'_>>) -> Result<Capabilities, AuthError> {
    let wrong = bad("cap", "no map of channel patterns to operations");
    let Some(patterns) = taken else { return Ok(Capabilities::default()) };
    let mut rules = Vec::new();
    for (pattern, operations) in patterns.map_err(|_| wrong)?.into_entries() {
        let operations = match serde_json::from_str(operations.get()).map_err(|_| wrong)? {
            OneOrMany::One(name) => vec![name],
            OneOrMany::Many(names) => names,
        };
        rules.push((pattern, operations));
    }
    Capabilities::from_claims(rules).map_err(|_| wrong)
}
