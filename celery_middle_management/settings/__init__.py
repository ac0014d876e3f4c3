"""The settings that users make, read and checked."""
