"""Head motion: the type, geometry on the sphere, readers of public formats, named sets and synthesis."""

from netllm_gym.traces.head.trace import HeadTrace as HeadTrace
