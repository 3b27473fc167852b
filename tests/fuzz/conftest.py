"""How many examples are tried, and a home of its own for each test."""

from hypothesis import HealthCheck, Phase, settings

from tests.throwaway_home import home

__all__ = ["home"]

CALM = {
    "deadline": None,  # the machine may be busy; hostile.limited() counts the time of the processor
    "database": None,
    "phases": (Phase.explicit, Phase.generate, Phase.shrink),
    "suppress_health_check": list(HealthCheck),
}
settings.register_profile("quick", max_examples=20, derandomize=True, **CALM)
settings.register_profile("long", max_examples=200, **CALM)
settings.load_profile("quick")
