# # Reading a verdict
#
# Every agent meets the same episodes. What counts is the *paired* difference to the baseline, resampled over source
# recordings, and corrected for the number of agents compared.

# +
import netllm_gym

result = netllm_gym.evaluate(
    agents=["abr/bba", "abr/bola-e", "abr/dynamic", "abr/rate-based"], setting="default", episodes=24, progress=False
)
result.summary()
# -

# - **better / worse**: the interval of the difference excludes zero after Holm's correction.
# - **equivalent**: the whole interval lies within a margin that was stated beforehand.
# - **undecided**: neither. More recordings are needed, and `power` says how many:

print(result.power("abr/dynamic", 0.05))

# A difference between two agents is not what one sees in their two separate intervals: those overlap although every single
# episode may favour one of them.

frame = result.frame.pivot_table(index="episode", columns="agent", values="qoe")
difference = frame["abr/bola-e"] - frame["abr/robust-mpc"]
print(
    "wins:",
    int((difference > 0).sum()),
    "of",
    len(difference),
    "episodes; mean difference",
    round(difference.mean(), 3),
)
