from litnets.tuning.batch_size import Measurement, fastest, memory_limit, next_may_fit, peak_memory, sizes_up_to


def test_sizes_are_powers_of_two_up_to_the_number_of_samples() -> None:
    assert list(sizes_up_to(64)) == [8, 16, 32, 64]
    assert list(sizes_up_to(63)) == [8, 16, 32]
    assert list(sizes_up_to(7)) == []


def test_the_next_size_fits_if_memory_grows_on_as_before() -> None:
    measured = [Measurement(8, 1.0, 1000), Measurement(16, 1.0, 1100)]
    assert next_may_fit(measured[:1], limit=0)
    assert next_may_fit(measured, limit=1300)
    assert not next_may_fit(measured, limit=1299)


def test_the_fastest_is_the_smallest_that_is_about_as_fast() -> None:
    speeds = {8: 50.0, 16: 96.0, 32: 100.0, 64: 90.0, 128: None}
    assert fastest([Measurement(size, speed, 0) for size, speed in speeds.items()]).size == 16


def test_this_process_is_within_the_limit() -> None:
    assert 2**20 < peak_memory() < memory_limit()
