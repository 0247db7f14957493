import asyncio

import pytest

from integration.listeners.budget import FREE_BYTES, Budget

LIMIT = 10 * FREE_BYTES


def run(conversation):
    async def main():
        return await conversation(Budget(LIMIT))

    return asyncio.run(main())


async def waits(budget, holder):
    """Tell whether `holder` has to wait; it goes on waiting in the returned task."""
    task = asyncio.ensure_future(budget.room(holder))
    for _ in range(3):
        await asyncio.sleep(0)
    return not task.done(), task


def test_within_the_limit_nobody_waits():
    async def conversation(budget):
        for holder in "abc":
            budget.hold(holder, 3 * FREE_BYTES)
        return [(await waits(budget, holder))[0] for holder in "abc"]

    assert run(conversation) == [False] * 3


def test_beyond_it_only_the_first_reads_on():
    async def conversation(budget):
        for holder in "abc":
            budget.hold(holder, 2 * FREE_BYTES)
            await budget.room(holder)
        budget.hold("b", LIMIT)
        found = {holder: await waits(budget, holder) for holder in "bca"}
        for _, task in found.values():
            task.cancel()
        return {holder: waiting for holder, (waiting, _) in found.items()}

    assert run(conversation) == {"a": False, "b": True, "c": True}


@pytest.mark.parametrize("end", ["whole", "given up"])
def test_when_the_first_is_done_the_next_reads_on(end):
    async def conversation(budget):
        for holder in "ab":
            budget.hold(holder, LIMIT)
            _, task = await waits(budget, holder)
        assert not task.done()
        if end == "whole":
            budget.whole("a")
        else:
            budget.hold("a", 0)
        await task

    run(conversation)


def test_answered_messages_make_room_for_all():
    async def conversation(budget):
        for holder in "abc":
            budget.hold(holder, LIMIT // 2)
        budget.whole("a")
        tasks = [(await waits(budget, holder))[1] for holder in "bc"]
        assert not tasks[1].done()
        budget.hold("a", 0)
        budget.hold("b", 0)
        await asyncio.gather(*tasks)

    run(conversation)


def test_a_first_block_is_free():
    async def conversation(budget):
        budget.hold("large", LIMIT)
        budget.hold("small", FREE_BYTES - 1)
        return (await waits(budget, "small"))[0]

    assert run(conversation) is False


def test_who_gave_up_waiting_is_no_longer_in_the_way():
    async def conversation(budget):
        for holder in "ab":
            budget.hold(holder, LIMIT)
        _, first = await waits(budget, "a")
        _, task = await waits(budget, "b")
        assert first.done()
        budget.hold("a", 0)
        budget.hold("a", LIMIT)
        await task
        return (await waits(budget, "a"))[0]

    assert run(conversation) is True
