//! Certificates for servers under test: an authority of its own, a server's certificate for this machine, a client's.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

/// PEM files; keys are PKCS #8.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Vouches for the others.
    pub authority: PathBuf,
    pub server: PathBuf,
    pub server_key: PathBuf,
    pub client: PathBuf,
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes new ones in `folder`, good for `localhost`, `127.0.0.1` and `addresses`.
    pub fn make(folder: &Path, addresses: &[IpAddr]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "Skywave test authority");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        names.extend(addresses.iter().map(IpAddr::to_string));
        let (server, server_key) = leaf(&authority, "server", names)?;
        let (client, client_key) = leaf(&authority, "client", vec!["client.test".to_owned()])?;

        let write = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
            let path = folder.join(name);
            std::fs::write(&path, text)?;
            Ok(path)
        };
        Ok(Self {
            authority: write("ca.pem", &authority.pem())?,
            server: write("server.pem", &server)?,
            server_key: write("server.key", &server_key)?,
            client: write("client.pem", &client)?,
            client_key: write("client.key", &client_key)?,
        })
    }
}

/// Certificate and key. Good for both ends: cluster and gateway links of a server are dialled with the server's own.
fn leaf(
    authority: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    names: Vec<String>,
) -> anyhow::Result<(String, String)> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, authority)?.pem(), key.serialize_pem()))
}
