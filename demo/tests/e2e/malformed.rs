//! What no client should send: it ends that connection and nothing else.

use crate::support::{MODELS, Server, Wire, cstr, look, message, until_gone, wait_until};

/// With a session beside the others that must not notice anything.
fn each_model(test: impl Fn(&Server)) {
    for model in MODELS {
        // A machine that is busy enough would have the watchdog say something.
        let mut server = Server::start(model, &["--workers", "2", "--watchdog", "0"]);
        let mut bystander = server.user("zoe");
        let session = bystander.session();
        bystander.ok("begin");
        test(&server);
        assert_eq!(bystander.session(), session);
        bystander.ok("commit");
        assert_eq!(server.user("ann").ok("select 1").value(), "1");
        assert!(server.is_running());
        server.signal("INT");
        assert!(server.wait().success());
        let said = "server: received fast shutdown request\n";
        assert_eq!(server.said(), said, "nothing went wrong inside");
    }
}

/// The connection ends; where the server had something to say it was one FATAL.
#[track_caller]
fn expect_refused(wire: &mut Wire, code: &str, message: &str) {
    wire.hang_up();
    let answer = wire.rest();
    answer.error().expect("FATAL", code, message);
}

fn packet(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
}

fn startup(version: u32, parameters: &[u8]) -> Vec<u8> {
    packet(&[&version.to_be_bytes(), parameters].concat())
}

const V3: u32 = 3 << 16;

#[test]
fn startup_packets() {
    each_model(|server| {
        for (bytes, code, said) in [
            (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(), "08P01", "startup packet"),
            (vec![0xff; 64], "08P01", "startup packet"),
            (vec![0; 64], "08P01", "startup packet"),
            (7_u32.to_be_bytes().to_vec(), "08P01", "startup packet"),
            (10_001_u32.to_be_bytes().to_vec(), "08P01", "startup packet"),
            (u32::MAX.to_be_bytes().to_vec(), "08P01", "startup packet"),
            (startup(2 << 16, b"user\0ann\0\0"), "0A000", "unsupported frontend protocol"),
            (startup(1 << 16, b"\0"), "0A000", "unsupported frontend protocol"),
            (startup(4 << 16, b"user\0ann\0\0"), "0A000", "unsupported frontend protocol"),
            (startup(0, b"\0"), "0A000", "unsupported frontend protocol"),
            (startup(V3, b""), "08P01", "startup packet"),
            (startup(V3, b"user"), "08P01", "startup packet"),
            (startup(V3, b"user\0ann\0"), "08P01", "startup packet"),
            (startup(V3, b"user\0ann\0\0more"), "08P01", "startup packet"),
            (startup(V3, b"\0"), "28000", "no PostgreSQL user name"),
            (startup(V3, b"user\0\0\0"), "28000", "no PostgreSQL user name"),
            (startup(V3, b"user\0ann\0nothing\x001\0\0"), "42704", "unrecognized configuration"),
            (startup(V3, b"user\0ann\0client_encoding\0KLINGON\0\0"), "22023", "client_encoding"),
        ] {
            let mut wire = Wire::open(server.address);
            wire.raw(&bytes);
            wire.hang_up();
            let answer = wire.rest();
            let [error] = answer.errors.as_slice() else { panic!("{bytes:?}: {answer:?}") };
            error.expect("FATAL", code, said);
        }
        let mut wire = Wire::open(server.address);
        wire.raw(&startup(V3, b"user\0\xff\xfe\0\0"));
        wire.hang_up();
        let answer = wire.rest();
        assert!(answer.errors.iter().all(|e| e.severity() == "FATAL"), "{answer:?}");
    });
}

#[test]
fn encryption_is_refused_and_the_client_goes_on() {
    each_model(|server| {
        let mut wire = Wire::open(server.address);
        for code in [80_877_103_u32, 80_877_104] {
            wire.packet(&code.to_be_bytes());
            let mut byte = [0];
            std::io::Read::read_exact(&mut wire.socket, &mut byte).expect("one byte");
            assert_eq!(&byte, b"N");
        }
        wire.startup(V3, &[("user", "ann")]);
        wire.greeted();
        assert_eq!(wire.ok("select 1").value(), "1");
        // The same once more is refused.
        let mut wire = Wire::open(server.address);
        wire.packet(&80_877_103_u32.to_be_bytes());
        wire.packet(&80_877_103_u32.to_be_bytes());
        wire.hang_up();
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut wire.socket, &mut all).expect("to the end");
        assert!(all.starts_with(b"NE"), "{all:?}");
    });
}

#[test]
fn newer_versions_are_negotiated() {
    each_model(|server| {
        let mut wire = Wire::open(server.address);
        wire.startup(V3 | 9, &[("user", "ann"), ("_pq_.new", "1")]);
        let first = wire.next().expect("an answer");
        assert_eq!(first.kind, b'v', "{first:?}");
        wire.greeted();
        assert!(wire.key.len() > 4);
        assert_eq!(wire.ok("select 1").value(), "1");
    });
}

#[test]
fn cancel_requests_that_are_none() {
    each_model(|server| {
        let code = 80_877_102_u32.to_be_bytes();
        for body in [&b""[..], b"1234", b"1234567", &[7; 300]] {
            let mut wire = Wire::open(server.address);
            wire.packet(&[&code[..], body].concat());
            wire.hang_up();
            wire.rest();
        }
    });
}

#[test]
fn messages() {
    each_model(|server| {
        let bad = "invalid message";
        for (bytes, said) in [
            (b"garbage, and not a little of it".to_vec(), ""),
            (vec![0; 32], ""),
            (vec![0xff; 32], ""),
            (vec![b'Q', 0, 0, 0, 3], ""),
            (vec![b'Q', 0, 0, 0, 0], ""),
            ([&[b'Q'][..], &u32::MAX.to_be_bytes()].concat(), ""),
            ([&[b'Q'][..], &0x7fff_ffff_u32.to_be_bytes()].concat(), ""),
            ([&[b'B'][..], &(65_u32 << 20).to_be_bytes()].concat(), ""),
            ([&[b'S'][..], &(1_u32 << 20).to_be_bytes()].concat(), ""),
            (message(b'Q', b""), bad),
            (message(b'Q', b"select 1"), bad),
            (message(b'Q', b"select 1\0more\0"), bad),
            (message(b'P', b""), bad),
            (message(b'P', b"s\0select 1\0"), bad),
            (message(b'P', b"s\0select 1\0\0\x02\0\0\0\x14"), bad),
            (message(b'P', b"s\0select 1\0\xff\xff"), bad),
            (message(b'B', b"\0\0\0\0\xff\xff"), bad),
            (message(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0"), bad),
            (message(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"), bad),
            (message(b'D', b"X\0"), bad),
            (message(b'D', b""), bad),
            (message(b'C', b"S"), bad),
            (message(b'E', b"\0\0\0"), bad),
            (message(b'S', b"more"), bad),
            (message(b'X', b"more"), bad),
            (message(b'~', b""), ""),
            (message(b'p', b"secret\0"), ""),
            (startup(V3, b"user\0ann\0\0"), ""),
        ] {
            let mut wire = server.user("ann");
            wire.raw(&bytes);
            wire.hang_up();
            let answer = wire.rest();
            let [error] = answer.errors.as_slice() else { panic!("{bytes:?}: {answer:?}") };
            error.expect("FATAL", "08P01", said);
        }
    });
}

#[test]
fn the_longest_command_there_may_be() {
    each_model(|server| {
        let mut wire = server.user("ann");
        let text = "x".repeat((1 << 20) - 17);
        let answer = wire.ok(&format!("select length('{text}')"));
        assert_eq!(answer.value(), text.len().to_string());
    });
}

/// It is read to its end and thrown away, and the next one is heard, in whatever pieces they come.
#[test]
fn a_command_that_is_too_long() {
    each_model(|server| {
        let mut wire = server.user("ann");
        let long = format!("select '{}'\0", "x".repeat(3 << 20));
        let next = message(b'Q', b"select 6 * 7\0");
        for at in [5, 1000, long.len(), long.len() + 5 + 3] {
            let both = [message(b'Q', long.as_bytes()), next.clone()].concat();
            let (first, second) = both.split_at(at);
            wire.raw(first);
            wire.raw(second);
            let answer = wire.finish();
            answer.error().expect("ERROR", "54000", "expected at most 1048576");
            assert_eq!(wire.finish().value(), "42");
        }
        // All up to the Sync is left out.
        let parse = message(b'P', format!("\0{long}\0\0").as_bytes());
        let bind = message(b'B', b"\0\0\0\0\0\0\0\0");
        let execute = message(b'E', b"\0\0\0\0\0");
        wire.raw(&[parse, bind, execute, message(b'S', b"")].concat());
        let answer = wire.finish();
        answer.error().expect("ERROR", "54000", "too long");
        assert_eq!((answer.rows.len(), answer.status), (0, Some('I')));
        assert_eq!(wire.ok("select 6 * 7").value(), "42");
    });
}

#[test]
fn text_that_is_not_utf_8() {
    each_model(|server| {
        let mut wire = server.user("ann");
        wire.send(b'Q', b"select '\xff'\0");
        let answer = wire.finish();
        answer.error().expect("ERROR", "22021", "invalid byte sequence");
        assert_eq!(answer.status, Some('I'));
        wire.send(b'P', b"\0select '\xc3'\0\0\0");
        wire.sync();
        let answer = wire.finish();
        answer.error().expect("ERROR", "22021", "invalid byte sequence");
        wire.parse("", "select $1", &[25]);
        wire.bind("", "", &[(0, Some(b"\xff"))], &[]);
        wire.execute("", 0);
        wire.sync();
        let answer = wire.finish();
        answer.error().expect("ERROR", "22021", "invalid byte sequence");
        assert_eq!(wire.ok("select 1").value(), "1");
    });
}

#[test]
fn those_who_send_half_and_wait_hold_up_nobody() {
    each_model(|server| {
        let mut admin = server.admin();
        let halves: Vec<Vec<u8>> =
            vec![vec![], vec![0], vec![0, 0, 0], startup(V3, b"user\0ann\0\0")[..9].to_vec()];
        let silent: Vec<_> = (0..40)
            .map(|at| {
                let mut wire = Wire::open(server.address);
                wire.raw(&halves[at % halves.len()]);
                wire
            })
            .collect();
        let mut half: Vec<_> = (0..10).map(|_| server.user("ann")).collect();
        let sessions: Vec<_> = half.iter_mut().map(Wire::session).collect();
        half.iter_mut().for_each(|wire| wire.raw(&message(b'Q', b"select 1\0")[..7]));
        for _ in 0..10 {
            assert_eq!(server.user("bob").ok("select 2").value(), "2");
        }
        // The rest of the message, and the answer.
        half[0].raw(&message(b'Q', b"select 1\0")[7..]);
        assert_eq!(half[0].finish().value(), "1");
        drop((silent, half));
        sessions.into_iter().for_each(|session| until_gone(&mut admin, session));
    });
}

#[test]
fn a_message_byte_by_byte() {
    each_model(|server| {
        let mut wire = Wire::open(server.address);
        for byte in startup(V3, b"user\0ann\0\0") {
            wire.raw(&[byte]);
        }
        wire.greeted();
        let mut bytes = message(b'Q', b"select 'slow'\0");
        bytes.extend(message(b'P', b"\0select $1 || 'ly'\0\0\0"));
        bytes.extend(message(b'B', b"\0\0\0\0\0\x01\0\0\0\x04slow\0\0"));
        bytes.extend(message(b'E', b"\0\0\0\0\0"));
        bytes.extend(message(b'S', b""));
        for byte in bytes {
            wire.raw(&[byte]);
        }
        assert_eq!(wire.finish().value(), "slow");
        assert_eq!(wire.finish().value(), "slowly");
    });
}

#[test]
fn clients_that_vanish() {
    each_model(|server| {
        let mut admin = server.admin();
        admin.ok("create table t (v integer)");
        for rude in [false, true] {
            for sql in [
                "select pg_sleep(0.2)",
                "begin; insert into t values (1)",
                "with recursive c(x) as (select 1 union all select x+1 from c limit 99999) \
                 select x, hex(zeroblob(200)) from c",
            ] {
                let mut wire = server.user("ann");
                let session = wire.session();
                wire.start(sql);
                if rude {
                    // In the middle of the next message.
                    wire.raw(b"Q\0\0");
                    wait_until("it has begun", || {
                        look(&mut admin, session).is_some_and(|seen| seen.query == sql)
                    });
                }
                drop(wire);
                until_gone(&mut admin, session);
            }
        }
        assert_eq!(admin.ok("select count(*) from t").value(), "0");
        admin.ok("insert into t values (2)");
    });
}

#[test]
fn half_closed_connections_get_their_answers() {
    each_model(|server| {
        let mut wire = server.user("ann");
        wire.start("select 1");
        wire.start("select 2");
        wire.hang_up();
        let answer = wire.rest();
        assert_eq!(answer.rows.len(), 2, "{answer:?}");
        assert!(answer.errors.is_empty());
    });
}

#[test]
fn messages_in_the_wrong_place() {
    each_model(|server| {
        let mut wire = server.user("ann");
        // A COPY's messages without a COPY are left over from one that failed.
        wire.send(b'd', b"1\n");
        wire.send(b'c', b"");
        wire.send(b'f', &cstr("no"));
        assert_eq!(wire.ok("select 1").value(), "1");
        let mut wire = server.user("ann");
        wire.send(b'F', &[0; 10]);
        expect_refused(&mut wire, "08P01", "");
    });
}
