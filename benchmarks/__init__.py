"""What Ocelot costs, against a stated peer in the same run: `make bench` prints a table and writes results.json.

The machines are shared and noisy, so ours and the peer take turns and the row holds medians; the ratio is what counts.
"""
