"""What must stay fast, measured as ratios within one process, so that the machine's own speed drops out."""
