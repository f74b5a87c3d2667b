"""Quintet: recurrent PPO by self-play."""
