//! Keys of tokens: a shared secret, or a PEM file.

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, EncodingKey};

#[derive(Debug, clap::Args)]
pub(super) struct KeyArgs {
    /// File with the shared secret (HS256); a line end at its end does not count
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
    /// The shared secret itself; better in a file or in this variable than on the command line
    #[arg(long, value_name = "TEXT", env = "SKYWAVE_SECRET", hide_env_values = true, conflicts_with_all = ["secret_file", "key"])]
    pub(super) secret: Option<String>,
    /// PEM file: the private key to make tokens (RS256, ES256, EdDSA), the public one to verify them
    #[arg(long, value_name = "FILE", conflicts_with = "secret_file")]
    pub(super) key: Option<PathBuf>,
    /// Algorithm, if it is not the usual one for the key [default: HS256, RS256, ES256 or EdDSA]
    #[arg(long, value_name = "NAME", value_parser = algorithm)]
    pub(super) algorithm: Option<Algorithm>,
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    name.parse().map_err(|_| {
        "one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA".into()
    })
}

/// What tokens are signed with.
pub(super) struct Signing {
    pub(super) algorithm: Algorithm,
    pub(super) key: EncodingKey,
}

impl KeyArgs {
    pub(super) fn signing(&self) -> anyhow::Result<Signing> {
        if let Some(path) = &self.key {
            let pem = read(path)?;
            return private(&pem, self.algorithm).ok_or_else(|| {
                anyhow::anyhow!("{} holds no private key that fits in PEM form", path.display())
            });
        }
        let secret = self.shared_secret()?;
        let algorithm = self.algorithm.unwrap_or(Algorithm::HS256);
        let least = match algorithm {
            Algorithm::HS256 => 32,
            Algorithm::HS384 => 48,
            Algorithm::HS512 => 64,
            other => anyhow::bail!("{other:?} needs a private key: --key FILE"),
        };
        if secret.len() < least {
            anyhow::bail!(
                "the secret has {} bytes; {algorithm:?} needs at least {least} (RFC 7518, 3.2): openssl rand -base64 {least}",
                secret.len()
            );
        }
        Ok(Signing { algorithm, key: EncodingKey::from_secret(&secret) })
    }

    pub(super) fn shared_secret(&self) -> anyhow::Result<Vec<u8>> {
        match (&self.secret_file, &self.secret) {
            (Some(path), _) => {
                let mut secret = read(path)?;
                if secret.last() == Some(&b'\n') {
                    secret.pop();
                }
                if secret.last() == Some(&b'\r') {
                    secret.pop();
                }
                Ok(secret)
            }
            (None, Some(secret)) => Ok(secret.clone().into_bytes()),
            (None, None) => anyhow::bail!("no key: give --secret-file FILE, --key FILE or SKYWAVE_SECRET"),
        }
    }
}

pub(super) fn read(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))
}

/// Reads a private key of one kind.
type ReadKey = fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>;

/// The private key in a PEM file; its kind says the algorithm unless one is asked for.
fn private(pem: &[u8], asked: Option<Algorithm>) -> Option<Signing> {
    let kinds: [(ReadKey, &[Algorithm]); 3] = [
        (
            EncodingKey::from_rsa_pem,
            &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
        ),
        (EncodingKey::from_ec_pem, &[Algorithm::ES256, Algorithm::ES384]),
        (EncodingKey::from_ed_pem, &[Algorithm::EdDSA]),
    ];
    kinds.into_iter().find_map(|(read, algorithms)| {
        let algorithm = asked.unwrap_or(algorithms[0]);
        let key = algorithms.contains(&algorithm).then(|| read(pem).ok()).flatten()?;
        Some(Signing { algorithm, key })
    })
}
