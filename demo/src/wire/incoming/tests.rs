use bytes::{BufMut, Bytes};
use pgwire::messages::SslNegotiationMetaMessage;
use pgwire::messages::startup::SecretKey;
use proptest::prelude::*;

use super::*;

fn startup_packet(code: u32, rest: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.put_u32(8 + rest.len() as u32);
    packet.put_u32(code);
    packet.put_slice(rest);
    packet
}

fn message(ty: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![ty];
    message.put_u32(4 + body.len() as u32);
    message.put_slice(body);
    message
}

fn started() -> Incoming {
    let mut incoming = Incoming::new();
    incoming.feed(&startup_packet(VERSION_3_0, b"user\0u\0\0"));
    assert!(matches!(incoming.next(), Ok(Some(PgWireFrontendMessage::Startup(_)))));
    incoming
}

fn startup_error(packet: &[u8]) -> WireError {
    let mut incoming = Incoming::new();
    incoming.feed(packet);
    incoming.next().unwrap_err()
}

fn error(bytes: &[u8]) -> WireError {
    let mut incoming = started();
    incoming.feed(bytes);
    incoming.next().unwrap_err()
}

#[test]
fn startup_byte_by_byte() {
    let mut bytes = startup_packet(SSL_REQUEST, b"");
    bytes.extend(startup_packet(GSSENC_REQUEST, b""));
    bytes.extend(startup_packet(VERSION_3_2, b"user\0u\0database\0\0\0"));
    bytes.extend(message(b'Q', b"select 1\0"));
    bytes.extend(message(b'X', b""));
    let mut incoming = Incoming::new();
    let mut seen = Vec::new();
    for byte in bytes {
        incoming.feed(&[byte]);
        seen.extend(incoming.next().unwrap());
    }
    use PgWireFrontendMessage as M;
    use SslNegotiationMetaMessage::{PostgresGss, PostgresSsl};
    let [ssl, gss, M::Startup(startup), M::Query(query), M::Terminate(_)] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert!(matches!(ssl, M::SslNegotiation(PostgresSsl(_))));
    assert!(matches!(gss, M::SslNegotiation(PostgresGss(_))));
    assert_eq!(startup.parameters["user"], "u");
    assert_eq!(startup.parameters["database"], "");
    assert_eq!(query.query, "select 1");
}

#[test]
fn cancel_requests_keep_their_whole_key() {
    let mut incoming = Incoming::new();
    incoming.feed(&startup_packet(CANCEL_REQUEST, b"\0\0\0\x07thirty-two bytes of random key!"));
    let Ok(Some(PgWireFrontendMessage::CancelRequest(cancel))) = incoming.next() else {
        panic!("no cancel request");
    };
    assert_eq!(cancel.pid, 7);
    assert_eq!(
        cancel.secret_key,
        SecretKey::Bytes(Bytes::from_static(b"thirty-two bytes of random key!"))
    );
    assert_eq!(startup_error(&startup_packet(CANCEL_REQUEST, b"\0\0\0\x07key")).sqlstate, "08P01");
    assert_eq!(startup_error(&startup_packet(CANCEL_REQUEST, &[0; 261])).sqlstate, "08P01");
}

#[test]
fn bad_startup_packets() {
    for packet in [
        startup_packet(VERSION_3_0, b""),
        startup_packet(VERSION_3_0, b"user\0u"),
        startup_packet(VERSION_3_0, b"user\0u\0"),
        startup_packet(VERSION_3_0, b"user\0\0"),
        startup_packet(VERSION_3_0, b"\0user\0"),
        startup_packet(SSL_REQUEST, b"x"),
        vec![0, 0, 0, 7],
        vec![0, 0, 0x27, 0x11],
        vec![0xff; 4],
        b"GET / HTTP/1.1".to_vec(),
    ] {
        let e = startup_error(&packet);
        assert_eq!((e.sqlstate, e.severity), ("08P01", "FATAL"), "{packet:?}");
    }
    let e = startup_error(&startup_packet(2 << 16, b"\0"));
    assert_eq!(e.sqlstate, "0A000");
    assert_eq!(e.message, "unsupported frontend protocol 2.0: server supports 3.0 to 3.2");
    let twice = startup_packet(SSL_REQUEST, b"").repeat(2);
    let mut incoming = Incoming::new();
    incoming.feed(&twice);
    assert!(incoming.next().unwrap().is_some());
    assert!(incoming.next().unwrap_err().message.contains("1234.5679"));
}

#[test]
fn minor_versions_are_negotiated() {
    let negotiation = |minor: u32, parameters: &[u8]| {
        let mut incoming = Incoming::new();
        incoming.feed(&startup_packet(3 << 16 | minor, parameters));
        match incoming.next() {
            Ok(Some(PgWireFrontendMessage::Startup(startup))) => Negotiation::of(&startup),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(negotiation(0, b"\0"), None);
    assert_eq!(negotiation(2, b"\0"), None);
    assert_eq!(negotiation(1, b"\0").unwrap().version, VERSION_3_0);
    assert_eq!(negotiation(9999, b"\0").unwrap().version, VERSION_3_2);
    let options = negotiation(2, b"_pq_.x\0y\0\0").unwrap();
    assert_eq!(options.version, VERSION_3_2);
    assert_eq!(options.unsupported_options, ["_pq_.x"]);
}

#[test]
fn bad_lengths_and_types_are_fatal() {
    for bytes in [
        &b"Q\0\0\0\x03"[..],
        b"Q\xff\xff\xff\xff",
        b"Q\x40\0\0\x01",
        b"d\x7f\xff\xff\xff",
        b"E\0\0\x27\x11",
        b"F",
        b"\0",
    ] {
        let mut incoming = started();
        incoming.feed(bytes);
        let e = incoming.next().unwrap_err();
        assert_eq!((e.sqlstate, e.severity), ("08P01", "FATAL"), "{bytes:?}");
        incoming.feed(&message(b'S', b""));
        assert_eq!(incoming.next().unwrap_err(), e, "nothing follows it");
    }
}

#[test]
fn truncated_and_overlong_bodies() {
    let whole: [(u8, &[u8]); 6] = [
        (b'Q', b"select\0"),
        (b'P', b"s\0select\0\0\x01\0\0\0\x17"),
        (b'B', b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01\0\0"),
        (b'D', b"Sname\0"),
        (b'E', b"p\0\0\0\0\0"),
        (b'f', b"why\0"),
    ];
    for (ty, body) in whole {
        let mut incoming = started();
        incoming.feed(&message(ty, body));
        assert!(incoming.next().unwrap().is_some());
        for n in 0..body.len() {
            assert_eq!(error(&message(ty, &body[..n])).sqlstate, "08P01");
        }
        let longer = [body, b"x"].concat();
        assert_eq!(error(&message(ty, &longer)).sqlstate, "08P01");
    }
    assert_eq!(error(&message(b'C', b"Xname\0")).sqlstate, "08P01");
    assert_eq!(error(&message(b'S', b"x")).sqlstate, "08P01");
    let negative = b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0";
    assert!(error(&message(b'B', negative)).message.contains("not -2"));
}

#[test]
fn invalid_utf8_leaves_the_connection_usable() {
    let mut incoming = started();
    incoming.feed(&message(b'Q', b"select '\xff'\0"));
    incoming.feed(&message(b'P', b"\0select '\xc3'\0\0\0"));
    incoming.feed(&message(b'S', b""));
    let e = incoming.next().unwrap_err();
    assert_eq!((e.sqlstate, e.severity, e.extended), ("22021", "ERROR", false));
    assert!(e.message.ends_with("0xff"));
    assert!(incoming.next().unwrap_err().extended);
    assert!(matches!(incoming.next(), Ok(Some(PgWireFrontendMessage::Sync(_)))));
}

proptest! {
    #[test]
    fn no_body_panics(ty in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut incoming = started();
        incoming.feed(&message(ty, &body));
        if check::body(ty, &body).is_ok() && b"QPBdCDEHSXcfp".contains(&ty) {
            prop_assert!(incoming.next().unwrap().is_some());
        } else {
            prop_assert!(incoming.next().is_err());
        }
    }

    #[test]
    fn no_garbage_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        code in prop::sample::select(vec![SSL_REQUEST, CANCEL_REQUEST, VERSION_3_0, VERSION_3_2]),
    ) {
        for packet in [bytes.clone(), startup_packet(code, &bytes)] {
            let mut incoming = Incoming::new();
            incoming.feed(&packet);
            while let Ok(Some(_)) = incoming.next() {}
        }
    }
}
