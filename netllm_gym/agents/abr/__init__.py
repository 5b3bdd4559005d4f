"""Bitrate agents: rules and planners without torch; networks load torch on use."""
