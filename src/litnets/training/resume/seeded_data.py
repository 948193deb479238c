"""Seed what a DataModule without `start_at` draws, so that a run with it resumes bit-exactly, too.

The DataModules of this package compute the order of an epoch from (seed, epoch) and skip the batches that are done by
themselves (`start_at`). A user-defined one shuffles and augments with the global generators of torch, NumPy and Python,
whose state at a batch depends on all that came before. Here they are seeded before each batch is read, and a resumed
run reads the batches that are done once more, and drops them.
"""

from litnets.internals import DataFetcher, TrainingEpochLoop
from litnets.seeding import seed_batch

_DATA = 2  # the part of a batch's randomness (see `seed_batch`)


class SeededEpochLoop(TrainingEpochLoop):
    """An epoch loop that seeds the generators before each batch is read; also a mixin for other epoch loops."""

    def on_run_start(self, data_fetcher: DataFetcher) -> None:
        epoch, batches_done = self.trainer.current_epoch, self.batch_progress.current.ready
        seed_batch(epoch, 0, rank=0, part=_DATA)  # the order of the samples is the same in every process
        if self.trainer.fit_loop.is_resuming:
            if epoch:
                iter(data_fetcher)  # Lightning has begun before the generators were seeded
            for batch in range(batches_done):
                self._seed_reading(batch)
                next(data_fetcher, None)
            data_fetcher.fetched = 0  # Lightning adds the batches that are done
        super().on_run_start(data_fetcher)

    def advance(self, data_fetcher: DataFetcher) -> None:
        self._seed_reading(self.batch_progress.current.ready)
        super().advance(data_fetcher)

    def _seed_reading(self, batch: int) -> None:
        if batch:  # the first one is read in the state in which the epoch's order was drawn
            seed_batch(self.trainer.current_epoch, batch, self.trainer.global_rank, part=_DATA)
