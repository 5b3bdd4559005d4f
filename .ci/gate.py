"""What an installed wheel must do, from an empty folder: ``python gate.py README.md``.

The README, doctor, the embedded headline table (a few episodes), and an episode of every agent of the zoo.
Agents whose extras are not installed are named and left out.
"""

import re
import subprocess
import sys
from pathlib import Path


def run(*arguments: str) -> None:
    """Run a command of this interpreter; stop at the first that fails."""
    print("$", " ".join(arguments), flush=True)
    subprocess.run([sys.executable, *arguments], check=True)


def readme(path: Path) -> None:
    """Run the README's blocks as one script, with fewer episodes."""
    folder = Path("path/to/folder")
    folder.mkdir(parents=True)
    (folder / "mine").write_text("0 1\n60 1.5\n120 2.5\n")
    code = "\n".join(re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.S))
    code = "\n".join(f"    {line}" for line in code.replace("episodes=200", "episodes=8").splitlines())
    Path("readme.py").write_text(f"if __name__ == '__main__':\n{code}\n", encoding="utf-8")
    run("readme.py")


def every_zoo_agent() -> None:
    """Play one embedded episode with every agent that ships."""
    import netllm_gym
    from netllm_gym import zoo
    from netllm_gym.errors import CheckpointError, MissingExtraError
    from netllm_gym.settings import list_settings, load_setting

    tasks = {task for task, _, profile in list_settings() if profile == "embedded"}
    for name in sorted({entry.agent for entry in zoo.entries()}):
        # An agent for any task plays the first.
        task = name.partition("/")[0] if name.partition("/")[0] in tasks else "abr"
        setting = load_setting(task, "default", "embedded")
        small = {"jobs": 8, "executors": 10} if task == "cluster" else {}
        try:
            netllm_gym.make_agent(name)
            rows = netllm_gym.evaluate(
                env=setting.env, agents=[name], setting={**setting.kwargs, **small}, episodes=1, progress=False
            ).frame
        except MissingExtraError as error:
            print(f"{name}: left out, {error}")
            continue
        except CheckpointError as error:
            if "was trained on" not in str(error):
                raise
            print(f"{name}: built; {error}", flush=True)  # it plays public traces only: nothing is fetched here
            continue
        assert not rows["failed"].any(), (name, list(rows["reason"]))
        print(f"{name}: played", flush=True)


if __name__ == "__main__":
    if any(Path().iterdir()):
        sys.exit("run it from an empty folder")
    import netllm_gym

    print("installed at", Path(netllm_gym.__file__).parent)
    run("-m", "netllm_gym", "--version")
    run("-m", "netllm_gym", "doctor")
    run("-m", "netllm_gym", "reproduce", "--profile", "embedded", "--task", "abr", "--episodes", "2")
    every_zoo_agent()
    readme(Path(sys.argv[1]).resolve())
