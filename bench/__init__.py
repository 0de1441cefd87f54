"""The speed of training on a CPU, side by side with other code: `make bench`.

`bench/rows.py` lists what is compared. `bench/page.py` says how, on the page that it writes.
"""
