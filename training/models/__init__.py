"""Networks: plain modules that know nothing of files, tasks or robots."""
