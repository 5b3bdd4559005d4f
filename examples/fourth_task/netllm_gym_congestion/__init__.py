"""Congestion control as a fourth task of netllm_gym. Importing the package registers ``congestion/Sender-v0``."""

from gymnasium.envs.registration import register, registry

if "congestion/Sender-v0" not in registry:
    register(id="congestion/Sender-v0", entry_point="netllm_gym_congestion.env:SenderEnv")
