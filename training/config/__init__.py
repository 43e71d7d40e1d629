"""Hydra configurations; training/schema.py says what they may hold."""
