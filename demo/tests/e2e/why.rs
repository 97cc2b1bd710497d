//! Why a killed session still lives, as an operator sees it, over sockets.

use crate::support::{MODELS, STALL, Server, kill_now, until_gone};

#[test]
fn a_killed_session_that_does_not_look_says_why_it_lives() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2", "--test-functions"]);
        let mut admin = server.admin();
        let mut victim = server.user("ann");
        let session = victim.session();
        victim.start(STALL);
        server.until_stalls(session);
        admin.ok(&kill_now(model, session));

        // It is listed, with what it has been told, and by whom.
        let row = format!("from pg_stat_activity where sessionid = {session}");
        let pending = admin.ok(&format!("select interrupt {row}"));
        let pending = pending.value();
        assert!(pending.contains("terminate") && pending.contains("omm"), "{pending}");
        let why = admin.ok(&format!("select pg_why_not_yet({session})"));
        assert!(why.value().contains("no safe point"), "{why:?}");
        assert!(victim.is_silent());
        assert_eq!(server.release(&mut admin), 1);
        victim.expect_killed();
        until_gone(&mut admin, session);
        assert_eq!(admin.ok(&format!("select pg_why_not_yet({session})")).value(), "NULL");
    }
}
