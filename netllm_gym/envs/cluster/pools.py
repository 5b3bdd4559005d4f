"""Where executors stand, and whom they have been promised to."""

from __future__ import annotations

from collections.abc import Iterable

from netllm_gym.envs.cluster.state import COMMON, Executor, Job, Pool

Destination = tuple[Job, int] | None  # a stage; ``None``: stay without work


class Pools:
    """Executors by pool, and each pool's promises, oldest first. A moving executor is in no pool.

    A stage's pool holds those that work on it too: the end of its tasks is foreseen, and they are promised at once.
    """

    def __init__(self, executors: Iterable[Executor]):
        self.members: dict[Pool, dict[int, Executor]] = {COMMON: {e.index: e for e in executors}}
        self.promises: dict[Pool, dict[Destination, int]] = {}

    def place(self, executor: Executor, pool: Pool | None) -> None:
        """Move an executor to another pool, or out of all of them."""
        if executor.pool is not None:
            members = self.members[executor.pool]
            del members[executor.index]
            if not members and executor.pool != COMMON:
                del self.members[executor.pool]
        executor.pool = pool
        if pool is not None:
            self.members.setdefault(pool, {})[executor.index] = executor

    def idle(self, pool: Pool) -> list[Executor]:
        """Return the members that have no task, in the order in which they came."""
        return [executor for executor in self.members.get(pool, {}).values() if not executor.busy]

    def free(self, pool: Pool) -> int:
        """Return how many members, idle or not, have not been promised."""
        members = self.members.get(pool)
        return len(members) - sum(self.promises.get(pool, {}).values()) if members else 0

    def promise(self, pool: Pool, target: Destination, count: int) -> None:
        """Promise `count` members of a pool."""
        book = self.promises.setdefault(pool, {})
        book[target] = book.get(target, 0) + count

    def redeem(self, pool: Pool) -> Destination:
        """Take one executor off the oldest promise of a pool that has some, and return where it goes."""
        book = self.promises[pool]
        target = next(iter(book))
        if book[target] == 1:
            del book[target]
            if not book:
                del self.promises[pool]
        else:
            book[target] -= 1
        return target
