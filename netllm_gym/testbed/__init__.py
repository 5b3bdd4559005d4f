"""The same agents behind a real player: content, link, clients, policy server, and the comparison with the simulator."""
