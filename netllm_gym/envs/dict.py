"""Any Gymnasium environment in the form the agents of this package take: a Dict observation with modalities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from netllm_gym.answers import reset_answer, step_answer, with_mask
from netllm_gym.envs.arguments import checked
from netllm_gym.envs.leaves import WHOLE, LeafView
from netllm_gym.envs.lookup import metadata_of
from netllm_gym.envs.reset_options import reset_options as checked_options
from netllm_gym.errors import ConfigError
from netllm_gym.plugins import is_own, look_here


def infer_modalities(space: gym.Space) -> dict[str, str]:
    """Guess the modality of each key of an observation space, flattened, from its kind, shape and type.

    Categories are ``category``; three axes, or two of bytes, are an ``image``; two axes of numbers are a ``series``
    (time first); a Graph's parts are ``graph``; everything else is ``scalar``.

    Raises:
        ConfigError: a space without arrays; see :mod:`netllm_gym.envs.leaves`.
    """
    return LeafView(space).modalities


class DictEnv(gym.Env[dict[str, Any], Any]):
    """An environment with another observation space as one with a Dict.

    ``gym.make("netllm_gym/Dict-v0", env="CartPole-v1")`` is all it takes to collect data from a standard environment
    and to train and evaluate an agent on it. Observation, reward and end of episode are those of the inner
    environment; a Dict observation is passed on as it is.

    Args:
        env: registered id, or an environment.
        env_kwargs: of ``gym.make`` for an id, e.g. ``{"max_episode_steps": 100}``.
        key: name of the observation's only key.
        modalities: replaces the modalities inferred from the spaces, per key.
        scales: typical magnitude of each key.
        reset_options: options that the inner environment's ``reset`` takes; by default what it declares in
            ``metadata["reset_options"]``, else the bounds of Gymnasium's classic control.
        leave_out: keys of a Dict observation that nobody is to see, such as a text, which no dataset holds.

    Raises:
        ConfigError: an id Gymnasium does not know or cannot make, or a modality for a key that is not there.
    """

    # Of any inner environment: Gymnasium asks the class, before there is one.
    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array", "ansi"]}  # noqa: RUF012

    @checked
    def __init__(
        self,
        env: str | gym.Env,
        env_kwargs: dict[str, Any] | None = None,
        key: str = WHOLE,
        modalities: dict[str, str] | None = None,
        scales: dict[str, Any] | None = None,
        reset_options: Sequence[str] = ("low", "high", "x_init", "y_init"),
        render_mode: str | None = None,
        leave_out: Sequence[str] = (),
    ) -> None:
        if isinstance(env, str):
            kwargs = {**(env_kwargs or {}), **({"render_mode": render_mode} if render_mode else {})}
            look_here()
            try:
                env = gym.make(env, **kwargs)
            except (gym.error.Error, ImportError, TypeError, ValueError, AssertionError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise ConfigError(f"cannot make environment {env!r}: {reason}") from None
        self.inner, self.key = env, key
        declared = metadata_of(env)
        options = declared.get("reset_options", reset_options)
        if isinstance(options, str) or not isinstance(options, Sequence):
            raise ConfigError(f"metadata['reset_options'] of the environment is a list of names, not {options!r}")
        self.reset_options = tuple(options)
        self.plain = not isinstance(env.observation_space, spaces.Dict)
        inside: Any = env.observation_space
        self.leave_out = (leave_out,) if isinstance(leave_out, str) else tuple(leave_out)
        if self.leave_out:
            there: dict[str, gym.Space] = {} if self.plain else inside.spaces
            if odd := [name for name in self.leave_out if name not in there]:
                raise ConfigError(
                    f"leave_out: observation has no key {odd[0]!r}; its keys are {', '.join(there) or 'none'}"
                )
            inside = spaces.Dict({name: space for name, space in there.items() if name not in self.leave_out})
        self.observation_space: Any = spaces.Dict({key: inside}) if self.plain else inside
        self.action_space = env.action_space
        self.render_mode = env.render_mode
        guessed = infer_modalities(self.observation_space)
        for given in (modalities or {}, scales or {}):
            if odd := sorted(set(given) - set(guessed)):
                raise ConfigError(f"observation has no key {odd[0]!r}; its keys are {', '.join(guessed)}")
        self.metadata = {
            **declared,
            "modalities": {**guessed, **declared.get("modalities", {}), **(modalities or {})},
            "scales": {**declared.get("scales", {}), **(scales or {})},
        }

    def _wrap(self, observation: Any) -> dict[str, Any]:
        if self.plain:
            return {self.key: observation}
        return {k: v for k, v in observation.items() if k not in self.leave_out} if self.leave_out else observation

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Reset the inner environment.

        Raises:
            UnknownOptionError: an option that the inner environment does not declare, see `reset_options`.
        """
        super().reset(seed=seed)
        inner: Any = self.inner.unwrapped
        if not is_own(type(inner)):  # environments of this package refuse what they do not know themselves
            checked_options(options, self.reset_options, typed=False)
        observation, info = reset_answer(self.inner.reset(seed=seed, options=options))
        return self._wrap(observation), with_mask(self.inner, observation, info)

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Step the inner environment.

        Raises:
            ObservationError: its answer cannot be used, see :func:`netllm_gym.answers.step_answer`.
        """
        observation, reward, terminated, truncated, info = step_answer(self.inner.step(action))
        info = with_mask(self.inner, observation, info, over=terminated or truncated)
        return self._wrap(observation), reward, terminated, truncated, info

    def render(self) -> Any:
        """Render the inner environment."""
        return self.inner.render()

    def close(self) -> None:
        """Close the inner environment."""
        self.inner.close()
