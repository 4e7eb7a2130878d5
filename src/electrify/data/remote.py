"""Shard folders in object storage: their files are fetched into a cache folder when they are first needed.

Any address that `fsspec` knows ("s3://bucket/shards", "gs://…", "memory://…"); the package behind a protocol (s3fs,
gcsfs) has to be installed. The cache lies in `$ELECTRIFY_CACHE`, or in `~/.cache/electrify`, under the digest of the
manifest, so a folder that was prepared anew never mixes with what was fetched before. A file appears there when its
size and digest fit.
"""

import os
import threading
from pathlib import Path, PurePosixPath
from typing import Any

import xxhash

from electrify.errors import DataError
from electrify.files import digest_file

_MAX_MANIFEST_BYTES = 256 << 20


def is_remote(path: str | Path) -> bool:
    """Tell whether a path is the address of something that `fsspec` has to fetch."""
    return "://" in str(path)


class RemoteFolder:
    """A folder that is fetched file by file.

    Args:
        url: Its address.

    Attributes:
        url: Its address.
        folder: Where its files are on this machine, once fetched; the manifest is there from the beginning.

    Raises:
        DataError: If the address cannot be read, or there is no manifest.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url.rstrip("/")
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url)
            if self._files.size(f"{self._root}/manifest.json") > _MAX_MANIFEST_BYTES:
                raise DataError(f"{self.url}/manifest.json: too large for a manifest.")
            manifest: bytes = self._files.cat_file(f"{self._root}/manifest.json")
        except FileNotFoundError:
            raise DataError(f"{self.url}: no manifest.json, so not a prepared folder, or not a finished one.") from None
        except (ImportError, OSError, ValueError) as problem:  # the package of a protocol is missing, no access, …
            raise DataError(f"{self.url}: cannot be read ({' '.join(str(problem).split())}).") from None
        self.folder = _cache() / "shards" / xxhash.xxh3_128(manifest).hexdigest()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "manifest.json").exists():
            temporary = self._temporary(self.folder / "manifest.json")
            temporary.write_bytes(manifest)
            temporary.replace(self.folder / "manifest.json")

    def fetch(self, name: str, expected: dict[str, Any]) -> None:
        """Have a file in the cache; several processes may ask for the same one.

        Args:
            name: Its path within the folder.
            expected: What the manifest says about it: "bytes" and "digest".

        Raises:
            DataError: If it cannot be fetched, is not what the manifest says, or would lie outside of the cache.
        """
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"{self.url}: the manifest names a file outside of the folder: {name!r}.")
        path = self.folder / name
        if path.is_file() and path.stat().st_size == expected["bytes"]:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary(path)
        try:
            if self._files.size(f"{self._root}/{name}") != expected["bytes"]:
                raise DataError(f"{self.url}/{name}: not of the size in the manifest: cut short or altered.")
            self._files.get_file(f"{self._root}/{name}", str(temporary))
            if digest_file(temporary) != expected["digest"]:
                raise DataError(f"{self.url}/{name}: altered, its digest is not the one in the manifest.")
            temporary.replace(path)
        except OSError as problem:
            raise DataError(f"{self.url}/{name}: cannot be fetched ({' '.join(str(problem).split())}).") from None
        finally:
            temporary.unlink(missing_ok=True)

    def _temporary(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")


def _cache() -> Path:
    return Path(os.environ.get("ELECTRIFY_CACHE") or Path.home() / ".cache" / "electrify")
