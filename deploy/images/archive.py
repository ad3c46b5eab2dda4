# SPDX-License-Identifier: Apache-2.0
"""A folder as a container image, in one file, without Docker and without a registry.

The file is an OCI image layout as a tar archive, with the manifest that Docker
reads besides: `ctr images import`, `docker load`, `podman load` and `skopeo copy
oci-archive:FILE docker://REGISTRY/NAME:TAG` all take it. The same root and
settings give the same bytes.
"""

import gzip
import hashlib
import io
import json
import os
import platform
import tarfile

_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
# Go's names.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Times say nothing about what is inside, and would make every archive another one.
_CREATED = "1970-01-01T00:00:00Z"


def write(path, reference, root, settings):
    """Writes the image of the folder `root`, replacing `path` in one step; its manifest's digest.
    `reference`: "name:tag", as in a pod's manifest. `settings`: the image's "config", such as
    {"Entrypoint": ["/program"], "User": "65532:65532"}."""
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    layer = _tar(root)
    packed = gzip.compress(layer, 6, mtime=0)
    config = _json({
        "architecture": architecture, "os": "linux", "created": _CREATED, "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        "history": [{"created": _CREATED, "created_by": "scripts/images"}]})
    manifest = _json({
        "schemaVersion": 2, "mediaType": _MANIFEST, "config": _descriptor(_CONFIG, config),
        "layers": [_descriptor(_LAYER, packed)]})
    index = _json({
        "schemaVersion": 2, "mediaType": _INDEX, "manifests": [{
            **_descriptor(_MANIFEST, manifest),
            "platform": {"architecture": architecture, "os": "linux"},
            "annotations": {"io.containerd.image.name": full_reference(reference),
                            "org.opencontainers.image.ref.name": reference.rsplit(":", 1)[1]}}]})
    docker = _json([{"Config": _blob(config), "RepoTags": [reference], "Layers": [_blob(packed)]}])
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": index,
             "manifest.json": docker, _blob(config): config, _blob(manifest): manifest, _blob(packed): packed}
    with open(path + ".new", "wb") as file:
        file.write(_tar_of_files(files))
    os.rename(path + ".new", path)
    return _digest(manifest)


def full_reference(reference):
    """As container runtimes complete a name without a registry."""
    first, slash, _ = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return reference
    return "docker.io/" + ("" if slash else "library/") + reference


def _tar(root):
    """The folder's content, owned by root, in the order of its names."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for folder, folders, files in os.walk(root):
            folders.sort()
            links = [f for f in folders if os.path.islink(os.path.join(folder, f))]
            if folder != root:
                _add(archive, root, folder)
            for name in sorted(files + links):
                _add(archive, root, os.path.join(folder, name))
    return out.getvalue()


def _add(archive, root, path):
    info = archive.gettarinfo(path, os.path.relpath(path, root))
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    if info.islnk():
        info.type, info.linkname, info.size = tarfile.REGTYPE, "", os.path.getsize(path)
    # Whoever made the folder may have had any umask.
    if info.isdir():
        info.mode = 0o1777 if info.mode & 0o1000 else 0o755
    elif info.isreg():
        info.mode = 0o755 if info.mode & 0o100 else 0o644
    if info.isreg():
        with open(path, "rb") as file:
            archive.addfile(info, file)
    else:
        archive.addfile(info)


def _tar_of_files(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _blob(data):
    return "blobs/sha256/" + hashlib.sha256(data).hexdigest()


def _descriptor(media_type, data):
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}
