"""The file of a SQLite database and the disk that it is on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from onrecord.diagnosis import Finding
from onrecord.flows.maintenance.doctor.rounds import finding, size
from onrecord.ledger.maintenance.place import Place

_FULL: Final = 16 * 2**20
_NEARLY_FULL: Final = 256 * 2**20
_NETWORKED: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "ncpfs"),
        *("glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone"),
        *("fuse.mount-s3", "fuse.blobfuse2", "fuse.cephfs", "virtiofs", "vboxsf", "prl_fs"),
    }
)
_GOES_AWAY: Final = {
    "tmpfs": "the memory of this machine, and goes when it is started again",
    "ramfs": "the memory of this machine, and goes when it is started again",
    "overlay": "the container's own layer, and goes with the container",
}


def disk(place: Place | None) -> Iterable[Finding]:
    """Judge the room, and the kind of file system."""
    if place is None:
        return
    # To compact or erase writes the whole file once more beside it, and into the log.
    needed = max(_NEARLY_FULL, 2 * place.size)
    free = f"{size(place.free)} are free in {place.folder}"
    if place.free < _FULL:
        yield finding(
            "disk",
            "error",
            f"The disk is full: {free}. Appends fail, or will soon.",
            "Make room there, or move the file to another disk. Nothing that was stored is lost.",
        )
    elif place.free < needed:
        yield finding(
            "disk",
            "warning",
            f"The disk is nearly full: {free}, and the file has {size(place.size)}. erase() and "
            f"compact(again=True) write the whole file once more.",
            "Make room there before it is full.",
        )
    if place.kind in _NETWORKED:
        yield finding(
            "disk",
            "error",
            f"{place.folder} is on a network file system ({place.kind}). SQLite in WAL mode needs "
            f"locks and memory that the processes share, which these do not give: two machines "
            f"damage the file.",
            "Put the file on a disk of this machine, or use PostgreSQL.",
        )
    elif place.kind in _GOES_AWAY:
        yield finding(
            "disk",
            "note",
            f"{place.folder} ({place.kind}) is {_GOES_AWAY[place.kind]}.",
            "Put the file on a disk, or a volume, unless it may go.",
        )


def permissions(place: Place | None, file: str) -> Iterable[Finding]:
    """Judge what this user may write."""
    if place is None:
        yield finding(
            "permissions",
            "error",
            f"The folder of {file} is not there.",
            "Make it, or correct the path: three slashes begin a path in this folder, four a whole "
            "one.",
        )
        return
    if place.refused:
        yield finding(
            "permissions",
            "error",
            f"This user may not write to {', '.join(place.refused)}. SQLite keeps two more files "
            f"beside the database, also for those who only read.",
            "Give the user of this process write permission to the folder and to the files in it "
            "whose names begin as the database's.",
        )
