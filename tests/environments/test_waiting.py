"""A long wait never looks like a hang."""

import asyncio

from journeyman.environments.waiting import RolloutProgress, beating


def test_a_long_wait_is_told_again_and_again_and_no_longer():
    async def play():
        progress, told = RolloutProgress(total=2), []
        async with beating(progress, told.append, 0.02):
            with progress.waiting("a tool of shop"):
                await asyncio.sleep(0.2)
        count = len(told)
        await asyncio.sleep(0.1)
        assert len(told) == count, "nothing is told once it is over"
        return told

    told = asyncio.run(play())
    assert len(told) >= 2
    assert told[0].startswith("0 of 2 attempts done; 1 wait for a tool of shop (0 s)")
