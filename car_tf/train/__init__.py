"""The main job: stage 1 trains F, stage 2 trains G against D."""
