"""The smallest possible crew."""
