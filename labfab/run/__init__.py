"""Run: tasks, the order of their stages, the guard and the recipe."""
