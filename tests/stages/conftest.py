"""Every stage meets a modeled host here; the real ones are booted by the other tests."""

from tests.fake import alone, fake

__all__ = ["alone", "fake"]
