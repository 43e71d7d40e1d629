"""What would the policy do? Asked of recorded data, before it is let near the arm."""
