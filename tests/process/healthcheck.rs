//! `connector-wss healthcheck`, as a container runtime runs it: an exit code and one line.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use super::harness::{PROGRAM, Scratch, Server};

/// Exit code and what is said, for a server that runs with these variables.
fn healthcheck(env: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = Scratch::new();
    let mut command = Command::new(PROGRAM);
    let command = command.arg("healthcheck").current_dir(&folder.0).env_clear();
    let output = command.envs(env.iter().copied()).output().unwrap();
    assert!(!folder.0.join("logs").exists(), "it leaves nothing behind");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn assert_says(env: &[(&str, &str)], code: i32, parts: &[&str]) {
    let (found, said) = healthcheck(env);
    assert_eq!(found, Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

const PORT: &str = "CONNECTOR_WSS_HEALTH_CHECK_PORT";
const HOST: &str = "CONNECTOR_WSS_HOST";

#[test]
fn a_healthy_server_is_0_and_none_is_1() {
    let server = Server::simulated_with(&[(HOST, "0.0.0.0")]);
    let port = server.ops.port().to_string();
    let proxy = ("http_proxy", "http://127.0.0.1:1");
    let env = [(PORT, &*port), (HOST, "0.0.0.0"), proxy];
    let url = format!("http://127.0.0.1:{port}/health");
    assert_says(&env, 0, &[&url, "healthy"]);
    drop(server);
    assert_says(&env, 1, &[&url, "refused"]);
}

#[test]
fn a_port_that_cannot_be_known_is_1() {
    assert_says(&[(PORT, "0")], 1, &[PORT]);
    assert_says(&[("CONNECTOR_WSS_HEALTH_CHECK_ENABLED", "no")], 1, &["CHECK_ENABLED"]);
}

/// What is said of a port that answers so.
fn assert_says_of(answer: &'static str, parts: &[&str]) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut bytes = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            let count = socket.read(&mut bytes).unwrap();
            request.extend_from_slice(&bytes[..count]);
        }
        assert!(request.starts_with(b"GET /health "));
        socket.write_all(answer.as_bytes()).unwrap();
        // Until the other side has had enough.
        let _ended = socket.read(&mut bytes);
    });
    assert_says(&[(PORT, &port)], 1, parts);
    server.join().unwrap();
}

#[test]
fn a_sick_server_is_1_in_its_own_words() {
    const SICK: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 22\r\n\r\n\
                        {\"status\":\"unhealthy\"}";
    assert_says_of(SICK, &["503", "unhealthy"]);
}

#[test]
fn a_server_that_does_not_answer_is_1_after_a_short_while() {
    assert_says_of("", &["timeout"]);
}
