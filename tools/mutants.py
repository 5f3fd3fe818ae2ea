#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Shows that the rules of merging are tested: breaks them one at a time and demands that the test which is named for it fails.

Each mutant below is a mistake that somebody could make: a function issued in the wrong order, a status kept that was withdrawn, a final
that comes too soon. Works on a copy under target/; the sources are not touched. `docs/mutants.md` has the same list as a table, which must
be up to date.

Usage: tools/mutants.py [part of a mutant's description]
       tools/mutants.py --table    writes the table into docs/mutants.md
"""

import sys

sys.dont_write_bytecode = True  # of the module beside this script

import mutation

WORKSHOP = mutation.Workshop("mutants", ["ringabi", "dispatcher", "dispatcher/model"], "fctl-dispatcher")

PAGE = mutation.ROOT / "docs" / "mutants.md"
BEGIN, END = "<!-- generated: mutants -->\n", "<!-- end: mutants -->"

ACCEPT = "subchannel/accept.rs"
ISSUE = "subchannel/issue.rs"
STATUS = "subchannel/status.rs"
ENGINE = "engine/uring.rs"

# Description; changes: file, the text as it ships, the text that replaces it; the test that must fail: program::test.
MUTANTS = [
    # Precedence
    (
        "the halt is issued before the clear",
        [
            (ACCEPT, "        self.word0 = C | CP;\n", "        self.word0 = C | CP | self.word0 & HP;\n"),
            (ISSUE, "        if self.has(CP) {\n", "        if self.has(CP) && !self.has(HP) {\n"),
        ],
        "model::conformance::item_46_halt_clear",
    ),
    (
        "a start is issued after a clear was accepted",
        [
            (ACCEPT, "        self.word0 = C | CP;\n", "        self.word0 = C | CP | self.word0 & SP;\n"),
            (ISSUE, "        if self.has(CP) {\n", "        if self.has(CP) && !self.has(SP) {\n"),
        ],
        "model::conformance::item_44_start_clear",
    ),
    (
        "in one turn the halts of all subchannels go out before the clears",
        [
            (
                "reactor/issue.rs",
                "            self.pass_out_of_line::<false>(queued::CLEAR);\n            self.pass_out_of_line::<false>(queued::HALT);\n",
                "            self.pass_out_of_line::<false>(queued::HALT);\n            self.pass_out_of_line::<false>(queued::CLEAR);\n",
            )
        ],
        "merge::in_one_turn_clears_go_out_first_then_halts_then_starts",
    ),
    (
        "a start runs through though a clear stands behind it",
        [("reactor/intake.rs", "batch.looks_like_starts() && !queues.any_stop()", "!queues.any_stop()")],
        "run_through::what_a_batch_overtakes_no_device_sees",
    ),
    (
        "a start runs through before a clear that is to be issued",
        [("reactor/intake.rs", "batch.looks_like_starts() && !queues.any_stop()", "batch.looks_like_starts()")],
        "run_through::no_start_runs_through_while_a_clear_is_to_be_issued",
    ),
    (
        "a silent start that ran through takes the notification of another away",
        [("reactor/through.rs", "ring.notify_wanted |= notifies(common);", "ring.notify_wanted = notifies(common);")],
        "run_through::silent_starts_take_no_notification_away",
    ),
    (
        "what ran through has used up no room",
        [("reactor/intake.rs", "        free -= batch.read();\n", "")],
        "run_through::a_start_behind_one_that_ran_through_waits_for_room",
    ),
    (
        "a start behind one that ran through finds the subchannel idle",
        [("reactor/through.rs", " || entry.ran_through == turn_number", "")],
        "run_through::no_guest_can_tell_at_once_from_later",
    ),
    # A turn's share
    (
        "a clear behind many starts is taken when these have been issued",
        [("reactor/intake.rs", "const MOST_AHEAD: u32 = 256;", "const MOST_AHEAD: u32 = 64;")],
        "starts_put_off::a_clear_behind_more_starts_than_a_turn_issues_goes_out_in_the_turn_that_takes_it",
    ),
    (
        "a turn issues all that was accepted",
        [("reactor/issue.rs", "} else if SHARED && ring.may_issue == 0 {", "} else if SHARED && ring.may_issue == u32::MAX {")],
        "starts_put_off::a_clear_behind_more_starts_than_a_turn_issues_goes_out_in_the_turn_that_takes_it",
    ),
    (
        "starts that were put off count for nothing in the next turn",
        [("reactor/issue.rs", "                ring.put_off += 1;\n", "")],
        "starts_put_off::no_more_are_accepted_ahead_than_is_said",
    ),
    (
        "a turn executes all that was posted, whatever it is",
        [("reactor/intake.rs", "        others -= 1;\n", "")],
        "starts_put_off::no_more_instructions_of_other_sorts_are_taken_than_starts_are_issued",
    ),
    (
        "starts that are given slots are beyond the share of a turn",
        [("reactor/issue.rs", "ring.may_issue > 0 && !may_have_clears(ring)", "!may_have_clears(ring)")],
        "starts_put_off::starts_that_are_given_slots_are_of_the_share_of_a_turn",
    ),
    (
        "a start with channel end alone ends the short way",
        [(ISSUE, "let plain = status.device == good && ", "let plain = status.device.intersects(good) && ")],
        "model::exhaustive::delivered_status_is_held_status_with_a_test_subchannel_inserted",
    ),
    (
        "a device is told to halt a start that it never saw",
        [(ISSUE, "Phase::AwaitingDeviceEnd if self.has(S) && self.start.is_none()", "Phase::AwaitingDeviceEnd if false")],
        "model::conformance::item_43_start_halt",
    ),
    # OR for fold
    (
        "OR for fold: a second start is accepted",
        [
            (
                ACCEPT,
                "        } else if self.has(FCTL) {\n            2\n        } else {\n            0\n",
                "        } else if self.has(H | C) {\n            2\n        } else {\n            0\n",
            )
        ],
        "model::conformance::item_19_a_second_ssch_is_refused_and_its_orb_ignored",
    ),
    (
        "OR for fold: a start is accepted under a pending clear",
        [
            (
                ACCEPT,
                "        } else if self.has(FCTL) {\n            2\n        } else {\n            0\n",
                "        } else if self.has(S | H) {\n            2\n        } else {\n            0\n",
            )
        ],
        "model::conformance::item_45_clear_start",
    ),
    (
        "OR for fold: a halt is accepted under a pending clear",
        [(ACCEPT, "        } else if self.has(H | C) {\n", "        } else if self.has(H) {\n")],
        "merge::pairs_on_an_idle_subchannel",
    ),
    (
        "a start is accepted with status pending",
        [
            (
                ACCEPT,
                "        } else if self.has(X) {\n            1\n"
                "        } else if self.has(FCTL) {\n            2\n        } else {\n            0\n",
                "        } else if self.has(FCTL) && !self.has(X) {\n            2\n        } else {\n            0\n",
            )
        ],
        "model::conformance::item_20_ssch_with_status_pending",
    ),
    (
        "the ORB of a refused start wins",
        [
            (
                ACCEPT,
                "            return self.ended(owed, cc, answers);\n        }\n        self.take_start(orb, owed);\n",
                "            self.orb = *orb;\n            return self.ended(owed, cc, answers);\n        }\n"
                "        self.take_start(orb, owed);\n",
            )
        ],
        "model::conformance::item_19_a_second_ssch_is_refused_and_its_orb_ignored",
    ),
    # Generations: what a dead start still says
    (
        "phase check dropped: the late end of a start that was cleared is taken for an end",
        [
            (
                STATUS,
                "        if self.has(CP) {\n            // A clear has overtaken it",
                "        if false {\n            // A clear has overtaken it",
            )
        ],
        "model::conformance::the_late_end_of_a_start_that_was_cleared_is_nobodys",
    ),
    (
        "phase check dropped: that late end makes the device idle before it has answered the clear",
        [(STATUS, "            if self.phase == Phase::Running {\n", "            if true {\n")],
        "model::conformance::the_late_end_of_a_start_that_was_cleared_is_nobodys",
    ),
    (
        "phase check dropped: the device end of a start that was cleared is presented",
        [
            (
                STATUS,
                "        if self.has(CP) {\n            return;\n        }\n        if self.has(HP) {\n            // The halt had",
                "        if self.has(HP) {\n            // The halt had",
            )
        ],
        "model::conformance::the_late_end_of_a_start_that_was_cleared_is_nobodys",
    ),
    (
        "the device does not forget a suspended program that was cancelled",
        [
            (
                ACCEPT,
                "            if self.phase == Phase::Suspended {\n                self.phase = Phase::Abandoned;\n",
                "            if self.phase == Phase::Suspended {\n                self.phase = Phase::Idle;\n",
            )
        ],
        "model::conformance::item_38_xsch_of_a_suspended_program",
    ),
    # What is withdrawn, what is kept
    (
        "a clear keeps the status it withdraws, with its interruption",
        [(ACCEPT, "        self.word0 = C | CP;\n", "        self.word0 = (self.word0 & STCTL) | C | CP;\n")],
        "model::conformance::item_33_csch_withdraws_pending_status",
    ),
    (
        "a halt keeps the program-controlled interruption it withdraws",
        [(ACCEPT, "        if only_intermediate && self.has(SCHA) {\n", "        if false {\n")],
        "model::conformance::item_31_hsch_withdraws_a_pci",
    ),
    (
        "the interruption parameter of an absorbed start is lost",
        [(ACCEPT, "        self.sense = None;\n", "        self.sense = None;\n        self.intparm = 0;\n")],
        "model::conformance::item_44_start_clear",
    ),
    (
        "a halt clears the start bit",
        [(ACCEPT, "        self.word0 |= H | HP;\n", "        self.word0 = (self.word0 & !S) | H | HP;\n")],
        "model::conformance::item_28_hsch_of_a_running_program",
    ),
    (
        "a clear leaves the path mask as it was",
        [(STATUS, "        self.schib.pmcw.pom = 0xFF;\n", "")],
        "model::conformance::item_36_masks_after_a_clear",
    ),
    (
        "a start without a path does not say which",
        [(STATUS, "            self.pnom = self.schib.pmcw.lpm;\n", "")],
        "model::conformance::item_22_no_path_is_a_deferred_condition_code_3",
    ),
    (
        "a start that selects no path is accepted",
        [(ACCEPT, "        let cc = if orb.lpm() & self.start_paths == 0 {\n", "        let cc = if self.start_paths == 0 {\n")],
        "model::conformance::item_22_a_start_that_selects_no_available_path_is_refused_at_once",
    ),
    (
        "a start does not say which path it used",
        [(ISSUE, "                self.lpum = THE_PATH;\n", "")],
        "model::conformance::the_path_last_used",
    ),
    # Complete once
    (
        "an absorbed start that was issued gets no final",
        [
            (
                STATUS,
                "            self.absorbed(start, Disposition::AbsorbedByClear, issued, answers);\n",
                "            let _ = (start, issued);\n",
            )
        ],
        "merge::pairs_on_an_active_subchannel",
    ),
    (
        "the final of an absorbed start comes after the clear's",
        [
            (
                STATUS,
                "        if let Some(start) = self.start.take() {\n"
                "            self.absorbed(start, Disposition::AbsorbedByClear, issued, answers);\n        }\n",
                "",
            ),
            (
                STATUS,
                "                self.final_with_status(clear, answers);\n",
                "                self.final_with_status(clear, answers);\n                if let Some(start) = self.start.take() {\n"
                "                    self.absorbed(start, Disposition::AbsorbedByClear, issued, answers);\n                }\n",
            ),
        ],
        "merge::a_clear_overtakes_a_halt_that_was_issued",
    ),
    (
        "the final of a running start comes when its clear is accepted, before the device gives its pages back",
        [
            (
                ACCEPT,
                "        if !self.start_issued {\n            if let Some(start) = self.start.take() {\n"
                "                self.absorbed(start, Disposition::AbsorbedByClear, false",
                "        if true {\n            if let Some(start) = self.start.take() {\n"
                "                self.absorbed(start, Disposition::AbsorbedByClear, false",
            )
        ],
        "merge::a_clear_overtakes_a_halt_that_was_issued",
    ),
    (
        "a start that was halted before it was issued is kept for later",
        [
            (
                ACCEPT,
                "        if !self.start_issued {\n            // Never to be issued",
                "        if false {\n            // Never to be issued",
            )
        ],
        "model::conformance::item_27_a_start_that_was_halted_before_it_was_issued_never_runs",
    ),
    (
        "a cancel is accepted for a start that was issued",
        [(ACCEPT, "self.word0 & FCTL != S || !self.has(SP | RP | SUSP) || self.has(SCHA)", "self.word0 & FCTL != S")],
        "model::conformance::item_47_start_cancel",
    ),
    (
        "a start whose cancel was told zero is issued",
        [(ACCEPT, "            self.word0 &= !(S | SP | RP | SUSP);\n", "            self.word0 &= !(S | RP | SUSP);\n")],
        "merge::a_start_whose_cancel_was_told_zero_never_reaches_the_device",
    ),
    (
        "the status of a clear is presented before the device has answered it",
        [
            (STATUS, "    fn cleared<R", "    pub(super) fn cleared<R"),
            (
                ACCEPT,
                "            self.absorbed(clear, Disposition::AbsorbedByClear, false, answers);\n        }\n",
                "            self.absorbed(clear, Disposition::AbsorbedByClear, false, answers);\n        }\n"
                "        self.cleared(answers);\n",
            ),
        ],
        "model::conformance::item_32_csch_in_any_state",
    ),
    (
        "the status of a halt is presented before the device has answered it",
        [
            (
                ACCEPT,
                "        self.halt = Some(owed);\n",
                "        self.halt = Some(owed);\n        self.halted(&Default::default(), false, answers);\n",
            )
        ],
        "model::conformance::item_28_hsch_of_a_running_program",
    ),
    (
        "an emulated device answers a halt while its operation is in the kernel",
        [
            (
                "device/emulated/mod.rs",
                "        if self.phase != Phase::InFlight {\n            self.stopped(cx, stop);\n",
                "        if true {\n            self.stopped(cx, stop);\n",
            )
        ],
        "fba_stops::halt_is_answered_when_the_operation_has_ended",
    ),
    # Status and its interruptions
    (
        "TEST SUBCHANNEL leaves the function control",
        [(STATUS, "self.word0 &= !(FCTL | RP | SP | HP | CP | SUSP | STCTL", "self.word0 &= !(RP | SP | HP | CP | SUSP | STCTL")],
        "model::conformance::item_24_the_second_tsch_finds_nothing",
    ),
    (
        "TEST SUBCHANNEL of a suspension ends the program",
        [
            (
                STATUS,
                "if self.has(H) { !(FCTL | RP | SP | HP | CP | SUSP) } else { !RP }",
                "!(FCTL | RP | SP | HP | CP | SUSP)",
            )
        ],
        "model::conformance::item_41_the_interruption_of_a_suspension",
    ),
    (
        "a second resume is accepted while one is pending",
        [(ACCEPT, "self.word0 & FCTL != S || self.has(RP) || !may_suspend", "self.word0 & FCTL != S || !may_suspend")],
        "model::conformance::item_40_rsch_of_a_suspended_program",
    ),
    (
        "the device end after channel end is dropped",
        [(STATUS, "        self.pend(SEC);\n        self.status |= word2(status);\n        self.offer(answers);\n", "")],
        "model::conformance::a_device_end_after_channel_end_is_an_interruption_of_its_own",
    ),
    (
        "the device end before a start that waits for it is presented",
        [(STATUS, "        if !self.operational || self.has(SP) {\n", "        if !self.operational {\n")],
        "model::conformance::a_start_that_waits_for_device_end_is_all_the_guest_hears_of_it",
    ),
    (
        "status that joins what was told is told anew",
        [(STATUS, "        self.told &= self.has(X);\n", "        self.told = false;\n")],
        "model::conformance::a_device_end_after_channel_end_is_an_interruption_of_its_own",
    ),
    (
        "after one interruption there is no other",
        [(STATUS, "        self.told &= self.has(X);\n", "")],
        "model::conformance::a_device_end_after_channel_end_is_an_interruption_of_its_own",
    ),
    # Slots of the engine: whose completion it is, and whose buffers the kernel holds
    (
        "generation check dropped: the late completion of a dead operation is taken for the slot's next one",
        [(ENGINE, "if slot.generation & 0xFF_FFFF != generation || !slot.in_flight {", "if !slot.in_flight {")],
        "lib::engine::uring::ending_tests::a_late_completion_is_not_taken_for_the_slots_next_operation",
    ),
    (
        "the next operation of a slot has the generation of the one before",
        [(ENGINE, "        slot.generation = slot.generation.wrapping_add(1);\n", "")],
        "lib::engine::uring::ending_tests::a_late_completion_is_not_taken_for_the_slots_next_operation",
    ),
    (
        "a completion ends an operation that was never begun",
        [(ENGINE, "if slot.generation & 0xFF_FFFF != generation || !slot.in_flight {", "if slot.generation & 0xFF_FFFF != generation {")],
        "lib::engine::uring::ending_tests::a_completion_for_a_slot_without_an_operation_is_nobodys",
    ),
    (
        "a registered file's place is given away while an operation may mean it",
        [("engine/uring/files.rs", "            if in_flight(file) {", "            if in_flight(file) && place == NOWHERE {")],
        "lib::engine::uring::tests::a_place_is_not_given_away_while_an_operation_may_mean_it",
    ),
    (
        "a file stays registered when the last one that had it has gone",
        [("reactor/settle.rs", "            self.engine.unregister_files(index);\n", "")],
        "registered_files::a_volume_with_the_descriptor_numbers_of_one_that_has_gone_is_read_and_written_itself",
    ),
    (
        "a registered ring is entered by its number on any thread",
        [("engine/uring/entrance.rs", ".filter(|registered| registered.thread == THREAD.get())", "")],
        "lib::engine::uring::tests::a_ring_is_entered_by_its_number_on_its_own_thread_only",
    ),
    (
        "the lock is on an open file that is registered",
        [("volume/mod.rs", "self.cached.iter().filter(|_| self.local).map(AsRawFd::as_raw_fd).collect()", "vec![self.lock_file(), self.cached_file()]")],
        "registered_files::a_process_that_was_killed_while_it_read_leaves_its_volume_free",
    ),
    (
        "a slot that is released is free while the kernel holds its buffers",
        [(ENGINE, "if entry.owner.take().is_some() && !entry.in_flight {", "if entry.owner.take().is_some() {")],
        "lib::engine::uring::ending_tests::a_slot_that_is_released_in_flight_is_free_when_its_operation_has_ended",
    ),
    (
        "a slot that was released in flight never becomes free",
        [(ENGINE, "        if owner.is_none() {\n            self.free.push(id.0);\n        }\n", "")],
        "lib::engine::uring::ending_tests::a_slot_that_is_released_in_flight_is_free_when_its_operation_has_ended",
    ),
    (
        "a slot that is released twice is free twice",
        [(ENGINE, "if entry.owner.take().is_some() && !entry.in_flight {", "entry.owner.take();\n            if !entry.in_flight {")],
        "lib::engine::uring::ending_tests::a_slot_that_is_released_in_flight_is_free_when_its_operation_has_ended",
    ),
    # What the random comparison has found
    (
        "an attention that was stacked is lost while the subchannel is disabled",
        [(ISSUE, " && self.operational => Some(Function::PresentStacked)", " => Some(Function::PresentStacked)")],
        "random_model::found::an_attention_that_is_stacked_is_kept_while_the_subchannel_is_disabled",
    ),
    (
        "the sense of a program that ends while its halt is performed is lost",
        [(STATUS, "            self.keep_sense(sense);\n            return", "            return")],
        "random_model::found::concurrent_sense_goes_with_the_status_of_a_halt",
    ),
    (
        "a resume takes the next one with it",
        [
            (
                ISSUE,
                "                if self.has(SUSP) {\n                    self.word0 &= !(RP | SUSP);\n                }\n",
                "                self.word0 &= !(RP | SUSP);\n",
            )
        ],
        "random_model::found::a_resume_that_is_accepted_while_an_earlier_one_is_performed_is_for_the_next_suspension",
    ),
    (
        "status of a suspension that waited for room is delivered under a pending halt, and ends it",
        [(STATUS, "StatusMode::Delivered => !self.has(HP),", "StatusMode::Delivered => true,")],
        "random_model::found::a_suspension_that_waited_for_room_is_delivered_with_the_halt",
    ),
    (
        "an attention behind status that waited for room is never presented",
        [
            (
                "reactor/issue.rs",
                "            // Status that is taken may have kept other status from being presented.\n"
                "            queues.enqueue(index, entry);\n",
                "",
            )
        ],
        "random_model::found::an_attention_behind_status_that_waited_for_room_is_presented",
    ),
    (
        "status that waited for room is stored, and not published",
        [("reactor/mod.rs", "productive |= self.deliver_waiting();", "self.deliver_waiting();")],
        "random_model::found::status_that_waited_for_room_is_published_though_nothing_else_happens",
    ),
]


def table():
    rows = [f"| {description} | `{test}` |\n" for description, _, test in MUTANTS]
    return "| mutant | killed by |\n|---|---|\n" + "".join(rows)


def page():
    """The page as it is, and as it should be."""
    text = PAGE.read_text()
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return text, f"{head}{BEGIN}\n{table()}\n{END}{tail}"


def mutate(_, changes, named):
    program, _, test = named.partition("::")
    with WORKSHOP.changed([(f"dispatcher/src/{file}", shipped, mutated) for file, shipped, mutated in changes]):
        outcome = WORKSHOP.test(program, test)
    if test in outcome.failed:
        return True, f"killed by {named}"
    if test in outcome.passed:
        return False, f"NOT KILLED by {named}"
    return False, f"{named} DID NOT END:\n{outcome.output}"


def main():
    there, expected = page()
    if sys.argv[1:] == ["--table"]:
        PAGE.write_text(expected)
        return 0
    if there != expected:
        sys.exit("docs/mutants.md: its table is not the list of this script; tools/mutants.py --table writes it")
    chosen = mutation.choose(MUTANTS, "mutant")
    programs = {}
    for _, _, named in chosen:
        program, _, test = named.partition("::")
        programs.setdefault(program, set()).add(test)
    WORKSHOP.open(programs)
    return mutation.report("mutant", chosen, mutate)


if __name__ == "__main__":
    sys.exit(main())
