"""Scenes and crops that car_tf draws itself: the embedded default data."""
