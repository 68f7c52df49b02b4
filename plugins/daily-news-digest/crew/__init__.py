"""The daily news digest: a researcher, a writer and a reviewer."""
