# SPDX-License-Identifier: GPL-2.0-or-later
"""Two network namespaces with a cable between them, a veth pair: one for each node.

    with Namespaces() as network:
        pair = lab.pair(network=network).up_to_date()
        network.link("alpha", up=False)

The kernel's own TCP meets what it meets between two hosts: a card without a carrier, an address
that nobody answers for. Everything is gone when the block is left, whatever ended it.
"""
import itertools
import os
import shutil

from nodes import Failure, Skip, run

NAMES = ("alpha", "beta")
ADDRESSES = {"alpha": "10.77.31.1", "beta": "10.77.31.2"}
NOBODY = "02:00:00:00:00:ff"  # a card that is on no cable
numbers = itertools.count()


class Namespaces:
    """The namespaces are named after this process, so that runs side by side do not meet."""

    def __init__(self):
        self.base = f"tapdrbd-{os.getpid()}-{next(numbers)}"

    def __enter__(self):
        if os.geteuid() != 0:
            raise Skip("NOT TRIED: only root may make network namespaces")
        if not shutil.which("ip"):
            raise Skip("NOT TRIED: there is no `ip` to make network namespaces (package iproute2)")
        try:
            self.make()
        except Failure as error:
            self.remove()
            raise Skip(f"NOT TRIED: no network namespaces here: {error}") from error
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def name(self, node):
        return f"{self.base}-{node}"

    def make(self):
        for node in NAMES:
            run(["ip", "netns", "add", self.name(node)])
        # Made inside, so that even their names meet nobody's.
        run(["ip", "-n", self.name("alpha"), "link", "add", "cable", "type", "veth",
             "peer", "name", "cable", "netns", self.name("beta")])
        for node in NAMES:
            self.ip(node, "link", "set", "lo", "up")
            self.ip(node, "address", "add", f"{ADDRESSES[node]}/30", "dev", "cable")
            self.ip(node, "link", "set", "cable", "up")
        run([*self.prefix("alpha"), "true"])

    def remove(self):
        """Of what is there; a process that is still inside keeps its namespace, without a cable."""
        run(["ip", "-n", self.name("alpha"), "link", "delete", "cable"], expect=None)
        for node in NAMES:
            run(["ip", "netns", "delete", self.name(node)], expect=None)

    def ip(self, node, *arguments):
        run(["ip", "-n", self.name(node), *arguments])

    def prefix(self, node):
        return "ip", "netns", "exec", self.name(node)

    def place(self, node):
        """(address, prefix of commands), as a Node takes them."""
        return ADDRESSES[node], self.prefix(node)

    # -- the cable --

    def link(self, node, up):
        """One end's card; the other end loses its carrier."""
        self.ip(node, "link", "set", "cable", "up" if up else "down")

    def black_hole(self, node, on):
        """What the node sends is lost, and nobody is told: its frames go to no card."""
        peer = ADDRESSES["beta" if node == "alpha" else "alpha"]
        if on:
            self.ip(node, "neighbour", "replace", peer, "lladdr", NOBODY, "dev", "cable",
                    "nud", "permanent")
        else:
            self.ip(node, "neighbour", "delete", peer, "dev", "cable")
