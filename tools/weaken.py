#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Shows that every ordering of the ring code, and of where a host ring meets its reactor, is needed: takes them away one at a time and
demands that a test notices.

Copies the crates `ringabi` and `dispatcher` to `target/weaken/`, checks that its loom tests pass unmodified, then applies each weakening below to a fresh
copy of the sources and demands that the loom tests fail. A weakening that nothing notices is either a hole in the tests or an ordering
that is not needed: both end with a non-zero exit.

Usage: tools/weaken.py [part of a weakening's description]
"""

import sys

sys.dont_write_bytecode = True  # of the module beside this script

import mutation

WORKSHOP = mutation.Workshop("weaken", ["ringabi", "dispatcher", "dispatcher/model"], "fctl-ringabi", options=["--release"], flags="--cfg loom")

MEETING = "../../dispatcher/src/host/meeting.rs"

# Description, file of ringabi/src, the text as it ships, the text that replaces it, the test that should notice (tried first).
WEAKENINGS = [
    (
        "PUBLISH Release -> Relaxed",
        "producer.rs",
        "const PUBLISH: Ordering = Ordering::Release;",
        "const PUBLISH: Ordering = Ordering::Relaxed;",
        "entries_arrive_whole_and_in_order_over_several_laps",
    ),
    (
        "TAKE Acquire -> Relaxed",
        "consumer.rs",
        "const TAKE: Ordering = Ordering::Acquire;",
        "const TAKE: Ordering = Ordering::Relaxed;",
        "entries_arrive_whole_and_in_order_over_several_laps",
    ),
    (
        "TAKE -> Relaxed in a look ahead",
        "consumer.rs",
        "let first = self.memory.load(at.word(), TAKE);",
        "let first = self.memory.load(at.word(), Ordering::Relaxed);",
        "a_look_ahead_sees_a_batch_whole",
    ),
    (
        "GIVE_BACK Release -> Relaxed",
        "consumer.rs",
        "const GIVE_BACK: Ordering = Ordering::Release;",
        "const GIVE_BACK: Ordering = Ordering::Relaxed;",
        "a_full_ring_makes_the_producer_wait_and_overwrites_nothing",
    ),
    (
        "SEE_HEAD Acquire -> Relaxed",
        "producer.rs",
        "const SEE_HEAD: Ordering = Ordering::Acquire;",
        "const SEE_HEAD: Ordering = Ordering::Relaxed;",
        "a_full_ring_makes_the_producer_wait_and_overwrites_nothing",
    ),
    (
        "no fence in Sleeper::announce",
        "wake.rs",
        "        // Pairs with the fence in `Waker::must_wake`.\n        self.memory.full_fence();\n",
        "",
        "no_wake_up_is_lost_and_none_is_sent_twice",
    ),
    (
        "no fence in Waker::must_wake",
        "wake.rs",
        "        // Pairs with the fence in `Sleeper::announce`.\n        self.memory.full_fence();\n",
        "",
        "no_wake_up_is_lost_and_none_is_sent_twice",
    ),
    (
        "last look before the announcement of sleep",
        "guest_port.rs",
        "        self.sleeper.announce();\n        if self.completions.is_empty()",
        "        let empty = self.completions.is_empty();\n        self.sleeper.announce();\n        if empty",
        "a_sleeping_guest_is_notified_of_every_completion",
    ),
    (
        "sleeps are not counted",
        "wake.rs",
        "self.count = self.count.wrapping_add(1);",
        "self.count = 0;",
        "no_wake_up_is_lost_and_none_is_sent_twice",
    ),
    (
        "a sleep that was rung for is forgotten",
        "wake.rs",
        "            self.woken = count;\n",
        "",
        "no_wake_up_is_lost_and_none_is_sent_twice",
    ),
    (
        "first slot of a batch valid before the others",
        "producer.rs",
        "            self.held = first;\n",
        "            self.held = first;\n            self.memory.store(word, first, PUBLISH);\n",
        "a_batch_is_visible_at_once",
    ),
    (
        "first slot of a poster's batch valid before the others",
        "shared_producer.rs",
        "        for (index, entry) in (0..).zip(batch) {\n",
        "        self.memory.store_body(self.lane.word(ticket), &batch[0]);\n"
        "        self.memory.store(self.lane.word(ticket), with_lap(batch[0][0], self.lane.lap(ticket)), PUBLISH);\n"
        "        for (index, entry) in (0..).zip(batch).skip(1) {\n",
        "a_batch_of_one_of_two_posters_stays_together",
    ),
    (
        "lap valid before the body is written",
        "producer.rs",
        "        self.memory.store_body(word, &entry);\n",
        "        self.memory.store(word, first, PUBLISH);\n        self.memory.store_body(word, &entry);\n",
        "entries_arrive_whole_and_in_order_over_several_laps",
    ),
    (
        "lap off by one, so that an old slot is valid",
        "consumer.rs",
        "let (word, expected) = (place.word(), place.lap());",
        "let (word, expected) = (place.word(), place.lap().wrapping_sub(1));",
        "entries_arrive_whole_and_in_order_over_several_laps",
    ),
    (
        "lap zero, so that zeroed memory is valid",
        "lane.rs",
        "        lap.wrapping_add(1)\n",
        "        lap\n",
        "entries_arrive_whole_and_in_order_over_several_laps",
    ),
    (
        "slot given back before it is read",
        "consumer.rs",
        "        let entry = self.peek()?;\n        if entry.is_some() {\n            self.advance();\n        }\n        Ok(entry)\n",
        "        if self.is_empty() {\n            return Ok(None);\n        }\n        let before = self.head;\n        self.advance();\n"
        "        let after = core::mem::replace(&mut self.head, before);\n        let entry = self.peek();\n"
        "        self.head = after;\n        entry\n",
        "entries_arrive_whole_and_in_order_over_several_laps",
    ),
    (
        "ticket by load and store instead of compare-and-swap",
        "shared_producer.rs",
        "match self.memory.compare_exchange(self.ticket_word, ticket, ticket.wrapping_add(want)) {\n",
        "self.memory.store(self.ticket_word, ticket.wrapping_add(want), Ordering::Relaxed);\n            match Ok::<u64, u64>(ticket) {\n",
        "two_posters_lose_and_double_nothing",
    ),
    (
        "a head that other posters have overtaken is taken for room",
        "producer.rs",
        "Ok(lane.entries().saturating_sub(next.wrapping_sub(head)))",
        "Ok(lane.entries().wrapping_sub(next.wrapping_sub(head)))",
        "two_posters_lose_and_double_nothing",
    ),
    (
        "an outdated ticket accuses the consumer",
        "shared_producer.rs",
        "if fresh == ticket {",
        "if fresh >= ticket {",
        "an_outdated_ticket_accuses_nobody",
    ),
    (
        "RELEASED Release -> Relaxed",
        "guest_port.rs",
        "store(word::RELEASED, self.released, Ordering::Release)",
        "store(word::RELEASED, self.released, Ordering::Relaxed)",
        "header_words::who_posts_on_credit_finds_the_dispatcher_with_room",
    ),
    (
        "RELEASED Acquire -> Relaxed",
        "guest_port.rs",
        "memory.load(word::RELEASED, Ordering::Acquire).max(self.released)",
        "memory.load(word::RELEASED, Ordering::Relaxed).max(self.released)",
        "header_words::who_posts_on_credit_finds_the_dispatcher_with_room",
    ),
    (
        "RELEASED Acquire -> Relaxed where a poster opens",
        "guest_port.rs",
        "released: self.memory.load(word::RELEASED, Ordering::Acquire),",
        "released: self.memory.load(word::RELEASED, Ordering::Relaxed),",
        "header_words::who_opens_with_credit_finds_the_dispatcher_with_room",
    ),
    (
        "credit given back before the slots",
        "guest_port.rs",
        "        if self.completions.advance() {\n            self.release_credit();\n        }\n",
        "        self.release_credit();\n        self.completions.advance();\n",
        "header_words::who_posts_on_credit_finds_the_dispatcher_with_room",
    ),
    (
        "FENCE Release -> Relaxed",
        "dispatcher_port.rs",
        "store(word::FENCE, u64::from(reason), Ordering::Release)",
        "store(word::FENCE, u64::from(reason), Ordering::Relaxed)",
        "header_words::who_sees_the_fence_sees_the_last_completion",
    ),
    (
        "FENCE Acquire -> Relaxed",
        "guest_port.rs",
        "memory.load(word::FENCE, Ordering::Acquire)",
        "memory.load(word::FENCE, Ordering::Relaxed)",
        "header_words::who_sees_the_fence_sees_the_last_completion",
    ),
    (
        "last look at the fence before the announcement of sleep",
        "guest_port.rs",
        "        self.sleeper.announce();\n        if self.completions.is_empty() && self.fenced().is_none() {",
        "        let fenced = self.fenced();\n        self.sleeper.announce();\n        if self.completions.is_empty() && fenced.is_none() {",
        "header_words::a_sleeping_guest_is_notified_of_the_fence",
    ),
    (
        "magic Release -> Relaxed",
        "header.rs",
        "memory.store(0, MAGIC, Ordering::Release);",
        "memory.store(0, MAGIC, Ordering::Relaxed);",
        "header_words::who_sees_the_magic_sees_the_header",
    ),
    (
        "magic Acquire -> Relaxed",
        "header.rs",
        "let magic = memory.load(0, Ordering::Acquire);",
        "let magic = memory.load(0, Ordering::Relaxed);",
        "header_words::who_sees_the_magic_sees_the_header",
    ),
    (
        "CQ_HEAD Acquire -> Relaxed where a dispatcher attaches",
        "dispatcher_port.rs",
        "memory.load(word::CQ_HEAD, Ordering::Acquire)",
        "memory.load(word::CQ_HEAD, Ordering::Relaxed)",
        "header_words::a_dispatcher_that_attaches_overwrites_nothing_that_is_being_read",
    ),
    (
        "SQ_HEAD Acquire -> Relaxed where a poster opens",
        "guest_port.rs",
        "        let head = self.memory.load(word::SQ_HEAD, Ordering::Acquire);\n        let next",
        "        let head = self.memory.load(word::SQ_HEAD, Ordering::Relaxed);\n        let next",
        "header_words::a_poster_that_opens_overwrites_nothing_that_is_being_taken",
    ),
    (
        "SQ_HEAD Acquire -> Relaxed where many posters open",
        "guest_port.rs",
        "        let head = self.memory.load(word::SQ_HEAD, Ordering::Acquire);\n        let poster",
        "        let head = self.memory.load(word::SQ_HEAD, Ordering::Relaxed);\n        let poster",
        "header_words::one_of_many_posters_that_opens_overwrites_nothing_that_is_being_taken",
    ),
    (
        "no fence between a dispatcher's announcement and its last look",
        "wake.rs",
        "    full_fence();\n    nothing(sleeper)\n",
        "    nothing(sleeper)\n",
        "a_sleeping_dispatcher_is_rung_for_every_descriptor",
    ),
    (
        "a dispatcher's last look before its announcement of sleep",
        "wake.rs",
        "    nothing: impl FnOnce(&mut S) -> bool,\n) -> bool {\n    announce(sleeper);\n",
        "    look: impl FnOnce(&mut S) -> bool,\n) -> bool {\n    let seen = look(sleeper);\n    announce(sleeper);\n    let nothing = |_: &mut S| seen;\n",
        "a_sleeping_dispatcher_is_rung_for_every_descriptor",
    ),
    (
        "host ring: no fence between the poster's announcement and its last look",
        MEETING,
        "        // Pairs with the fence in `wake_poster`: either it sees that we sleep, or we see what it has published.\n        fence(Ordering::SeqCst);\n",
        "",
        "meeting::a_poster_that_sleeps_is_woken_for_what_is_published",
    ),
    (
        "host ring: no fence before a poster is woken",
        MEETING,
        "        // Pairs with the fence in `sleep`.\n        fence(Ordering::SeqCst);\n",
        "",
        "meeting::a_poster_that_sleeps_is_woken_for_what_is_published",
    ),
    (
        "host ring: the poster's last look before its announcement",
        MEETING,
        "        if self.poster.compare_exchange(AWAKE, ASLEEP, Ordering::Relaxed, Ordering::Relaxed).is_err() {\n",
        "        let seen = nothing();\n        let nothing = || seen;\n"
        "        if self.poster.compare_exchange(AWAKE, ASLEEP, Ordering::Relaxed, Ordering::Relaxed).is_err() {\n",
        "meeting::a_poster_that_sleeps_is_woken_for_what_is_published",
    ),
    (
        "host ring: a reactor that goes wakes nobody",
        MEETING,
        "        wake(&self.poster, u32::MAX);\n",
        "",
        "meeting::a_poster_that_sleeps_learns_that_the_reactor_has_gone_and_sees_its_last_completion",
    ),
    (
        "host ring: GONE Release -> Relaxed",
        MEETING,
        "self.poster.swap(GONE, Ordering::Release);",
        "self.poster.swap(GONE, Ordering::Relaxed);",
        "meeting::who_finds_the_reactor_gone_sees_its_last_completion",
    ),
    (
        "host ring: GONE Acquire -> Relaxed",
        MEETING,
        "self.poster.load(Ordering::Acquire) == GONE",
        "self.poster.load(Ordering::Relaxed) == GONE",
        "meeting::who_finds_the_reactor_gone_sees_its_last_completion",
    ),
    (
        "host ring: no fence after a wish",
        MEETING,
        "        // Pairs with the fence in `claim_published`: either it sees the wish, or we see what it has published.\n        fence(Ordering::SeqCst);\n",
        "",
        "meeting::a_notification_that_was_wished_for_comes_once",
    ),
    (
        "host ring: no fence before a wish is claimed",
        MEETING,
        "        // Pairs with the fence in `wish`.\n        fence(Ordering::SeqCst);\n",
        "",
        "meeting::a_notification_that_was_wished_for_comes_once",
    ),
    (
        "host ring: wish Release -> Relaxed",
        MEETING,
        "self.wish.store(number.wrapping_add(1) | 1, Ordering::Release);",
        "self.wish.store(number.wrapping_add(1) | 1, Ordering::Relaxed);",
        "meeting::nothing_is_notified_that_was_taken_before_the_wish",
    ),
    (
        "host ring: wish Acquire -> Relaxed",
        MEETING,
        "let number = self.wish.load(Ordering::Acquire);",
        "let number = self.wish.load(Ordering::Relaxed);",
        "meeting::nothing_is_notified_that_was_taken_before_the_wish",
    ),
    (
        "host ring: a wish is claimed by load and store",
        MEETING,
        "if self.wish.compare_exchange(number, number.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed).is_ok() {",
        "self.wish.store(number.wrapping_add(1), Ordering::Relaxed);\n            if true {",
        "meeting::a_notification_that_was_wished_for_comes_once",
    ),
]


def weaken(_, file, shipped, weakened, test):
    with WORKSHOP.changed([(f"ringabi/src/{file}", shipped, weakened)]):
        failed = WORKSHOP.test("loom", test).failed or WORKSHOP.test("loom").failed
        return bool(failed), "caught by test " + ", ".join(sorted(failed)) if failed else "NOT CAUGHT"


def main():
    chosen = mutation.choose(WEAKENINGS, "weakening")
    WORKSHOP.open({"loom": []})
    return mutation.report("weakened", chosen, weaken)


if __name__ == "__main__":
    sys.exit(main())
