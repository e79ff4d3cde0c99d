# SPDX-License-Identifier: GPL-2.0-or-later
"""Another program than tapdisk-drbd uses libreplica: the example in libreplica(3)."""
import os
import re
import shutil

from nodes import RESOURCE, Skip, check, run
from run import scenario

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def example_of_the_manual(node):
    """Its text, for this node: only the places are others than the defaults."""
    with open(f"{SOURCE}/man/libreplica.3", encoding="utf-8") as file:
        text = re.search(r"^\.Bd -literal\n(.*?)^\.Ed$", file.read(), re.M | re.S).group(1)
    text = text.replace("\\e", "\\")
    options = f'{{.resource = "{RESOURCE}"}}'
    check(options in text, "the example opens another resource")
    return text.replace(options, f'{{.resource = "{RESOURCE}", .config_dir = "{node.config_dir}", '
                                 f'.run_dir = "{node.run_dir}", .node = "{node.name}"}}')


@scenario("the program in libreplica(3) compiles, and what it writes is on both nodes")
def second_client(lab):
    if not shutil.which("cc"):
        raise Skip("there is no C compiler")
    pair = lab.pair()
    libraries = os.path.join(os.path.dirname(pair.bin), ".libs")
    if not os.path.exists(f"{libraries}/libreplica.so"):
        raise Skip("the library is not beside the programs")
    program = f"{pair.alpha.directory}/client"
    with open(f"{program}.c", "w", encoding="utf-8") as file:
        file.write(example_of_the_manual(pair.alpha))
    run(["cc", "-std=c11", "-Wall", "-Werror", f"-I{SOURCE}", f"{program}.c", "-o", program,
         f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lreplica"])
    pair.up_to_date()
    pair.alpha.adm("secondary", RESOURCE)
    pair.alpha.stop()
    run([program])
    pair.alpha.start()
    pair.wait_in_sync()
    for node in pair.nodes:
        with open(node.disk, "rb") as file:
            check(file.read(4096) == b"x" * 4096, f"{node.name} does not have the block")
