"""Measured with ratios in one run, since machines are shared and noisy."""
