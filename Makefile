# Two commands do it all, on a machine with nothing but git, make and python3 (without make: `sh .ci/prepare && .venv/bin/inv demo`).

.PHONY: demo test prepare

demo: prepare       # your own JupyterLab on a disposable machine; stop it with `.venv/bin/inv demo --stop`
	@.venv/bin/inv demo

test: prepare       # all tests, the quick ones first
	@.venv/bin/inv test

prepare:
	@sh .ci/prepare
