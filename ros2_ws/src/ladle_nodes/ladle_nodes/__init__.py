"""The processes of a run: they connect topics to the folders that hold the logic, and do no arithmetic."""
