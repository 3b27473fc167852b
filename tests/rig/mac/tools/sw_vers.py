"""sw_vers: which macOS this is."""

from . import state

USAGE = (
    "Usage: sw_vers [--help|--productName|--productVersion|--productVersionExtra|--buildVersion]"
)


def main(words: list[str]) -> int:
    rows = {
        "ProductName": "macOS",
        "ProductVersion": state.switch("product-version"),
        "BuildVersion": state.switch("build-version"),
    }
    if not words:
        for name, value in rows.items():
            print(f"{name}:\t\t{value}")
        return 0
    asked = words[0].lstrip("-")
    name = asked[:1].upper() + asked[1:]
    if len(words) != 1 or name not in rows:
        return state.fail(USAGE, 1)
    print(rows[name])
    return 0
