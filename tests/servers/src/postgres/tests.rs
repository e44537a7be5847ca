use super::*;

fn unsynced() -> PostgresOptions {
    PostgresOptions { unsynced: true, ..PostgresOptions::default() }
}

#[test]
fn what_was_committed_survives_a_kill_on_the_same_port() {
    let mut server = Postgres::start().unwrap();
    let (address, pid) = (server.address(), server.process().pid().unwrap());
    server.sql(SUPERUSER, "CREATE TABLE t (n int); INSERT INTO t VALUES (7)").unwrap();
    let children = family::children(pid).unwrap();
    assert!(!children.is_empty());
    for _ in 0..3 {
        server.kill9().unwrap();
        assert!(!server.is_running() && TcpStream::connect(address).is_err());
        server.restart().unwrap();
    }
    assert_eq!(server.sql(SUPERUSER, "SELECT n FROM t").unwrap(), "7");
    assert_eq!(server.sql(SUPERUSER, "SHOW fsync").unwrap(), "on");
    server.stop().unwrap();
    server.restart().unwrap();
    assert_eq!(server.address(), address);
    let folder = server.folder.clone();
    drop(server);
    assert!(!folder.exists());
}

#[test]
fn a_frozen_server_answers_when_it_is_thawed() {
    let server = Postgres::start_with(unsynced()).unwrap();
    server.pause().unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| server.sql(SUPERUSER, "SELECT 1"));
        let stat = fs::read_to_string(format!("/proc/{}/stat", server.process().pid().unwrap())).unwrap();
        let answered = asked.is_finished();
        // Before anything is judged: whoever asks waits for it.
        server.resume().unwrap();
        assert_eq!(asked.join().unwrap().unwrap(), "1");
        assert!(stat.contains(") T "), "{stat}");
        assert!(!answered);
    });
}

#[test]
fn a_wrong_password_is_refused() {
    let options = PostgresOptions { password: Some("right".into()), ..unsynced() };
    let server = Postgres::start_with(options).unwrap();
    let mut command = server.command("psql");
    let wrong = server.url().replace(server.password(), "wrong");
    let error = run(command.args(["--dbname", &wrong, "--command", "SELECT 1"])).unwrap_err();
    assert!(error.to_string().contains("password authentication failed"), "{error}");
}

#[test]
fn a_password_that_would_break_its_url_is_refused() {
    let options = PostgresOptions { password: Some("a@b".into()), ..unsynced() };
    assert!(Postgres::start_with(options).is_err());
}

#[test]
fn a_folder_is_used_again_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let options = PostgresOptions { folder: Some(folder.path().join("server")), ..unsynced() };
    let server = Postgres::start_with(options.clone()).unwrap();
    server.create_database("od\"d").unwrap();
    drop(server);
    let server = Postgres::start_with(options.set("max_connections", 20)).unwrap();
    assert_eq!(server.sql("od\"d", "SHOW max_connections").unwrap(), "20");
}

#[test]
fn a_replica_follows_and_can_be_promoted() {
    let primary = Postgres::start_with(unsynced()).unwrap();
    let replica = primary.replica(unsynced()).unwrap();
    primary.sql(SUPERUSER, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").unwrap();
    replica.wait_caught_up(&primary).unwrap();
    assert!(replica.is_replica().unwrap());
    assert_eq!(replica.sql(SUPERUSER, "SELECT n FROM t").unwrap(), "1");
    assert!(replica.sql(SUPERUSER, "INSERT INTO t VALUES (2)").is_err());
    replica.promote().unwrap();
    replica.sql(SUPERUSER, "INSERT INTO t VALUES (2)").unwrap();
    assert!(!replica.is_replica().unwrap());
}
