"""The simulated internet: every remote provider on loopback, for the demo, the tests and the benchmarks.

`service` is the process. What a receiver does with a mail is a pure function of its recipient and a seed (`behaviour`);
what it accepted it keeps (`store`), so that truth can be counted (`truth`) without asking Thurn.
"""
