//! Tokens made on the command line are what the relay and `token verify` accept, and nothing else is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use support::{Server, any_port, run, run_with_input, stderr, stdout};

#[test]
fn a_token_of_every_kind_of_key_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("secret"), format!("{}\n", "s".repeat(32))).unwrap();
    let kinds = [
        ("rsa", &rcgen::PKCS_RSA_SHA256),
        ("ec", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("ed", &rcgen::PKCS_ED25519),
    ];
    for (name, algorithm) in kinds {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        fs::write(path(&format!("{name}.pem")), key.serialize_pem()).unwrap();
        fs::write(path(&format!("{name}.pub.pem")), key.public_key_pem()).unwrap();
    }
    let keys = [
        ("HS256", ["--secret-file".to_owned(), path("secret")], ["--secret-file".to_owned(), path("secret")]),
        ("RS256", ["--key".into(), path("rsa.pem")], ["--key".into(), path("rsa.pub.pem")]),
        ("ES256", ["--key".into(), path("ec.pem")], ["--key".into(), path("ec.pub.pem")]),
        ("EdDSA", ["--key".into(), path("ed.pem")], ["--key".into(), path("ed.pub.pem")]),
    ];
    for (algorithm, private, public) in &keys {
        let made = run(&[
            "token",
            "--user",
            "ada",
            "--cap",
            "chat:*=subscribe,publish",
            "--cap",
            "doc:1=*",
            "--jti",
            "t1",
            "--expires",
            "2h",
            "--kid",
            "k",
            &private[0],
            &private[1],
        ]);
        assert_eq!(made.status.code(), Some(0), "{algorithm}: {}", stderr(&made));
        let token = stdout(&made).trim().to_owned();
        let verified = run(&["token", "verify", &token, &public[0], &public[1]]);
        assert_eq!(verified.status.code(), Some(0), "{algorithm}: {}", stderr(&verified));
        let claims: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
        assert_eq!(claims["sub"], "ada");
        assert_eq!(claims["cap"]["chat:*"], serde_json::json!(["subscribe", "publish"]));
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 7_200);

        // One changed byte of the claims, and it is worth nothing.
        let middle = token.find('.').unwrap() + 5;
        let other = if &token[middle..=middle] == "A" { "B" } else { "A" };
        let forged = format!("{}{other}{}", &token[..middle], &token[middle + 1..]);
        let refused = run_with_input(&["token", "verify", "-", &public[0], &public[1]], forged.as_bytes());
        assert_eq!(refused.status.code(), Some(1), "{algorithm}");
        assert!(stderr(&refused).contains("not accepted"));
    }
}

#[test]
fn a_weak_secret_and_slips_are_refused() {
    let weak = run(&["token", "--user", "ada", "--secret", "short"]);
    assert_eq!(weak.status.code(), Some(1));
    assert!(stderr(&weak).contains("openssl rand"), "{}", stderr(&weak));
    let none = run(&["token", "--user", "ada"]);
    assert!(stderr(&none).contains("--secret-file"), "{}", stderr(&none));
    let slip = run(&["token", "--cap", "chat:*=read", "--secret", &"s".repeat(32)]);
    assert!(stderr(&slip).contains("\"read\" is none of subscribe"), "{}", stderr(&slip));
}

#[test]
fn the_relay_lets_in_whom_the_token_names() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "k".repeat(40)).unwrap();
    let config = folder.path().join("skywave.toml");
    let keys = format!(
        "[auth]\nanonymous = false\n[[auth.keys]]\nalgorithm = \"HS256\"\nsecret_file = {secret:?}\n"
    );
    fs::write(&config, keys).unwrap();
    let data = folder.path().join("data");
    let server = Server::start_with(any_port(), &data, &["--config", config.to_str().unwrap()]);
    let url = server.url();
    let token = |args: &[&str]| {
        let mut all = vec!["token", "--secret-file", secret.to_str().unwrap()];
        all.extend(args);
        stdout(&run(&all)).trim().to_owned()
    };

    let anonymous = run(&["pub", "chat:a", "x", "--url", &url]);
    assert_eq!(anonymous.status.code(), Some(1));
    assert!(stderr(&anonymous).contains("unauthorized"), "{}", stderr(&anonymous));

    let ada = token(&["--user", "ada"]);
    for channel in ["chat:a", "user:ada"] {
        let output = run(&["pub", channel, "hello", "--url", &url, "--token", &ada]);
        assert_eq!(output.status.code(), Some(0), "{channel}: {}", stderr(&output));
    }
    let eve = token(&["--user", "eve"]);
    let output =
        run(&["sub", "user:ada", "--from", "beginning", "--count", "1", "--url", &url, "--token", &eve]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("forbidden"), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
    let reader = token(&["--cap", "chat:*=subscribe,history"]);
    let output =
        run(&["sub", "chat:a", "--from", "beginning", "--count", "1", "--url", &url, "--token", &reader]);
    assert_eq!(stdout(&output), "hello\n", "{}", stderr(&output));
    let output = run(&["pub", "chat:a", "no", "--url", &url, "--token", &reader]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}
