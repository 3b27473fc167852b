"""How a run goes: tasks, the order of stages, the guard, the recipe."""
