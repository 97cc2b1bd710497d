//! The questions: the contestants, the meaning of the figures, and the bars.

use crate::bars::Bar;
use crate::text::Unit;

#[derive(Debug)]
pub(crate) struct Question {
    /// The bench, criterion's group, the chart.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// The meaning of a figure, in a sentence or two.
    pub(crate) means: &'static str,
    pub(crate) unit: Unit,
    /// From what was measured to what is shown.
    pub(crate) scale: f64,
    /// The units of the columns.
    pub(crate) columns: &'static str,
    /// The contestants in the chart; all if it is empty.
    pub(crate) charted: &'static [&'static str],
    /// Which of ours the peers stand against.
    pub(crate) ours: &'static str,
    pub(crate) bars: &'static [Bar],
}

const SAFEPOINT: &str = "safepoint";
const EACH: &str = "bytes each";
const WHOLE: &str = "whole process, 1,000,000";

pub(crate) const QUESTIONS: [Question; 11] = [
    Question {
        id: "safe_point",
        title: "A safe point in a loop",
        means: "The time of one round of a loop that does nothing but pass a safe point and store \
            its counter. The floor is a relaxed load, a mask and a branch in the same loop.",
        unit: Unit::Nanos,
        scale: 0.001,
        columns: "",
        charted: &[],
        ours: "check",
        bars: &[
            Bar::OfFloor { ours: "check", at: "", most: 1.05 },
            Bar::OfFloor { ours: "ambient check", at: "", most: 2.0 },
            Bar::OfFloor { ours: "check of a handle", at: "", most: 1.2 },
            Bar::OfFloor { ours: "check of a helper", at: "", most: 1.2 },
        ],
    },
    Question {
        id: "helper",
        title: "Help with a statement",
        means: "A thread enters a statement that another thread runs, and leaves it. The floor is \
            the least that keeps a helper from being missed: a step of a slot of its own, and \
            another. The other figures are of a handle, of a job, and of a whole statement.",
        unit: Unit::Nanos,
        scale: 1.0,
        columns: "",
        charted: &[],
        ours: "enter and leave",
        bars: &[
            Bar::OfFloor { ours: "enter and leave", at: "", most: 4.0 },
            Bar::Most { ours: "enter and leave", at: "", most: 30.0, unit: Unit::Nanos },
        ],
    },
    Question {
        id: "helper_threads",
        title: "Help with one statement, on several threads",
        means: "The time of one thread's enter and leave while so many threads help with the same \
            statement. There are two cores.",
        unit: Unit::Nanos,
        scale: 1.0,
        columns: "threads: ",
        charted: &[],
        ours: "enter and leave",
        bars: &[Bar::Growth {
            ours: "enter and leave",
            from: "1",
            to: "2",
            most: 1.5,
            below: false,
        }],
    },
    Question {
        id: "attach_detach",
        title: "Attach and detach",
        means: "A session is put on a thread and taken off it again. The floor is two uncontended \
            read-modify-writes; the peer takes an `Arc` out of a map of 10,001 and puts it back.",
        unit: Unit::Nanos,
        scale: 1.0,
        columns: "",
        charted: &[],
        ours: "in a pool",
        bars: &[
            Bar::OfFloor { ours: "in a pool", at: "", most: 3.0 },
            Bar::OfFloor { ours: "on its own thread", at: "", most: 3.0 },
        ],
    },
    Question {
        id: "begin_finish",
        title: "Begin and finish a statement",
        means: "A statement gets its number, and ends. The second figure keeps its text and the \
            time for those who look, which is two readings of the clock and two short locks.",
        unit: Unit::Nanos,
        scale: 1.0,
        columns: "",
        charted: &[],
        ours: "begin and finish",
        bars: &[Bar::OfFloor { ours: "begin and finish", at: "", most: 3.0 }],
    },
    Question {
        id: "open_close",
        title: "Open and close a session, beside 10,000 others",
        means: "What a thread waits for one open and one close, while so many threads do the same. \
            Where that grows less than the number of threads does, throughput rises. Each peer, and \
            the floor, keeps an `Arc` of a record: the same description, the time, a flag; where \
            its name says otherwise it keeps less.",
        unit: Unit::Nanos,
        scale: 1.0,
        columns: "threads: ",
        charted: &[],
        ours: SAFEPOINT,
        bars: &[
            Bar::OfFloor { ours: SAFEPOINT, at: "1", most: 1.2 },
            Bar::AheadOfPeers { ours: SAFEPOINT, at: "1" },
            Bar::Throughput { ours: SAFEPOINT, from: 1, to: 2 },
        ],
    },
    Question {
        id: "accept_kill",
        title: "Accept a kill, by id",
        means: "A session is found by its id, and told to end, the more of them are live. Ids are \
            random: with many sessions everyone waits for memory. The floor only finds a flag in a \
            `DashMap`, and reads it. A peer sets a flag; this library also keeps who asked and why, \
            and hands out a receipt.",
        unit: Unit::Nanos,
        scale: 1.0,
        columns: "live: ",
        charted: &[],
        ours: SAFEPOINT,
        bars: &[Bar::Growth {
            ours: SAFEPOINT,
            from: "1000",
            to: "1000000",
            most: 1.3,
            below: false,
        }],
    },
    Question {
        id: "kill_seen_running",
        title: "From a kill to a running victim that sees it",
        means: "The victim does nothing but pass safe points on another processor. From the \
            killer's call to the victim's return. All take turns, round by round; a percentile is \
            the median of twenty stretches' own.",
        unit: Unit::Nanos,
        scale: 1.0,
        columns: "",
        charted: &[],
        ours: "terminate, check",
        bars: &[
            Bar::OfFloor { ours: "terminate, check", at: "p50", most: 1.5 },
            Bar::OfFloor { ours: "terminate, check", at: "p99", most: 1.5 },
        ],
    },
    Question {
        id: "kill_seen_parked",
        title: "From a kill to a parked victim that is awake",
        means: "The victim is parked, and its processor may be asleep too. From the killer's call \
            to the victim's return. All take turns, round by round; a percentile is the median of \
            thirty stretches' own.",
        unit: Unit::Nanos,
        scale: 1.0,
        columns: "",
        charted: &[],
        ours: "terminate, park",
        bars: &[
            Bar::OfFloor { ours: "terminate, park", at: "p50", most: 1.3 },
            Bar::OfFloor { ours: "terminate, park", at: "p99", most: 1.3 },
        ],
    },
    Question {
        id: "snapshot",
        title: "A look at 1,000,000 sessions, while others open and close",
        means: "One thread opens and closes; alone, and while another makes a row of each of \
            1,000,000 sessions. A percentile is the median of ten stretches' own.",
        unit: Unit::Nanos,
        scale: 1.0,
        columns: "",
        charted: &["p99", "p99, walk"],
        ours: SAFEPOINT,
        bars: &[Bar::Growth {
            ours: SAFEPOINT,
            from: "p99",
            to: "p99, walk",
            most: 2.0,
            below: true,
        }],
    },
    Question {
        id: "memory",
        title: "Memory of an idle session, strings apart",
        means: "All bytes that were asked of the allocator for 1,000,000 sessions, divided; the \
            registry's own and the holder's handle included. And the resident memory of the whole \
            process with them. The floor keeps the peers' record in a bare slab.",
        unit: Unit::Bytes,
        scale: 1.0,
        columns: "",
        charted: &[EACH],
        ours: SAFEPOINT,
        bars: &[
            Bar::Most { ours: SAFEPOINT, at: EACH, most: 256.0, unit: Unit::Bytes },
            Bar::Most { ours: SAFEPOINT, at: WHOLE, most: 300e6, unit: Unit::Bytes },
        ],
    },
];
