"""The one door to Redis. Nothing outside this package imports redis."""
