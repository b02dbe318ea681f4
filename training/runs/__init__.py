"""The record of a run: its folder, its process, its journal."""
