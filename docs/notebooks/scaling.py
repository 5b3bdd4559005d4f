# # Scaling out with Ray
#
# `collect` and `evaluate` cut their work into blocks of 16 episodes that do not depend on each other, and hand them to joblib. So the
# number of processes, or of machines, changes the time and not the numbers.

# +
import netllm_gym

agents = ["abr/bba", "abr/robust-mpc"]
here = netllm_gym.evaluate(agents=agents, setting="default", episodes=32, workers=1, progress=False)
spread = netllm_gym.evaluate(agents=agents, setting="default", episodes=32, workers=2, progress=False)
print("the same rows:", here.digest == spread.digest)
# -

# On a Ray cluster (`pip install 'netllm-gym[ray]'`, `ray start --head` on one machine, `ray start --address=…` on the others)
# name joblib's backend; `workers` is how many blocks run at once. The package and its trace cache must be on every machine.
# Without Ray this cell uses processes of this machine.

# +
import joblib

try:
    from ray.util.joblib import register_ray

    register_ray()
    backend = "ray"
except ImportError:
    backend = "loky"
with joblib.parallel_config(backend=backend, n_jobs=2):
    far = netllm_gym.evaluate(agents=agents, setting="default", episodes=32, workers=2, progress=False)
print("the same rows:", here.digest == far.digest)
# -

# A run that was stopped goes on where it stood when it is given a folder (`out=`): finished blocks are taken from there, wherever
# they were played. `netllm_gym.collect` takes the same two lines.
