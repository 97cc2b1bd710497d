//! Mistakes in the word, the record, the registry and what else the models check.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "LoadThenStore",
        about: "A step loads and stores instead of one read-modify-write.",
        edits: &[
            Edit {
                file: "core/state/word.rs",
                within: "fn try_transition",
                find: "self.0.compare_exchange_weak(seen, after.0, Ordering::AcqRel, Ordering::Acquire)",
                replace: "self.0.store(after.0, Ordering::Release); Ok::<u64, u64>(seen)",
            },
        ],
        loom: &[
            "timeout_names_its_reason::timeout_against_finish",
            "no_kill_is_lost::kill_dropped_while_changing_threads",
            "no_kill_is_lost::attach_overwrites_closing",
            "no_kill_is_lost::flag_of_another_thread",
            "no_other_statement_is_hit::cancel_hits_next_statement",
            "no_waiter_is_missed::lost_wake_up",
            "no_waiter_is_missed::lost_wake_up_of_a_task",
            "probe_against_detach::a_probe_is_answered_before_a_kill",
            "core::state::models::either_the_owner_or_the_requester_ends_it",
            "core::state::models::a_whole_turn_keeps_a_kill",
            "core::state::models::a_waiter_checks_or_is_woken",
            "core::state::models::a_cancel_is_of_one_statement",
            "core::state::models::the_stronger_of_two_kills_stands",
        ],
        shuttle: &["whole_pool::counts_balance"],
        tests: &[],
    },
    Mutation {
        name: "RelaxedSteps",
        about: "Steps order nothing but themselves.",
        edits: &[
            Edit {
                file: "core/state/word.rs",
                within: "fn try_transition",
                find: "self.0.compare_exchange_weak(seen, after.0, Ordering::AcqRel, Ordering::Acquire)",
                replace: "self.0.compare_exchange_weak(seen, after.0, Ordering::Relaxed, Ordering::Relaxed)",
            },
        ],
        loom: &["receipts_match_the_outcome::terminate_reports_a_wrong_thread"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "StatementNotCompared",
        about: "A cancel does not compare the statement's number.",
        edits: &[
            Edit {
                file: "core/state/transitions.rs",
                within: "pub(crate) fn cancel(",
                find: "id.get() > self.number()",
                replace: "!self.in_statement() && id.get() > self.number()",
            },
            Edit {
                file: "core/state/transitions.rs",
                within: "pub(crate) fn cancel(",
                find: "self.statement() == Some(id)",
                replace: "self.in_statement() || self.statement() == Some(id)",
            },
        ],
        loom: &[
            "no_other_statement_is_hit::cancel_hits_next_statement",
            "no_other_statement_is_hit::cancel_follows_a_task",
            "core::state::models::a_cancel_is_of_one_statement",
        ],
        shuttle: &["whole_pool::counts_balance"],
        tests: &[],
    },
    Mutation {
        name: "WakerAfterAsleep",
        about: r#"The waker is left after the word says "asleep"."#,
        edits: &[
            Edit {
                file: "core/record/wait.rs",
                within: "fn transition_to_wait",
                find: "self.leave_waker(waker); self.transition(transition)",
                replace: "let transition = self.transition(transition); self.leave_waker(waker); transition",
            },
        ],
        loom: &[
            "no_waiter_is_missed::lost_wake_up",
            "no_waiter_is_missed::lost_wake_up_of_a_cancel",
            "no_waiter_is_missed::lost_wake_up_of_a_task",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "NoRecheckBeforeSleep",
        about: "The sleeper does not look at what the step to sleep returned.",
        edits: &[
            Edit {
                file: "core/record/wait.rs",
                within: "fn begin_wait",
                find: "self.recheck_wait(transition, killable, at)",
                replace: "Ok(())",
            },
            Edit {
                file: "core/record/wait.rs",
                within: "fn suspend",
                find: "transition.after.due() && !self.held()",
                replace: "false",
            },
        ],
        loom: &[
            "no_waiter_is_missed::lost_wake_up",
            "no_waiter_is_missed::lost_wake_up_of_a_task",
            "no_waiter_is_missed::lost_cancel_of_a_task",
        ],
        shuttle: &["whole_pool::counts_balance"],
        tests: &[],
    },
    Mutation {
        name: "AimsAtThread",
        about: "A kill aims at whatever session is attached to the thread that its target was on.",
        edits: &[
            Edit {
                file: "manager/resolve.rs",
                within: "fn find",
                find: "Ok(ResolvedTarget { target, record, expected, requester_disclosed })",
                replace: "let thread = record.snapshot_with_thread().1;
                let thread = thread.and_then(|thread| self.0.threads.get(thread.get()));
                let session = thread.and_then(|thread| thread.session());
                let record = session.and_then(get).unwrap_or(record);
                Ok(ResolvedTarget { target, record, expected, requester_disclosed })",
            },
        ],
        loom: &["no_other_session_is_hit::next_session_dies_instead"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "NumberNotCompared",
        about: "A number finds whatever stands in its place of the registry.",
        edits: &[
            Edit {
                file: "core/registry.rs",
                within: "fn get",
                find: "(record.number() == number).then(|| record.clone())",
                replace: "Some(record.clone())",
            },
        ],
        loom: &[
            "bulk_request_hits_what_its_row_shows::dry_run_against_close",
            "no_other_session_is_hit::wrong_session_through_a_reused_id",
        ],
        shuttle: &["whole_pool::counts_balance"],
        tests: &[],
    },
    Mutation {
        name: "FirstAuthorStays",
        about: "A request that upgrades another leaves the other's author in place.",
        edits: &[
            Edit {
                file: "core/record/request.rs",
                within: "fn terminate_by",
                find: "if adds {
                    spent = Some(std::mem::replace(&mut pending.request, fresh.request.clone()));
                    pending.asked = asked;
                }",
                replace: "",
            },
        ],
        loom: &["the_strongest_request_wins::weaker_reason_hides_stronger"],
        shuttle: &["whole_pool::counts_balance"],
        tests: &[],
    },
    Mutation {
        name: "ThreadNotChecked",
        about: "The thread that a session was on is read without a second look.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn thread_in",
                find: "still && thread == before",
                replace: "true",
            },
        ],
        loom: &["receipts_match_the_outcome::terminate_reports_a_wrong_thread"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "PlaceTakenForThread",
        about: "A place is taken for the thread that has it now.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn thread_in",
                find: "still && thread == before",
                replace: "still",
            },
        ],
        loom: &["receipts_match_the_outcome::terminate_reports_the_thread_of_a_reused_slot"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LimitNotAskedAgain",
        about: "What has run out is not asked again as it is enforced.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn enforce",
                find: "timing.next(now) != Some(due)",
                replace: "false",
            },
        ],
        loom: &[
            "timeout_names_its_reason::timeout_against_removal",
            "timeout_names_its_reason::idle_timeout_against_the_next_transaction",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TicketReplaced",
        about: "A kill that finds another takes its receipt's place.",
        edits: &[
            Edit {
                file: "core/record/request.rs",
                within: "fn terminate_by",
                find: "pending.completion.clone()",
                replace: "pending.completion = Arc::default(); pending.completion.clone()",
            },
        ],
        loom: &["no_kill_is_lost::two_kills_merge_and_both_are_lost"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "WakesUnderLock",
        about: "A killer wakes its target while it holds the record's lock.",
        edits: &[
            Edit {
                file: "core/record/request.rs",
                within: "fn terminate_by",
                find: "drop(guarded); drop(spent);",
                replace: "if let Some(waker) = guarded.waker_of(self.word.load(), self.held()) {
                    crate::session::current::wake_all(Some(waker).into());
                }
                drop(guarded);
                drop(spent);",
            },
        ],
        loom: &["a_kill_needs_no_worker::no_worker_free_so_no_kill"],
        shuttle: &["whole_pool::counts_balance"],
        tests: &[],
    },
    Mutation {
        name: "TicketInTwoSteps",
        about: "Whoever waits on a receipt looks, and leaves its waker in a second step.",
        edits: &[
            Edit {
                file: "core/completion.rs",
                within: "fn poll",
                find: "self.0.lock()",
                replace: "if let Some(value) = self.get() {
                    return Poll::Ready(value);
                }
                self.0.lock()",
            },
            Edit {
                file: "core/completion.rs",
                within: "fn poll",
                find: "if let Some(value) = &state.value { return Poll::Ready(value.clone()); }",
                replace: "",
            },
        ],
        loom: &["receipts_match_the_outcome::ok_although_nothing_happened"],
        shuttle: &["whole_pool::counts_balance"],
        tests: &[],
    },
    Mutation {
        name: "ReceiptsBeforeEnd",
        about: "A session that ends completes its receipts before its word says so.",
        edits: &[
            Edit {
                file: "core/record/request.rs",
                within: "pub(crate) fn end",
                find: "self.transition(Snapshot::end)",
                replace: "let now = self.word.load();
                crate::session::current::wake_all(self.completed(Transition { before: now, after: now.end() }).1);
                self.transition(Snapshot::end)",
            },
        ],
        loom: &["receipts_match_the_outcome::ok_although_nothing_happened"],
        shuttle: &["whole_pool::counts_balance"],
        tests: &[],
    },
    Mutation {
        name: "LeaversForgotten",
        about: "A shutdown does not wait for those who have ended and are not out of the registry.",
        edits: &[
            Edit {
                file: "core/record/request.rs",
                within: "fn ending",
                find: "self.has(COMPLETED)",
                replace: "true",
            },
        ],
        loom: &["receipts_match_the_outcome::shutdown_misses_a_session_that_is_closing"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "HoldNotAsked",
        about: "Nobody asks whether the session is held off.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn held",
                find: "self.hold.load(Ordering::Acquire) & !ROLLED_BACK > 0",
                replace: "false",
            },
        ],
        loom: &[
            "hold_off_reports_nothing::a_kill_gets_into_a_hold_off",
            "hold_off_reports_nothing::a_kill_gets_into_a_held_task",
        ],
        shuttle: &["whole_pool::counts_balance"],
        tests: &[],
    },
    Mutation {
        name: "PanicForgotten",
        about: "A panic leaves the session as it was.",
        edits: &[
            Edit {
                file: "session/attached.rs",
                within: "impl Drop for Attached",
                find: "panicking() && !self.panicking",
                replace: "false",
            },
        ],
        loom: &["a_panic_ends_its_session::a_panic_is_survived_by_its_session"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "CursorCountsRecords",
        about: "A look at the registry counts the records that it took along, not their places.",
        edits: &[
            Edit {
                file: "core/registry.rs",
                within: "fn next_batch",
                find: "*cursor = if key == shard.keys_used {
                    Cursor { shard: cursor.shard + 1, key: 0 }
                } else {
                    Cursor { key, ..*cursor }
                };",
                replace: "key = cursor.key.saturating_add(batch.len().max(1)).min(shard.keys_used);
                *cursor = if key == shard.keys_used {
                    Cursor { shard: cursor.shard + 1, key: 0 }
                } else {
                    Cursor { key, ..*cursor }
                };",
            },
        ],
        loom: &["listing_blocks_nobody::a_snapshot_misses_a_session"],
        shuttle: &["whole_pool::counts_balance"],
        tests: &[],
    },
    Mutation {
        name: "ArmedTooSoon",
        about: "A worker arms the socket of a session before that lies in its seat.",
        edits: &[
            Edit {
                file: "pool/worker.rs",
                within: "fn run<",
                find: "socket.is_some_and(|socket| arm(group, socket, slot, interest))",
                replace: "{ let _ = interest; socket.is_some() }",
            },
            Edit {
                file: "pool/worker.rs",
                within: "fn turn",
                find: "complete(attached.record.end_leaked_statement());",
                replace: "if let (Next::Socket(interest), Some(socket), Some(group)) = (next, socket, slot.group.upgrade()) {
                    arm(&group, socket, slot, interest);
                }
                complete(attached.record.end_leaked_statement());",
            },
        ],
        loom: &[],
        shuttle: &["whole_pool::counts_balance"],
        tests: &[],
    },
    Mutation {
        name: "CallNotPassedOn",
        about: "A worker that has been called leaves what else there is to those who are idle.",
        edits: &[
            Edit {
                file: "pool/queue/workers.rs",
                within: "",
                find: "match state.len() > 0 && state.counts.idle > 0 { true => Wakeup::Idle, false => Wakeup::None, }",
                replace: "Wakeup::None",
            },
        ],
        loom: &[],
        shuttle: &["workers::hand_over_to_a_retiring_worker"],
        tests: &[],
    },
    Mutation {
        name: "QueuedLeftToWorkers",
        about: "A victim that is queued is left to whichever worker comes for it.",
        edits: &[
            Edit {
                file: "pool/group/slot.rs",
                within: "fn close_if_due",
                find: "state.conn().and_then(|conn| conn.session.check_unreported().err())",
                replace: "if matches!(*state, SlotState::Queued(_)) {
                    return;
                }
                state.conn().and_then(|conn| conn.session.check_unreported().err())",
            },
        ],
        loom: &[],
        shuttle: &["workers::kill_of_a_session_that_becomes_ready"],
        tests: &[],
    },
    Mutation {
        name: "StopNotPassedOn",
        about: "A worker that has heard that the pool stops keeps it to itself.",
        edits: &[
            Edit {
                file: "pool/worker.rs",
                within: "",
                find: "if group.queue.is_closed() { group.poller.wake(); }",
                replace: "",
            },
        ],
        loom: &[],
        shuttle: &["workers::growth_against_shutdown"],
        tests: &[],
    },
    Mutation {
        name: "RetiresUnasked",
        about: "A worker whose patience has run out does not ask whether it has been called.",
        edits: &[
            Edit {
                file: "pool/queue/workers.rs",
                within: "fn wait_as_spare",
                find: "state.called > 0",
                replace: "state.called > 0 && !in_vain",
            },
        ],
        loom: &[],
        shuttle: &["workers::hand_over_to_a_retiring_worker"],
        tests: &[],
    },
    Mutation {
        name: "PlaceInTwoSteps",
        about: "A place is looked for and taken in two steps.",
        edits: &[
            Edit {
                file: "core/admission.rs",
                within: "fn step",
                find: "self.taken.fetch_update(Ordering::Acquire, Ordering::Relaxed, next)",
                replace: "let seen = self.taken.load(Ordering::Acquire);
                let stepped = next(seen);
                stepped.inspect(|next| self.taken.store(*next, Ordering::Release)).ok_or(seen)",
            },
        ],
        loom: &[
            "no_slot_is_taken_twice::two_take_the_last_slot",
            "no_slot_is_taken_twice::two_take_the_last_ordinary_slot",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "ClosedNotAsked",
        about: "A worker that puts a session back does not ask whether the pool has been stopped.",
        edits: &[
            Edit {
                file: "pool/worker.rs",
                within: "fn run<",
                find: "!watched || group.queue.is_closed()",
                replace: "!watched",
            },
        ],
        loom: &[],
        shuttle: &["whole_pool::counts_balance"],
        tests: &[],
    },
    Mutation {
        name: "LocalsDroppedAfterReceipts",
        about: "A session that ends drops its session-local values once its receipts are complete.",
        edits: &[
            Edit {
                file: "session/session.rs",
                within: "fn end",
                find: "self.drop_values();",
                replace: "",
            },
            Edit {
                file: "session/session.rs",
                within: "fn end",
                find: "self.record.completed(transition)",
                replace: "let ended = self.record.completed(transition);
                self.drop_values();
                ended",
            },
        ],
        loom: &[
            "session_local_destructors_against_kill::a_receipt_completes_before_the_destructors",
            "session_local_destructors_against_kill::a_receipt_completes_during_the_destructors",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "RowNotCompared",
        about: "A sweep does not ask whether its target still does what its row says.",
        edits: &[
            Edit {
                file: "core/record/request.rs",
                within: "fn terminate_if_unchanged",
                find: "!word.same_activity(expected)",
                replace: "false",
            },
        ],
        loom: &["bulk_request_hits_what_its_row_shows::terminate_rows_against_next_statement"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LateLocalKept",
        about: "A session-local value is kept for a session that has ended.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn insert_value_if_open",
                find: "self.transition(|word| word).after.ended()",
                replace: "self.transition(|word| word); false",
            },
        ],
        loom: &["session_local_destructors_against_kill::a_value_is_created_as_its_session_ends"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "LimitNamesNothing",
        about: "A statement's limit, when it has run out, cancels whatever runs.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn enforce",
                find: "now.cancel(named, None)",
                replace: "now.cancel(None, None)",
            },
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn enforce",
                find: "timing.next(now) != Some(due)",
                replace: "false",
            },
        ],
        loom: &["timeout_names_its_reason::timeout_against_finish"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "StampedAfterBegin",
        about: "When a statement began is noted after its word says that it runs.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn command_starts",
                find: "timing.stamp_statement();",
                replace: "",
            },
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn watch",
                find: "timing.next(word)",
                replace: "if word.in_statement() {
                    timing.stamp_statement();
                }
                timing.next(word)",
            },
        ],
        loom: &["timeout_names_its_reason::timeout_against_finish"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "DisarmedUnasked",
        about: "The timer that forgets a session takes no step to ask what it does now.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn arm",
                find: "self.transition(|word| word).after",
                replace: "self.snapshot()",
            },
        ],
        loom: &["timeout_names_its_reason::begin_against_disarm"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "EndedArmed",
        about: "The timer takes in sessions that have ended.",
        edits: &[
            Edit {
                file: "core/record/timeouts/state.rs",
                within: "fn next",
                find: "word.ended()",
                replace: "false",
            },
        ],
        loom: &["timeout_names_its_reason::grace_against_end"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "GraceForgetsAuthor",
        about: "A termination that becomes immediate after its grace has no author any more.",
        edits: &[
            Edit {
                file: "core/record/timeouts/mod.rs",
                within: "fn enforce",
                find: "self.terminate_by(request, Timestamp::now(), transition)",
                replace: "let mut request = request;
                request.comment = None;
                self.terminate_by(request, Timestamp::now(), transition)",
            },
        ],
        loom: &["timeout_names_its_reason::escalation_against_end"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "SuspendClearsCancel",
        about: "A task that goes off its thread is cleaned up as if its statement were over.",
        edits: &[
            Edit {
                file: "core/state/transitions.rs",
                within: "fn suspend",
                find: "SLOT | PROBE",
                replace: "SLOT | PROBE | CANCEL",
            },
        ],
        loom: &[
            "no_other_statement_is_hit::cancel_follows_a_task",
            "no_waiter_is_missed::lost_cancel_of_a_task",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "GoesOnAfresh",
        about: "A task that is polled again is attached as one that begins, and forgets its hold-offs.",
        edits: &[
            Edit {
                file: "session/task.rs",
                within: "impl<F: Future> Run<'_, F> => fn resume",
                find: "this.session.resume(&thread)",
                replace: "this.session.attach(&thread)",
            },
        ],
        loom: &["hold_off_reports_nothing::a_kill_gets_into_a_held_task"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "AsksBeforeWaker",
        about: "A task that waits to be interrupted asks, and leaves its waker in a second step.",
        edits: &[
            Edit {
                file: "session/task.rs",
                within: "impl Future for Interrupted<'_> => fn poll",
                find: "record.set_detached_waker(Some(context.waker().clone()));",
                replace: "",
            },
            Edit {
                file: "session/task.rs",
                within: "impl Future for Interrupted<'_> => fn poll",
                find: "record.due(self.at)",
                replace: "let due = record.due(self.at);
                record.set_detached_waker(Some(context.waker().clone()));
                due",
            },
        ],
        loom: &["no_waiter_is_missed::lost_wake_up_of_an_idle_task"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "RingsTooSoon",
        about: "A killer rings before it takes its step.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn try_transition",
                find: "self.word.try_transition(next)",
                replace: "self.raise_flag(self.word.load()); self.word.try_transition(next)",
            },
            Edit {
                file: "core/record/mod.rs",
                within: "fn try_transition",
                find: "if transition.after.attention() { self.raise_flag(transition.after); }",
                replace: "",
            },
        ],
        loom: &[
            "no_kill_is_lost::flag_cleared_as_a_kill_raises_it",
            "no_kill_is_lost::flag_of_another_thread",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "SilencesTooLate",
        about: "A safe point that was rung looks, and silences its bell in a second step.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn check_flagged",
                find: "attention::clear_own();",
                replace: "",
            },
            Edit {
                file: "core/record/mod.rs",
                within: "fn check_flagged",
                find: "self.word.transition(|word| word).after",
                replace: "let now = self.word.transition(|word| word).after;
                attention::clear_own();
                now",
            },
        ],
        loom: &["no_kill_is_lost::flag_cleared_as_a_kill_raises_it"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "RungWordNotStepped",
        about: "A safe point that was rung looks at the word without a step.",
        edits: &[
            Edit {
                file: "core/record/mod.rs",
                within: "fn check_flagged",
                find: "self.word.transition(|word| word).after",
                replace: "self.word.load()",
            },
        ],
        loom: &["no_kill_is_lost::flag_cleared_as_a_kill_raises_it"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "RousedUnasked",
        about: "A hold-off that ends elsewhere is over before its end takes a step to ask who sleeps.",
        edits: &[
            Edit {
                file: "core/record/wait.rs",
                within: "fn take_wakers_after_hold_off",
                find: "self.transition(|word| word);",
                replace: "",
            },
        ],
        loom: &[
            "hold_off_reports_nothing::lost_wake_up_of_a_thread_after_a_hold_off",
            "hold_off_reports_nothing::lost_wake_up_of_a_task_after_a_hold_off",
        ],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "HeldSleepsUnseen",
        about: "A sleeper that is held off does not say that it sleeps.",
        edits: &[
            Edit {
                file: "core/record/waits.rs",
                within: "impl Waits for Record => fn begin_wait",
                find: "Record::begin_wait(self, waker, killable, at)",
                replace: "if self.held() { return Ok(()); } Record::begin_wait(self, waker, killable, at)",
            },
        ],
        loom: &["hold_off_reports_nothing::lost_wake_up_of_a_thread_after_a_hold_off"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "ProbeOutlivesDetach",
        about: "Going off its thread a session takes a probe along that no safe point has answered.",
        edits: &[
            Edit {
                file: "core/state/transitions.rs",
                within: "fn detach",
                find: "SLOT | IN_STATEMENT | WAITING | KILLABLE | QUEUED | CANCEL | PROBE",
                replace: "SLOT | IN_STATEMENT | WAITING | KILLABLE | QUEUED | CANCEL",
            },
        ],
        loom: &["probe_against_detach::a_probe_sticks_or_strays"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "SeatedAfterDetach",
        about: "Going idle puts the session into its seat after its word says that it is detached. The mistake is the scene's own, which stands for the pool's worker.",
        edits: &[],
        loom: &["no_kill_is_lost::kill_dropped_while_changing_threads"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "TaskSleepsWithoutRecheck",
        about: "A task that waits does not look at what its step to sleep returned.",
        edits: &[Edit {
            file: "core/record/wait.rs",
            within: "fn suspend",
            find: "transition.after.due() && !self.held()",
            replace: "false",
        }],
        loom: &["no_waiter_is_missed::lost_wake_up_of_a_task"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "FinishKeepsItsStatement",
        about: "The step that ends a statement leaves it running.",
        edits: &[Edit {
            file: "core/state/transitions.rs",
            within: "fn finish",
            find: "self.without(IN_STATEMENT | CANCEL).with_attention()",
            replace: "self.without(CANCEL).with_attention()",
        }],
        loom: &[],
        shuttle: &[],
        tests: &["lib::core::state::tests::every_reachable_state_follows_the_model"],
    },
    Mutation {
        name: "OwnStepDoesNotRing",
        about: "A step of the session's own after which something is due does not ring.",
        edits: &[Edit {
            file: "core/record/mod.rs",
            within: "fn transition",
            find: "if transition.after.attention() { self.raise_flag(transition.after); }",
            replace: "",
        }],
        loom: &["no_kill_is_lost::flag_of_a_deferred_kill"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "BellStaysSilent",
        about: "A safe point that was rung, and has something to report, leaves its bell silent.",
        edits: &[Edit {
            file: "core/record/mod.rs",
            within: "fn check_flagged",
            find: "attention::raise_own();",
            replace: "",
        }],
        loom: &["no_kill_is_lost::flag_of_another_thread", "no_kill_is_lost::flag_cleared_as_a_kill_raises_it"],
        shuttle: &[],
        tests: &[],
    },
    Mutation {
        name: "BegunAndCancelledRunsOn",
        about: "A statement that was cancelled while it was queued begins, says so, and is not over.",
        edits: &[Edit {
            file: "core/record/statement.rs",
            within: "fn begun_with",
            find: "self.check_at(at).inspect_err(|_| complete(self.finish()))",
            replace: "self.check_at(at)",
        }],
        loom: &["each_transition_is_atomic::cancel_against_begin"],
        shuttle: &[],
        tests: &[],
    },
];
