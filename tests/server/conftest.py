"""JupyterLab's process on a modeled host."""

import pytest

from labfab.host.shell import Result
from labfab.stages import python
from tests.fake import alone, fake
from tests.server.activity import said

__all__ = ["alone", "fake"]


@pytest.fixture
def ready(fake):
    """A host with Python and JupyterLab in place, whose JupyterLab says what it computes."""

    def make(*lines: str, **settings):
        model = fake(**({"python": "venv"} | settings))
        python.install(model.c)
        model.again()
        model.answers = [(r"\[activity\]", Result(0, said(*lines), ""))]
        return model

    return make
