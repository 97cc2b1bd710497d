//! The cost of a safe point in a loop, compared with the cheapest possible check. `cargo bench --manifest-path
//! benches/peers/Cargo.toml --bench safe_point`

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use dashmap::DashMap;
use safepoint::session::{HelperGuard, StatementHandle};
use safepoint::{Attached, ClientInfo, Session, SessionManager, ThreadModel};
use safepoint_benches::{quick, quietest};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// The number of iterations of the loop with the safe point.
const ROUNDS: u64 = 1000;

/// How often the loop is run between two looks at the clock.
const STRETCH: u64 = 64;

/// The same loop for all contestants. `black_box` represents work: the compiler must not assume
/// that memory is unchanged since the last iteration.
///
/// Such a short loop takes twice as long if its few bytes span two cache lines. There are several
/// copies, with more and more code in front of the loop, so that one of them is aligned well.
#[inline(never)]
fn until<const COPY: u64, S: Stop>(stop: S) -> u64 {
    for before in 0..COPY {
        black_box(before);
    }
    for round in 0..ROUNDS {
        if stop.asked() {
            return round;
        }
        black_box(round);
    }
    ROUNDS
}

/// A safe point: whether the loop is asked to stop. A closure would be inlined into none of the
/// copies if it was too long for all of them.
trait Stop: Copy {
    fn asked(self) -> bool;
}

macro_rules! stops {
    ($($name:ident($of:ty), $this:pat => $asked:expr;)*) => {$(
        #[derive(Clone, Copy)]
        struct $name<'a>(&'a $of);

        impl Stop for $name<'_> {
            #[inline(always)]
            fn asked(self) -> bool {
                let $this = self.0;
                $asked
            }
        }
    )*};
}

stops! {
    Floor(AtomicU64), word => word.load(Ordering::Relaxed) & 1 != 0;
    Check(Attached<'a>), session => session.check().is_err();
    Ambient(()), () => safepoint::check().is_err();
    Handle(StatementHandle), handle => handle.check().is_err();
    Helper(HelperGuard<'a>), helper => helper.check().is_err();
    Flag(AtomicBool), flag => flag.load(Ordering::Relaxed);
    Database(Salsa), salsa => salsa.0.cancelled.load(Ordering::Acquire) != 0;
    Token(CancellationToken), token => token.is_cancelled();
}

/// The copy with the best alignment.
fn best<S: Stop>(stop: S) -> fn(S) -> u64 {
    let copies: [fn(S) -> u64; 6] =
        [until::<0, S>, until::<1, S>, until::<2, S>, until::<3, S>, until::<4, S>, until::<5, S>];
    let time = |copy: &fn(S) -> u64| {
        let once = || {
            let start = Instant::now();
            (0..20).for_each(|_| assert_eq!(copy(stop), ROUNDS));
            start.elapsed()
        };
        (0..50).map(|_| once()).min()
    };
    copies.into_iter().min_by_key(time).expect("some copies")
}

fn ask(group: &mut BenchmarkGroup<'_, WallTime>, label: &str, stop: impl Stop) {
    let run = best(stop);
    group.bench_function(label, |b| quietest(b, STRETCH, || run(stop)));
}

/// Salsa's counterpart of a session: a flag that is set before the inputs change, behind the `Arc`
/// that all handles of a database share. It is read at the start of each query.
struct Salsa(Arc<SalsaShared>);

struct SalsaShared {
    _revision: AtomicU32,
    cancelled: AtomicU32,
}

/// Leaves the session in a statement.
fn handle_of(session: &mut Session) -> StatementHandle {
    let thread = session.own_thread().unwrap();
    safepoint::current::without_session(|| {
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        let handle = statement.handle("bench");
        std::mem::forget(statement);
        std::mem::forget(attached);
        handle
    })
}

fn safe_point(c: &mut Criterion) {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::default()).unwrap();
    let thread = session.own_thread().unwrap();
    let attached = session.attach(&thread).unwrap();
    // A statement of another session, with which this thread helps, hidden from its own session.
    let mut other = manager.open(ClientInfo::default()).unwrap();
    let handle = handle_of(&mut other);

    let word = AtomicU64::new(0);
    let token = CancellationToken::new();
    let shared = token.child_token();
    let _other_holder = shared.clone();
    let flags: DashMap<u64, Arc<AtomicBool>> = DashMap::from_iter([(1, Arc::default())]);
    let flag = flags.get(&1).unwrap().clone();
    let revision = SalsaShared { _revision: AtomicU32::new(1), cancelled: AtomicU32::new(0) };
    let salsa = Salsa(Arc::new(revision));

    let mut group = c.benchmark_group("safe_point");
    ask(&mut group, "floor: relaxed load, mask, branch", Floor(&word));
    ask(&mut group, "ours: check", Check(&attached));
    ask(&mut group, "ours: ambient check", Ambient(&()));
    ask(&mut group, "ours: check of a handle", Handle(&handle));
    safepoint::current::without_session(|| {
        let helper = handle.enter().unwrap();
        ask(&mut group, "ours: check of a helper", Helper(&helper));
        ask(&mut group, "ours: ambient check of a helper", Ambient(&()));
    });
    ask(&mut group, "peer: Arc<AtomicBool> from a DashMap", Flag(&flag));
    ask(&mut group, "peer: salsa-style word", Database(&salsa));
    ask(&mut group, "peer: CancellationToken, own", Token(&token));
    ask(&mut group, "peer: CancellationToken, shared child", Token(&shared));
    group.finish();
}

criterion_group! { name = benches; config = quick(); targets = safe_point }
criterion_main!(benches);
