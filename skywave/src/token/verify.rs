//! Verifying a token: with the very code of the edge.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use skywave_edge::auth::config::KeyConfig;
use skywave_edge::auth::{AuthConfig, Verifier};

use super::key::{self, KeyArgs};

/// Verify a token and print its claims
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// The token; - reads it from standard input
    token: String,
    /// Accepted issuer
    #[arg(long, value_name = "TEXT")]
    issuer: Vec<String>,
    /// Accepted audience
    #[arg(long, value_name = "TEXT")]
    audience: Vec<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Longest input that is read for a token, in bytes.
const INPUT_BYTES: u64 = 64 * 1024;

pub(super) fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let token = match args.token.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin().lock().take(INPUT_BYTES).read_to_string(&mut text)?;
            text.trim().to_owned()
        }
        token => token.to_owned(),
    };
    let verifier = verifier(&args)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    match verifier.verify(&token, now) {
        Ok(_) => {
            // The signature holds, so these are three parts of base64url.
            let claims = token.split('.').nth(1).unwrap_or_default();
            let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
            writeln!(std::io::stdout(), "{claims:#}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("skywave: the token is not accepted: {error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn verifier(args: &VerifyArgs) -> anyhow::Result<Verifier> {
    let algorithms = |usual: &[Algorithm]| args.key.algorithm.map_or(usual.to_vec(), |asked| vec![asked]);
    let key = |algorithm, secret: Option<String>, pem: Option<String>| KeyConfig {
        algorithm,
        kid: None,
        secret,
        secret_file: None,
        pem,
        pem_file: None,
    };
    let candidates: Vec<KeyConfig> = match &args.key.key {
        Some(path) => {
            let pem = String::from_utf8(key::read(path)?)?;
            let usual = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
            algorithms(&usual).into_iter().map(|algorithm| key(algorithm, None, Some(pem.clone()))).collect()
        }
        None => {
            let secret = String::from_utf8(args.key.shared_secret()?)?;
            algorithms(&[Algorithm::HS256]).into_iter().map(|a| key(a, Some(secret.clone()), None)).collect()
        }
    };
    // The kind of a public key is found by trying: only the fitting algorithm takes it.
    let mut last = None;
    for candidate in candidates {
        let config = AuthConfig {
            keys: vec![candidate],
            issuer: args.issuer.clone(),
            audience: args.audience.clone(),
            require_expiry: false,
            ..AuthConfig::default()
        };
        match Verifier::new(&config) {
            Ok(verifier) => return Ok(verifier),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| anyhow::anyhow!("no key"), anyhow::Error::from))
}
