//! SIGTERM under load: clients are told to move, nothing acknowledged is lost, and the process ends by itself.

use skywave_harness::participant::{Publisher, Subscriber, read_history};
use skywave_harness::{Options, Recorder, Server, Socket, checkers, wait};

#[test]
fn a_drain_tells_clients_and_loses_nothing() -> anyhow::Result<()> {
    let mut server = Server::start_with(Options::config("[timing]\ndrain_seconds = 1\n"))?;
    let recorder = Recorder::default();
    let address = server.address();
    let subscriber = Subscriber::start(address, &recorder, "s", "chat:drain", None);
    wait::until("the subscriber", || subscriber.is_ready().then_some(()))?;
    let publisher = Publisher::start(address, &recorder, "p", "chat:drain", None);
    let mut idle = Socket::connect(address, None)?;
    for _ in 0..3 {
        let before = publisher.acknowledged();
        wait::until("acknowledgements", || (publisher.acknowledged() > before + 50).then_some(()))?;
        server.terminate()?;
        let status = server.wait_exit()?;
        assert!(status.success(), "{status}\n{}", server.log());
        server.run()?;
    }
    assert!(idle.push()?.get("move").is_some());
    assert_eq!(idle.wait_close()?, Some(4000));
    publisher.finish()?;
    let head = read_history(address, &recorder, "chat:drain", None)?;
    subscriber.finish(head)?;
    checkers::assert_holds(&recorder.history())
}
