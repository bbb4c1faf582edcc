"""How a run is doing, from its files alone; nothing heavy is imported."""
