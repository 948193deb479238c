"""Benchmarks: `make bench`, or `python -m benchmarks --only loader,step`, prints a table of ratios and writes JSON.

Each result is the median ratio of two measurements that alternate in one process (or in separate processes), so that
other load on the machine slows down both. The package does not depend on this folder: it can be deleted together with
`make bench` and its test.
"""
