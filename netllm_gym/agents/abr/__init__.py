"""Bitrate agents: rules and planners without torch; networks load torch on use."""


def __getattr__(name: str) -> object:
    if name != "shipped":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import warnings

    from netllm_gym.agents.abr import zoo_agents

    warnings.warn("netllm_gym.agents.abr.shipped is called zoo_agents now", DeprecationWarning, stacklevel=2)
    return zoo_agents
