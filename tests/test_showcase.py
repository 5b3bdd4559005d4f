"""The first look plays every task without training anything."""

import pytest

from netllm_gym import showcase as module
from netllm_gym.errors import UnknownNameError


@pytest.mark.parametrize("task", module.SHOWS)
def test_a_task_ends_in_a_table_a_report_and_a_film(task, tmp_path, monkeypatch) -> None:
    show = module.SHOWS[task]
    kwargs = {**show.kwargs, **({"jobs": 5} if task == "cluster" else {})}
    small = module.Show(show.agents[:2], 2, show.agents[0], 3, kwargs)
    monkeypatch.setitem(module.SHOWS, task, small)
    lines: list[str] = []
    (page,) = module.showcase(tmp_path, (task,), workers=1, say=lines.append)
    assert page.is_file()
    assert (tmp_path / f"{task}.gif").read_bytes().startswith(b"GIF89a")
    assert any(show.agents[0] in line for line in lines)


def test_a_star_always_plays_its_own_show() -> None:
    assert all(show.star in show.agents for show in module.SHOWS.values())


def test_an_unknown_task_is_refused(tmp_path) -> None:
    with pytest.raises(UnknownNameError, match="bitrate"):
        module.showcase(tmp_path, ("bitrate",), say=lambda line: None)
