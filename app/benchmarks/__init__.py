"""Measurements that people can repeat: each command prints Ladle beside a straightforward baseline."""
