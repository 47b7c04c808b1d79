"""The benchmark: a grid of sets × strategies × random seeds at equal teacher cost."""
