"""The tools of the daily news digest."""
