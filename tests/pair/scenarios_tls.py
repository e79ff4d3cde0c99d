# SPDX-License-Identifier: GPL-2.0-or-later
"""The two ways to prove oneself, and keys that change under load (P10)."""
import os
import shutil

from nbd_client import NbdClient
from nodes import MIB, RESOURCE, Skip, check, run, wait_until
from run import scenario
from scenarios_link import good_pair_goes_on, nbd


class Authority:
    """A certificate authority in a directory, made with the openssl command."""

    def __init__(self, directory):
        if not shutil.which("openssl"):
            raise Skip("openssl is not installed")
        os.makedirs(directory)
        self.directory = directory
        self.file = f"{directory}/ca.pem"
        self._openssl("req", "-x509", "-new", *self._key("ca"), "-days", "2",
                      "-subj", "/CN=authority of this test", "-out", self.file)

    def _openssl(self, *arguments):
        run(["openssl", *arguments])

    def _key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", f"{self.directory}/{name}.key"]

    def issue(self, node, name):
        """Gives the node a certificate for that name, as a person would who follows the manual."""
        request, extension = f"{self.directory}/{name}.csr", f"{self.directory}/{name}.ext"
        self._openssl("req", "-new", *self._key(name), "-subj", f"/CN={name}", "-out", request)
        with open(extension, "w", encoding="ascii") as file:
            file.write(f"subjectAltName=DNS:{name}\n")
        self._openssl("x509", "-req", "-in", request, "-CA", self.file, "-CAkey",
                      f"{self.directory}/ca.key", "-CAcreateserial", "-days", "2", "-extfile",
                      extension, "-out", f"{node.config_dir}/host.pem")
        shutil.copy(f"{self.directory}/{name}.key", f"{node.config_dir}/host.key")
        os.chmod(f"{node.config_dir}/host.key", 0o600)
        shutil.copy(self.file, f"{node.config_dir}/ca.pem")


CERTIFICATES = ("auth x509; ca-file ca.pem; certificate-file host.pem; private-key-file host.key;")


def certified_pair(lab):
    pair = lab.pair(net=CERTIFICATES)
    authority = Authority(f"{pair.directory}/ca")
    for node in pair.nodes:
        os.unlink(f"{node.config_dir}/{RESOURCE}.key")  # no key takes part
        authority.issue(node, node.name)
    return pair.up_to_date(), authority


@scenario("certificates: a pinned authority and the peer's name in place of a key")
def certificates(lab):
    pair, _ = certified_pair(lab)
    client = nbd(pair.alpha)
    check(client.write(0, os.urandom(4 * MIB)) == 0 and client.flush() == 0, "a write and a flush")
    client.close()
    pair.compare(4 * MIB)
    os.chmod(f"{pair.beta.config_dir}/host.key", 0o644)
    pair.beta.stop()
    done = pair.beta.adm("up", RESOURCE, expect=None)
    text = done.stdout + done.stderr
    check(done.returncode != 0 and "host.key" in text and "600" in text,
          f"a private key that others can read: {text}")


def refused_stranger(lab, pair, equip):
    """Somebody with another certificate calls beta in alpha's place."""
    other = lab.pair(net=CERTIFICATES, size=pair.size).alpha
    os.unlink(f"{other.config_dir}/{RESOURCE}.res")
    other.write_config(other.port, pair.beta.port, net=CERTIFICATES)
    equip(other)
    other.adm("create-md", RESOURCE)
    client = nbd(pair.alpha)
    good_pair_goes_on(pair, client, 1)
    before = pair.beta.log_size()
    other.start()
    wait_until(lambda: "certificate" in pair.beta.log(before), 20,
               lambda: f"'certificate' in beta's log: {pair.beta.log(before)}; "
                       f"the other's: {other.log()}")
    check(other.connection()["connection-state"] != "Connected", "the stranger is Connected")
    good_pair_goes_on(pair, client, 2)
    client.close()


@scenario("a certificate of another authority: refused, logged, the good pair undisturbed")
def foreign_certificate(lab):
    pair, _ = certified_pair(lab)
    stranger = Authority(f"{pair.directory}/strangers-ca")
    refused_stranger(lab, pair, lambda node: stranger.issue(node, "alpha"))


@scenario("a certificate of our authority for another host's name: refused, logged")
def other_name_in_certificate(lab):
    pair, authority = certified_pair(lab)
    refused_stranger(lab, pair, lambda node: authority.issue(node, "gamma"))


@scenario("rekeying: the link's keys change many times under load, and nothing is lost")
def rekey(lab):
    pair = lab.pair(net="rekey-records 16;").up_to_date()
    connection = pair.alpha.connection()
    client = NbdClient(f"{pair.alpha.run_dir}/{RESOURCE}.nbd")
    for number in range(32):
        check(client.write(number * MIB, os.urandom(MIB)) == 0, "a write")
    check(client.flush() == 0, "a flush")
    client.close()
    for node in pair.nodes:
        updates = node.status()["tapdrbd"]["link"]["key-updates"]
        check(updates > 2, f"{node.name} changed its key {updates} times")
    check(connection["connection-state"] == "Connected" and
          pair.alpha.connection()["connection-state"] == "Connected", "Connected all the time")
    pair.compare(32 * MIB)
