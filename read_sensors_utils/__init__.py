"""Recordings -> episodes."""
