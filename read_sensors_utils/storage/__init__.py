"""The files of recordings, one reader a kind: each gives up everything that can be read and counts what cannot."""
