"""csrutil status: System Integrity Protection is on."""

from . import state


def main(words: list[str]) -> int:
    if words != ["status"]:
        return state.fail("csrutil: This tool needs to be executed from Recovery OS.", 77)
    print("System Integrity Protection status: enabled.")
    return 0
