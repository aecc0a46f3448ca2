"""The two stages of LBR training and their one loop."""
