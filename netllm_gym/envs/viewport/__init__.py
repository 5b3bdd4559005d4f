"""360-degree video: predicting where a viewer will look, and streaming tiles to where he does."""
