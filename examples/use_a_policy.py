"""Train CartPole without its velocities for a little, then play the environment itself with what was learned."""

import gymnasium

import quintet

training = quintet.train("cartpole_memory.toml", ["agent_steps=4_000"])
training.wait()
policy = quintet.load_policy(training.folder)

env = gymnasium.make("CartPole-v1")
observation, info = env.reset(seed=1)
policy.reset()
over, length = False, 0
while not over:
    observation, reward, terminated, truncated, info = env.step(policy.act(observation))
    over, length = terminated or truncated, length + 1
print(f"version {policy.version} held the pole for {length} steps; the last one was worth {policy.value.item():.1f}")
