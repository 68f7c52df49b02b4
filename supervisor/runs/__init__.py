"""The application's side: publish runs, keep their records, take in their results.

Used by applications and by commands; the supervisor itself needs nothing of it.
"""
