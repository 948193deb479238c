"""The programs that are copied beside an exported network: `run.py`, and one `read_*.py` as `reading.py`.

They import neither litnets nor torch. An exported network is a file that describes its own inputs and outputs.
"""
