"""What every test shares: a process that is set up for it, and Hypothesis profiles.

Choose one of these with `pytest --hypothesis-profile=deep`.
"""

import gc
import signal

from hypothesis import HealthCheck, Phase, settings

# No deadlines: a busy machine is no bug.
settings.register_profile("quick", deadline=None, max_examples=100)
settings.register_profile("brief", deadline=None, max_examples=25)
settings.register_profile("deep", deadline=None, max_examples=1_000, suppress_health_check=[HealthCheck.too_slow])
# The same examples in every run, and no time spent on making a failure pretty.
settings.register_profile(
    "mutation", deadline=None, max_examples=25, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("quick")

# A shell has what it starts in the background ignore ^C and ^\, and `nohup` has it ignore SIGHUP; and so would every
# command that a test starts, and sends one of these.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


def pytest_collection_finish() -> None:
    """What collecting has made lives until the end: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
