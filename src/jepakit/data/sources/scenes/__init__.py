"""The parts of the procedural scenes: what a scene holds, how it is drawn, how it is rendered."""
