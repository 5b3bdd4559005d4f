"""What every environment's rendering shares: one frame as an RGB array, or a window that shows it (``human``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from netllm_gym.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODES = ("rgb_array", "human")


def check_render_mode(mode: str | None) -> str | None:
    """Return `mode`.

    Raises:
        ConfigError: no such mode.
    """
    if mode is not None and mode not in MODES:
        raise ConfigError(f"render_mode must be None, 'rgb_array' or 'human', got {mode!r}")
    return mode


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure that belongs to no window, RGB uint8 ``[height, width, 3]``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


class Rendered:
    """A mix-in for environments: implement :meth:`frame`, call :meth:`show` at the end of ``reset`` and ``step``."""

    render_mode: str | None
    metadata: dict[str, Any]
    _window: Any = None

    def frame(self) -> NDArray[np.uint8]:
        """Draw the present state, RGB uint8 ``[height, width, 3]``."""
        raise NotImplementedError

    def render(self) -> Any:
        """Return the frame (``rgb_array``), or show it in a window and return nothing (``human``)."""
        if self.render_mode == "rgb_array":
            return self.frame()
        if self.render_mode == "human":
            self.show()
        return None

    def show(self) -> None:
        """Update the window of ``render_mode="human"``; nothing in other modes.

        Raises:
            ConfigError: pygame is not installed.
        """
        if self.render_mode != "human":
            return
        try:
            import pygame
        except ImportError:
            raise ConfigError("render_mode='human' needs pygame: pip install pygame") from None

        image = self.frame()
        if self._window is None:
            pygame.display.init()
            pygame.display.set_caption(type(self).__name__)
            self._window = pygame.display.set_mode((image.shape[1], image.shape[0]))
        pygame.event.pump()
        self._window.blit(pygame.surfarray.make_surface(image.swapaxes(0, 1)), (0, 0))
        pygame.display.flip()
        pygame.time.wait(round(1000 / self.metadata["render_fps"]))

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            import pygame

            pygame.display.quit()
            self._window = None
