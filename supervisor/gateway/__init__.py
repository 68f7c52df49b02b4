"""The HTTP intake: runs for those who cannot speak Redis. Served by `crewpool gateway`."""
