"""From result models to what people and CI read."""
