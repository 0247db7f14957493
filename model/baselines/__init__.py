"""What the resting model must beat: same folds, preprocessing and metrics; `registry` names all."""
