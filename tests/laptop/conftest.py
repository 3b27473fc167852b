"""Give each test a home of its own: nothing here may touch the developer's ~/.ssh."""

from tests.throwaway_home import home

__all__ = ["home"]
