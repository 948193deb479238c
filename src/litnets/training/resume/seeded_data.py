"""Seed the data reading of a DataModule without `start_at`, so that a run with it resumes bit-exactly as well.

The DataModules of this package compute the order of an epoch from (seed, epoch), and `start_at` skips the batches that
are done. A user-defined DataModule shuffles and augments with the global generators of torch, NumPy and Python, whose
state depends on everything before. The loop in this module seeds them before each batch is read. A resumed run reads
the finished batches of its epoch again and drops them.
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
                iter(data_fetcher)  # start again: Lightning started before the generators were seeded
            for batch in range(batches_done):
                self._seed_reading(batch)
                next(data_fetcher, None)
            data_fetcher.fetched = 0  # Lightning adds the number of finished batches itself
        super().on_run_start(data_fetcher)

    def advance(self, data_fetcher: DataFetcher) -> None:
        self._seed_reading(self.batch_progress.current.ready)
        super().advance(data_fetcher)

    def _seed_reading(self, batch: int) -> None:
        if batch:  # for batch 0 the generators were seeded in on_run_start, before the epoch was shuffled
            seed_batch(self.trainer.current_epoch, batch, self.trainer.global_rank, part=_DATA)
