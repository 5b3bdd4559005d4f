"""Adaptive bitrate streaming: the link's physics, QoE, the environment, and planners that know the future."""
