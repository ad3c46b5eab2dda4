# SPDX-License-Identifier: Apache-2.0
"""scripts/images: the archives are the images that the Dockerfile says, whatever reads them, and the same
programs give the same bytes. That they run, the other suites show."""

import gzip
import hashlib
import json
import os
import subprocess
import tarfile
import tempfile
import unittest

_ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
_SCRIPT = os.path.join(_ROOT, "scripts", "images")
_LARGEST = 40 << 20


def _make(*options, check=True):
    folder = tempfile.mkdtemp(prefix="images-", dir="/run")
    done = subprocess.run([_SCRIPT, "--output", folder, *options], check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if check and done.returncode != 0:
        raise RuntimeError(done.stdout)
    return folder, done


class Archive:
    """One of them, read as an OCI image layout."""

    def __init__(self, path):
        self.files = {}
        with tarfile.open(path) as archive:
            for member in archive:
                self.files[member.name] = archive.extractfile(member).read()
        self.index = json.loads(self.files["index.json"])
        self.manifest = json.loads(self.blob(self.index["manifests"][0]))
        self.config = json.loads(self.blob(self.manifest["config"]))

    def blob(self, descriptor):
        data = self.files["blobs/" + descriptor["digest"].replace(":", "/")]
        assert descriptor["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
        assert descriptor["size"] == len(data)
        return data

    def layer(self):
        return self.blob(self.manifest["layers"][0])


class Images(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.built = ("--built", os.environ["SLUICE_BUILD"])
        cls.folder, _ = _make(*cls.built, "--name", "registry.example/net/", "--tag", "v1")

    def open(self, image):
        return Archive(os.path.join(self.folder, f"sluice-{image}.tar"))

    def test_the_same_programs_give_the_same_bytes(self):
        again, _ = _make(*self.built, "--name", "registry.example/net/", "--tag", "v1")
        for name in ("sluice-operator.tar", "sluice-agent.tar"):
            with open(os.path.join(self.folder, name), "rb") as one, open(os.path.join(again, name), "rb") as two:
                self.assertEqual(one.read(), two.read(), name)

    def test_they_are_named_for_every_reader(self):
        for image in ("operator", "agent"):
            archive = self.open(image)
            name = f"registry.example/net/sluice-{image}:v1"
            annotations = archive.index["manifests"][0]["annotations"]
            self.assertEqual(annotations, {"io.containerd.image.name": name,
                                           "org.opencontainers.image.ref.name": "v1"})
            docker = json.loads(archive.files["manifest.json"])[0]
            self.assertEqual(docker["RepoTags"], [name])
            self.assertEqual(archive.files[docker["Config"]], archive.blob(archive.manifest["config"]))
            self.assertEqual(archive.files[docker["Layers"][0]], archive.layer())

    def test_they_start_as_the_dockerfile_says(self):
        operator, agent = self.open("operator").config["config"], self.open("agent").config["config"]
        self.assertEqual(operator["Entrypoint"], ["/usr/bin/sluice-operator"])
        self.assertEqual(operator["User"], "65532:65532")
        self.assertEqual(agent["Entrypoint"], ["/usr/bin/sluice-agent"])
        self.assertNotIn("User", agent)

    def test_the_layer_is_the_root_and_nobody_but_root_owns_it(self):
        for image in ("operator", "agent"):
            archive = self.open(image)
            data = archive.layer()
            self.assertLess(len(data), _LARGEST, image)
            path = os.path.join(self.folder, "layer")
            with open(path, "wb") as file:
                file.write(data)
            with tarfile.open(path) as layer:
                members = {m.name: m for m in layer}
                self.assertEqual({(m.uid, m.gid, m.mtime) for m in members.values()}, {(0, 0, 0)})
                self.assertEqual(members[f"usr/bin/sluice-{image}"].mode, 0o755)
                self.assertEqual(members["tmp"].mode, 0o1777)
            self.assertEqual(archive.config["rootfs"]["diff_ids"],
                             ["sha256:" + hashlib.sha256(gzip.decompress(data)).hexdigest()])

    def test_programs_that_are_not_built_are_named(self):
        folder, done = _make("--built", "/run", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"^images: /run/operator/program/sluice-operator is not built\n$")
        self.assertEqual(os.listdir(folder), [])
