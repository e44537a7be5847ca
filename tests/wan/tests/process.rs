//! The process that serves links: its plan, its control socket, its errors.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use skywave_servers::{Process, wait};
use skywave_wan::{Answer, Change, Control, ForwardSpec, Protocol, Request};

#[test]
fn it_does_its_plan_answers_by_name_and_ends_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = ForwardSpec {
        name: "web".into(),
        protocol: Protocol::Tcp,
        from: "eu".into(),
        to: "us".into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        target: target.local_addr().unwrap(),
    };
    let plan = [Request::Link { a: "us".into(), b: "eu".into() }, Request::Forward(spec.clone())];
    let lines = plan.iter().map(|request| serde_json::to_string(request).unwrap() + "\n");
    std::fs::write(folder.path().join("plan"), lines.collect::<String>()).unwrap();
    let socket = folder.path().join("wan.sock");
    // Left behind by one that was killed.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let mut process = Process::new("wan", env!("CARGO_BIN_EXE_skywave-wan"), folder.path().join("wan.log"))
        .args([
            "--control".as_ref(),
            socket.as_os_str(),
            "--plan".as_ref(),
            folder.path().join("plan").as_os_str(),
        ]);
    process.start().unwrap();
    process.wait_ready(|| Control::connect(&socket).is_ok()).unwrap();

    let mut control = Control::connect(&socket).unwrap();
    let address = control.status().unwrap().forward("web").unwrap().spec.listen;
    let client = TcpStream::connect(address).unwrap();
    target.accept().unwrap();

    let error = |answer: anyhow::Result<()>| answer.unwrap_err().to_string();
    assert_eq!(error(control.cut("eu", "asia")), "no link eu asia; links: eu us");
    assert_eq!(error(control.remove("webb")), "no forward webb; forwards: web");
    assert_eq!(error(control.link("eu", "eu")), "a link joins two places, not eu with itself");
    assert_eq!(error(control.forward(spec).map(drop)), "there is a forward web already");
    let impossible = Change { loss: Some(1.5), cut: Some(true), ..Change::default() };
    assert_eq!(error(control.shape("eu", "us", impossible)), "loss: 1.5 is not between 0 and 1");
    assert!(control.status().unwrap().ways.iter().all(|way| !way.conditions.cut));

    let mut raw = UnixStream::connect(&socket).unwrap();
    raw.write_all(b"{\"do\":\"dance\"}\n{\"do\":\"stop\"}\n").unwrap();
    let mut answers = String::new();
    raw.read_to_string(&mut answers).unwrap();
    let answers: Vec<Answer> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(matches!(&answers[0], Answer::Error(reason) if reason.contains("unknown variant `dance`")));
    assert_eq!(answers[1], Answer::Done);
    wait::until("its end", || std::fs::metadata(&socket).is_err().then_some(())).unwrap();
    drop(client);
}

#[test]
fn a_second_one_at_the_same_socket_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("wan.sock");
    let start = |log: &str| {
        let arguments = ["--control".as_ref(), socket.as_os_str()];
        let mut process =
            Process::new("wan", env!("CARGO_BIN_EXE_skywave-wan"), folder.path().join(log)).args(arguments);
        process.start().unwrap();
        process
    };
    let mut first = start("first.log");
    first.wait_ready(|| Control::connect(&socket).is_ok()).unwrap();
    let mut second = start("second.log");
    let ended = second.wait_ready(|| false).unwrap_err();
    assert!(format!("{ended:#}").contains("are served at"), "{ended:#}");
    Control::connect(&socket).unwrap();
}
