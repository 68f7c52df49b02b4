"""The defaults of a laptop: a Valkey server of our own, and the offline model."""
