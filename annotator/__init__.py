"""Frames of an episode -> one stage label per frame."""
