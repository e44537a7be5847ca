//! Every way a token is known to be attacked, as a test against the whole verifier.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jsonwebtoken::{Algorithm, EncodingKey};
use skywave_ports::{FeedPosition, Notices, SharedState, StateError, TokenGrant, TokenLoan};
use skywave_protocol::limits::TOKEN_BYTES;

use super::config::{AuthConfig, JwksConfig, KeyConfig};
use super::test_tokens::{KeyPair, SECRET, encode, hs256, signed};
use super::{AuthError, Authenticator, Verifier, revocation};

const NOW: u64 = 1_800_000_000;

fn key(algorithm: Algorithm, kid: Option<&str>, secret_or_pem: &str) -> KeyConfig {
    let symmetric = matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
    let text = Some(secret_or_pem.to_owned());
    let (secret, pem) = if symmetric { (text, None) } else { (None, text) };
    KeyConfig { algorithm, kid: kid.map(Into::into), secret, secret_file: None, pem, pem_file: None }
}

fn with_secret(change: impl FnOnce(&mut AuthConfig)) -> Verifier {
    let mut config = AuthConfig { keys: vec![key(Algorithm::HS256, None, SECRET)], ..AuthConfig::default() };
    change(&mut config);
    Verifier::new(&config).unwrap()
}

fn verify(claims: &str) -> Result<skywave_engine::session::Authorization, AuthError> {
    with_secret(|_| {}).verify(&hs256(SECRET, claims), NOW)
}

fn claims_error(claims: &str) -> AuthError {
    verify(claims).expect_err(claims)
}

#[test]
fn a_good_token_says_who_and_until_when() {
    let got = verify(r#"{"sub":"ada","exp":1800000060,"jti":"t1","cap":{"chat:*":["subscribe"]}}"#).unwrap();
    assert_eq!(got.user.unwrap().as_str(), "ada");
    assert_eq!(got.expires_at_s, Some(1_800_000_065));
    assert_eq!(got.token_id.as_deref(), Some("t1"));
}

#[test]
fn every_kind_of_key_works() {
    for pair in [KeyPair::es256(), KeyPair::eddsa(), KeyPair::rs256()] {
        let config = AuthConfig {
            keys: vec![key(pair.algorithm, Some("k"), &pair.public_pem)],
            ..AuthConfig::default()
        };
        let verifier = Verifier::new(&config).unwrap();
        let header = format!(r#"{{"alg":"{:?}","kid":"k"}}"#, pair.algorithm);
        let token = pair.token(&header, r#"{"sub":"ada","exp":1800000060}"#);
        assert!(verifier.verify(&token, NOW).is_ok(), "{:?}", pair.algorithm);
        // From the cache: the same answer, and the time still counts.
        assert!(verifier.verify(&token, NOW).is_ok(), "{:?}", pair.algorithm);
        assert_eq!(verifier.verify(&token, NOW + 66), Err(AuthError::Expired));
        let other = pair.token(r#"{"alg":"HS256","kid":"k"}"#, r#"{"sub":"ada","exp":1800000060}"#);
        assert_eq!(verifier.verify(&other, NOW), Err(AuthError::UnknownKey));
    }
}

#[test]
fn alg_none_in_any_spelling_is_refused() {
    let claims = encode(r#"{"sub":"ada","exp":1900000000}"#);
    let signature = hs256(SECRET, "{}").rsplit_once('.').unwrap().1.to_owned();
    let verifier = with_secret(|_| {});
    for alg in [
        r#""none""#,
        r#""None""#,
        r#""NONE""#,
        r#""nOnE""#,
        r#""""#,
        r#""hs256""#,
        r#""HS256 ""#,
        "null",
        "0",
        r#"["HS256"]"#,
        r#"{"HS256":null}"#,
        r#""HS256\u0000""#,
    ] {
        let header = encode(format!(r#"{{"alg":{alg},"typ":"JWT"}}"#));
        for signature in ["", &signature] {
            let got = verifier.verify(&format!("{header}.{claims}.{signature}"), NOW);
            assert!(matches!(got, Err(AuthError::Malformed(_))), "{alg}: {got:?}");
        }
    }
    let header = encode(r#"{"typ":"JWT"}"#);
    assert!(matches!(verifier.verify(&format!("{header}.{claims}."), NOW), Err(AuthError::Malformed(_))));
}

#[test]
fn a_public_key_used_as_a_shared_secret_is_refused() {
    for pair in [KeyPair::rs256(), KeyPair::es256(), KeyPair::eddsa()] {
        let config =
            AuthConfig { keys: vec![key(pair.algorithm, None, &pair.public_pem)], ..AuthConfig::default() };
        let verifier = Verifier::new(&config).unwrap();
        let claims = r#"{"sub":"ada","exp":1900000000}"#;
        for secret in [pair.public_pem.as_str(), pair.public_pem.trim_end()] {
            assert_eq!(verifier.verify(&hs256(secret, claims), NOW), Err(AuthError::UnknownKey));
            // The header claims the right algorithm, the signature is the wrong one's.
            let header = format!(r#"{{"alg":"{:?}"}}"#, pair.algorithm);
            let forged =
                signed(&header, claims, &EncodingKey::from_secret(secret.as_bytes()), Algorithm::HS256);
            assert_eq!(verifier.verify(&forged, NOW), Err(AuthError::BadSignature));
        }
    }
}

#[test]
fn hostile_kids_reach_nothing() {
    let verifier = with_secret(|config| config.keys[0].kid = Some("k1".into()));
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let claims = r#"{"sub":"ada","exp":1900000000}"#;
    let token = |kid: &str| {
        let header = format!(r#"{{"alg":"HS256","kid":{}}}"#, serde_json::to_string(kid).unwrap());
        signed(&header, claims, &secret, Algorithm::HS256)
    };
    assert!(verifier.verify(&token("k1"), NOW).is_ok());
    for kid in
        ["", "K1", "k1 ", "../../../../dev/null", "/etc/passwd", "' OR '1'='1", "k1\0", "file:///dev/null"]
    {
        assert_eq!(verifier.verify(&token(kid), NOW), Err(AuthError::UnknownKey), "{kid}");
    }
    let long = token(&"k".repeat(1_000));
    assert!(matches!(verifier.verify(&long, NOW), Err(AuthError::Malformed(_))));
    let huge = token(&"k".repeat(1 << 20));
    assert!(matches!(verifier.verify(&huge, NOW), Err(AuthError::TooLong { .. })));
    for kid in ["7", "null", "[\"k1\"]", "{}"] {
        let forged = signed(&format!(r#"{{"alg":"HS256","kid":{kid}}}"#), claims, &secret, Algorithm::HS256);
        assert!(matches!(verifier.verify(&forged, NOW), Err(AuthError::Malformed(_))), "{kid}");
    }
}

#[test]
fn times_are_strict() {
    assert_eq!(claims_error(r#"{"sub":"a"}"#), AuthError::BadClaim { claim: "exp", problem: "missing" });
    for exp in ["\"1900000000\"", "-1", "1e400", "null", "[1900000000]", "true", "1e300", "{}"] {
        let error = claims_error(&format!(r#"{{"exp":{exp}}}"#));
        assert!(
            matches!(error, AuthError::BadClaim { claim: "exp", .. } | AuthError::Malformed(_)),
            "{exp}: {error:?}"
        );
    }
    assert_eq!(claims_error(r#"{"exp":0}"#), AuthError::Expired);
    assert_eq!(claims_error(r#"{"exp":1799999995}"#), AuthError::Expired);
    assert!(verify(r#"{"exp":1799999996}"#).is_ok(), "within the leeway");
    assert!(verify(r#"{"exp":1900000000.5}"#).is_ok(), "a NumericDate may have a fraction");
    assert_eq!(claims_error(r#"{"exp":1900000000,"nbf":1800000006}"#), AuthError::NotYet);
    assert!(verify(r#"{"exp":1900000000,"nbf":1800000005}"#).is_ok());
    for claim in ["nbf", "iat"] {
        let error = claims_error(&format!(r#"{{"exp":1900000000,"{claim}":"soon"}}"#));
        assert!(matches!(error, AuthError::BadClaim { .. }), "{claim}");
    }
    let lenient = with_secret(|config| config.require_expiry = false);
    assert_eq!(lenient.verify(&hs256(SECRET, r#"{"sub":"a"}"#), NOW).unwrap().expires_at_s, None);
    assert!(lenient.verify(&hs256(SECRET, r#"{"exp":null}"#), NOW).is_err(), "null is not absent");
}

#[test]
fn a_claim_given_twice_is_refused() {
    for claims in [
        r#"{"exp":1,"exp":1900000000}"#,
        r#"{"exp":1900000000,"sub":"ada","sub":"bob"}"#,
        r#"{"exp":1900000000,"sub":"ada","s\u0075b":"bob"}"#,
        r#"{"exp":1900000000,"x":1,"x":2}"#,
        r#"{"exp":1900000000,"cap":{"a":["subscribe"],"a":["*"]}}"#,
    ] {
        assert!(verify(claims).is_err(), "{claims}");
    }
    let header = r#"{"alg":"HS256","alg":"none"}"#;
    let token = signed(
        header,
        r#"{"exp":1900000000}"#,
        &EncodingKey::from_secret(SECRET.as_bytes()),
        Algorithm::HS256,
    );
    assert!(matches!(with_secret(|_| {}).verify(&token, NOW), Err(AuthError::Malformed(_))));
}

#[test]
fn issuer_and_audience_are_exact() {
    let verifier = with_secret(|config| {
        config.issuer = vec!["https://issuer.example".into()];
        config.audience = vec!["skywave".into()];
    });
    let check = |claims: &str| verifier.verify(&hs256(SECRET, claims), NOW).map(|_| ());
    let good = r#"{"exp":1900000000,"iss":"https://issuer.example","aud":["other","skywave"]}"#;
    assert_eq!(check(good), Ok(()));
    assert_eq!(check(&good.replace("[\"other\",\"skywave\"]", "\"skywave\"")), Ok(()));
    for (from, to, error) in [
        ("https://issuer.example", "https://issuer.example/", AuthError::WrongIssuer),
        ("https://issuer.example", "https://issuer.example.evil", AuthError::WrongIssuer),
        ("\"skywave\"", "\"skywave2\"", AuthError::WrongAudience),
        ("\"skywave\"", "\"*\"", AuthError::WrongAudience),
    ] {
        assert_eq!(check(&good.replace(from, to)), Err(error), "{to}");
    }
    assert_eq!(check(r#"{"exp":1900000000,"aud":"skywave"}"#), Err(AuthError::WrongIssuer));
    assert_eq!(check(r#"{"exp":1900000000,"iss":"https://issuer.example"}"#), Err(AuthError::WrongAudience));
    assert!(matches!(
        check(r#"{"exp":1900000000,"iss":["https://issuer.example"],"aud":"skywave"}"#),
        Err(AuthError::BadClaim { claim: "iss", .. })
    ));
    // Without a configured audience, a token for somebody else is not for us.
    assert_eq!(claims_error(r#"{"exp":1900000000,"aud":"other"}"#), AuthError::WrongAudience);
}

#[test]
fn other_shapes_are_refused() {
    let good = hs256(SECRET, r#"{"exp":1900000000}"#);
    let verifier = with_secret(|_| {});
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let flipped = match claims.strip_prefix('e') {
        Some(rest) => format!("f{rest}"),
        None => format!("e{}", &claims[1..]),
    };
    for bad in [
        String::new(),
        "..".into(),
        message.into(),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{header}.{flipped}.{signature}"),
        format!("{header}.{claims}.{}", &signature[..signature.len() - 1]),
        format!("{header}.{claims}."),
        format!("{}.{claims}.{signature}", encode("[]")),
        format!("{}.{claims}.{signature}", encode("\u{feff}{}")),
        "é.é.é".into(),
    ] {
        assert!(verifier.verify(&bad, NOW).is_err(), "{bad}");
    }
    assert_eq!(
        verifier.verify(&"a".repeat(TOKEN_BYTES + 1), NOW),
        Err(AuthError::TooLong { limit: TOKEN_BYTES, got: TOKEN_BYTES + 1 })
    );
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    for header in [
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#,
        r#"{"alg":"HS256","zip":"DEF"}"#,
        r#"{"alg":"HS256","typ":"dpop+jwt"}"#,
    ] {
        let token = signed(header, r#"{"exp":1900000000}"#, &secret, Algorithm::HS256);
        assert!(matches!(verifier.verify(&token, NOW), Err(AuthError::Malformed(_))), "{header}");
    }
    for claims in [
        r#"{"exp":1900000000,"sub":""}"#,
        r#"{"exp":1900000000,"sub":7}"#,
        r#"{"exp":1900000000,"sub":"a\u0000b"}"#,
        r#"{"exp":1900000000,"jti":""}"#,
        r#"{"exp":1900000000,"cap":["chat:*"]}"#,
        r#"{"exp":1900000000,"cap":{"chat:*":["write"]}}"#,
        r#"{"exp":1900000000,"cap":{"a.>":["subscribe"]}}"#,
        r#"{"exp":1900000000,"cap":null}"#,
        "[]",
        "{}{}",
    ] {
        assert!(verify(claims).is_err(), "{claims}");
    }
    // Must come back at all: deep nesting is no way to the end of the stack.
    let deep = format!(r#"{{"exp":1900000000,"x":{}{}}}"#, "[".repeat(2_500), "]".repeat(2_500));
    assert!(verify(&deep).is_ok_and(|got| got.user.is_none()) || verify(&deep).is_err());
}

/// A shared state that remembers one key, or is out of order.
struct State(Result<String, StateError>);

#[async_trait]
impl SharedState for State {
    async fn take_tokens(&self, _: &str, _: u32, _: u32, _: f64) -> Result<TokenGrant, StateError> {
        Ok(TokenGrant::Granted)
    }

    async fn remember(&self, _: &str, _: Duration) -> Result<(), StateError> {
        Ok(())
    }

    async fn is_remembered(&self, key: &str) -> Result<bool, StateError> {
        self.0.clone().map(|revoked| revoked == key)
    }

    async fn forget(&self, _: &str) -> Result<(), StateError> {
        Ok(())
    }

    async fn borrow_tokens(&self, _: &str, most: u32, _: u32, _: f64) -> Result<TokenLoan, StateError> {
        Ok(TokenLoan { tokens: most, wait: Duration::ZERO })
    }

    async fn keep(&self, _: &str, _: Bytes, _: Duration) -> Result<(), StateError> {
        Ok(())
    }

    async fn kept(&self, _: &str) -> Result<Option<Bytes>, StateError> {
        Ok(None)
    }

    async fn append_notice(&self, _: &str, _: Bytes, _: Duration) -> Result<(), StateError> {
        Ok(())
    }

    async fn read_notices(&self, _: &str, _: FeedPosition) -> Result<Notices, StateError> {
        Ok(Notices::default())
    }
}

fn remembering(token_id: &str) -> Arc<State> {
    Arc::new(State(Ok(revocation::state_key(token_id))))
}

/// A shared state that is told nothing, and asked while a revocation is on its way.
struct Meanwhile(tokio::sync::Notify);

#[async_trait]
impl SharedState for Meanwhile {
    async fn take_tokens(&self, _: &str, _: u32, _: u32, _: f64) -> Result<TokenGrant, StateError> {
        Ok(TokenGrant::Granted)
    }

    async fn remember(&self, _: &str, _: Duration) -> Result<(), StateError> {
        Ok(())
    }

    async fn is_remembered(&self, _: &str) -> Result<bool, StateError> {
        self.0.notified().await;
        Ok(false)
    }

    async fn forget(&self, _: &str) -> Result<(), StateError> {
        Ok(())
    }

    async fn borrow_tokens(&self, _: &str, most: u32, _: u32, _: f64) -> Result<TokenLoan, StateError> {
        Ok(TokenLoan { tokens: most, wait: Duration::ZERO })
    }

    async fn keep(&self, _: &str, _: Bytes, _: Duration) -> Result<(), StateError> {
        Ok(())
    }

    async fn kept(&self, _: &str) -> Result<Option<Bytes>, StateError> {
        Ok(None)
    }

    async fn append_notice(&self, _: &str, _: Bytes, _: Duration) -> Result<(), StateError> {
        Ok(())
    }

    async fn read_notices(&self, _: &str, _: FeedPosition) -> Result<Notices, StateError> {
        Ok(Notices::default())
    }
}

/// Answers every request with `body()` and counts them.
fn key_server(body: impl Fn() -> String + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(body().as_bytes());
        }
    });
    (url, requests)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn jwk(pair: &KeyPair, kid: &str) -> String {
    let key = jsonwebtoken::DecodingKey::from_ec_pem(pair.public_pem.as_bytes()).unwrap();
    let point = key.try_get_as_bytes().unwrap();
    let (x, y) = (encode(&point[1..33]), encode(&point[33..65]));
    format!(r#"{{"kty":"EC","crv":"P-256","kid":"{kid}","use":"sig","x":"{x}","y":"{y}"}}"#)
}

fn from_url(url: &str) -> AuthConfig {
    let jwks = JwksConfig {
        url: Some(url.into()),
        file: None,
        refresh_seconds: 300,
        unknown_kid_seconds: 3_600,
        timeout_seconds: 5,
    };
    AuthConfig { jwks: Some(jwks), ..AuthConfig::default() }
}

#[tokio::test]
async fn a_header_that_names_keys_causes_no_io() {
    let (url, requests) = key_server(|| ok("{}"));
    let pair = KeyPair::es256();
    let config = AuthConfig {
        keys: vec![key(Algorithm::ES256, None, &KeyPair::es256().public_pem)],
        ..AuthConfig::default()
    };
    let authenticator = Authenticator::new(&config, remembering("")).unwrap();
    for member in [
        format!(r#""jku":"{url}""#),
        format!(r#""x5u":"{url}""#),
        format!(r#""jwk":{}"#, jwk(&pair, "own")),
        format!(r#""kid":"{url}""#),
    ] {
        let token = pair.token(&format!(r#"{{"alg":"ES256",{member}}}"#), r#"{"exp":1900000000}"#);
        assert_eq!(
            authenticator.authorize(Some(&token), NOW).await,
            Err(AuthError::BadSignature),
            "{member}"
        );
    }
    assert_eq!(requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_rotated_key_is_fetched_once_and_unknown_kids_do_not_hammer() {
    let (old, new) = (KeyPair::es256(), KeyPair::es256());
    let both = ok(&format!(r#"{{"keys":[{},{}]}}"#, jwk(&old, "old"), jwk(&new, "new")));
    let first = ok(&format!(r#"{{"keys":[{}]}}"#, jwk(&old, "old")));
    let served = Arc::new(AtomicUsize::new(0));
    let (url, requests) =
        key_server(
            move || if served.fetch_add(1, Ordering::SeqCst) == 0 { first.clone() } else { both.clone() },
        );
    let authenticator = Authenticator::new(&from_url(&url), remembering("")).unwrap();
    let token = |pair: &KeyPair, kid: &str| {
        pair.token(&format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#), r#"{"exp":1900000000}"#)
    };
    let (with_old, with_new) = (token(&old, "old"), token(&new, "new"));
    assert!(authenticator.authorize(Some(&with_old), NOW).await.is_ok());
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    // The interval for unknown kids has begun: nobody can make the source be asked again.
    assert_eq!(authenticator.authorize(Some(&with_new), NOW).await, Err(AuthError::UnknownKey));
    for n in 0..50 {
        let unknown = token(&new, &format!("made-up-{n}"));
        assert_eq!(authenticator.authorize(Some(&unknown), NOW).await, Err(AuthError::UnknownKey));
    }
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn tokens_that_wait_for_the_same_rotation_share_one_fetch() {
    let pair = KeyPair::es256();
    let body = ok(&format!(r#"{{"keys":[{}]}}"#, jwk(&pair, "k")));
    let (url, requests) = key_server(move || body.clone());
    let authenticator = Authenticator::new(&from_url(&url), remembering("")).unwrap();
    let token = pair.token(r#"{"alg":"ES256","kid":"k"}"#, r#"{"exp":1900000000}"#);
    let all =
        futures_util::future::join_all((0..20).map(|_| authenticator.authorize(Some(&token), NOW))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_source_that_fails_says_try_later_and_keeps_the_last_good_keys() {
    let pair = KeyPair::es256();
    let good = ok(&format!(r#"{{"keys":[{}]}}"#, jwk(&pair, "k")));
    let served = Arc::new(AtomicUsize::new(0));
    let (url, requests) = key_server(move || match served.fetch_add(1, Ordering::SeqCst) {
        0 => "HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into(),
        1 => good.clone(),
        2 => "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".into(),
        _ => ok(&" ".repeat(600 * 1024)),
    });
    let mut config = from_url(&url);
    if let Some(jwks) = &mut config.jwks {
        jwks.unknown_kid_seconds = 0;
        jwks.refresh_seconds = 1;
    }
    let authenticator = Arc::new(Authenticator::new(&config, remembering("")).unwrap());
    let token = pair.token(r#"{"alg":"ES256","kid":"k"}"#, r#"{"exp":1900000000}"#);
    assert_eq!(authenticator.authorize(Some(&token), NOW).await, Err(AuthError::KeysUnavailable));
    let refresher = Arc::clone(&authenticator);
    let refresher = tokio::spawn(async move { refresher.keep_keys_fresh().await });
    while requests.load(Ordering::SeqCst) < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    refresher.abort();
    assert!(authenticator.authorize(Some(&token), NOW).await.is_ok());
}

#[tokio::test]
async fn revoked_tokens_are_refused_here_and_where_the_news_came_late() {
    let config = AuthConfig { keys: vec![key(Algorithm::HS256, None, SECRET)], ..AuthConfig::default() };
    let token = hs256(SECRET, r#"{"exp":1900000000,"jti":"t1"}"#);
    let other = hs256(SECRET, r#"{"exp":1900000000,"jti":"t2"}"#);
    let late = Authenticator::new(&config, remembering("t1")).unwrap();
    assert_eq!(late.authorize(Some(&token), NOW).await, Err(AuthError::Revoked));
    assert!(late.authorize(Some(&other), NOW).await.is_ok());

    let cut_off = Arc::new(State(Err(StateError::Unavailable("down".into()))));
    let here = Authenticator::new(&config, cut_off).unwrap();
    assert!(here.authorize(Some(&token), NOW).await.is_ok());
    here.revoke("t1".into(), 1_900_000_000, NOW);
    assert_eq!(here.authorize(Some(&token), NOW).await, Err(AuthError::Revoked));
    assert!(here.authorize(Some(&other), NOW).await.is_ok());
}

#[tokio::test]
async fn a_revocation_that_comes_while_the_token_is_checked_counts() {
    let config = AuthConfig { keys: vec![key(Algorithm::HS256, None, SECRET)], ..AuthConfig::default() };
    let token = hs256(SECRET, r#"{"exp":1900000000,"jti":"t1"}"#);
    let state = Arc::new(Meanwhile(tokio::sync::Notify::new()));
    let authenticator = Authenticator::new(&config, state.clone()).unwrap();
    let mut check = Box::pin(authenticator.authorize(Some(&token), NOW));
    let first = check.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(first.is_pending());
    authenticator.revoke("t1".into(), 1_900_000_000, NOW);
    state.0.notify_one();
    assert_eq!(check.await, Err(AuthError::Revoked));
}

#[tokio::test]
async fn anonymous_only_where_configured() {
    let anonymous = AuthConfig { anonymous: true, ..AuthConfig::default() };
    let open = Authenticator::new(&anonymous, remembering("")).unwrap();
    assert_eq!(open.authorize(None, NOW).await.unwrap().user, None);
    // A bad token is not the same as none.
    assert!(open.authorize(Some(""), NOW).await.is_err());
    assert!(open.authorize(Some("a.b.c"), NOW).await.is_err());
    let config = AuthConfig { keys: vec![key(Algorithm::HS256, None, SECRET)], ..AuthConfig::default() };
    let closed = Authenticator::new(&config, remembering("")).unwrap();
    assert_eq!(closed.authorize(None, NOW).await, Err(AuthError::Missing));
    assert!(Authenticator::new(&AuthConfig::default(), remembering("")).is_err());
}
