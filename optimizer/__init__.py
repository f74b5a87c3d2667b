"""Recurrent PPO: turns trajectory chunks into new versions of the policy."""
