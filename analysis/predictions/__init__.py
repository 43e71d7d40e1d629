"""Predicted against recorded actions."""
