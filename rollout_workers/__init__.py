"""Self-play: plays games with a copy of the policy and cuts them into trajectory chunks."""
