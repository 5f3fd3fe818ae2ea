#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Shows that every ordering of the ring code is needed: takes them away one at a time and demands that a test notices.

Copies the crate `ringabi` to `target/weaken/`, checks that its loom tests pass unmodified, then applies each weakening below to a fresh
copy of the sources and demands that the loom tests fail. A weakening that nothing notices is either a hole in the tests or an ordering
that is not needed: both end with a non-zero exit.

Usage: tools/weaken.py [part of a weakening's description]
"""

import sys

sys.dont_write_bytecode = True  # of the module beside this script

import mutation

WORKSHOP = mutation.Workshop("weaken", ["ringabi"], "fctl-ringabi", options=["--release"], flags="--cfg loom")

# Description, file, the text as it ships, the text that replaces it, the test that should notice (tried first).
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
        "        let expected = self.lane.lap(self.head);\n",
        "        let expected = self.lane.lap(self.head).wrapping_sub(1);\n",
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
        "        if self.is_empty() {\n            return Ok(None);\n        }\n        self.advance();\n        self.head -= 1;\n"
        "        let entry = self.peek();\n        self.head += 1;\n        entry\n",
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
