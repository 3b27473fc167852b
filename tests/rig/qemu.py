"""The command that runs a machine in qemu."""

from pathlib import Path

PROGRAM = ("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none")
# An older CPU model and no mitigations: each costs a fifth of the time of a boot in emulation.
ACCELERATORS = {
    "kvm": ("-accel", "kvm", "-cpu", "max"),
    "tcg": ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Westmere,pcid=off"),
}
# nokaslr and nowatchdog are for emulation.
KERNEL_WORDS = "root=/dev/nvme0n1 console=ttyS0 nokaslr nowatchdog"
NETWORK = "eth0"


def command(
    accelerator: str, kernel: Path, disk: Path, memory: int, agent: int, words: str
) -> list[str]:
    """Return the command line; `agent` is a socket to the machine's guest agent.

    What the guest has written to its disk outlives a power cut, what is still in its memory does
    not: each write reaches a file of this machine. cache=unsafe means that nobody waits until that
    file is on the real disk.
    """
    return [
        *(*PROGRAM, *ACCELERATORS[accelerator]),
        *("-smp", "2", "-m", str(memory), "-serial", "stdio"),
        *("-chardev", f"socket,id=agent,fd={agent}"),
        *("-device", "virtio-serial-pci"),
        *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        *("-netdev", "tap,id=net,ifname=tap,script=no,downscript=no"),
        *("-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"),
        *("-drive", f"file={disk},if=none,id=disk,format=raw,cache=unsafe"),
        *("-device", "nvme,drive=disk,serial=rig"),
        *("-kernel", str(kernel), "-append", f"{KERNEL_WORDS} {words}"),
    ]
