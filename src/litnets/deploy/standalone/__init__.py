"""The programs that are copied beside an exported network: `run.py`, and a `reading.py` for what its inputs are.

They import neither litnets nor torch. An exported network is a file that describes its own inputs and outputs.
"""
