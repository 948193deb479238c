"""How fast it is: `make bench`, or `python -m benchmarks --only loader,step`, prints a table of ratios and writes JSON.

Each figure is a ratio of two things that took turns in one process (or in processes of their own), the median over the
rounds: what else the machine is doing slows down both. Not imported by the package; delete the folder, and only
`make bench` and its test go with it.
"""
