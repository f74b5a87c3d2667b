"""The scripted players: random, weak, middle and strong."""
