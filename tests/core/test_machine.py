"""The machine: what it has, and what a container is allowed of it."""

from __future__ import annotations

import os
import socket

from kit.core import machine


def test_a_container_has_the_memory_that_it_is_allowed(tmp_path, monkeypatch):
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / machine.GIB
    (limit := tmp_path / "memory.max").write_text("1073741824\n")
    monkeypatch.setattr(machine, "CGROUP", (str(limit), str(tmp_path / "none")))
    assert machine.memory_gibibytes() == 1.0
    limit.write_text("max\n")
    assert machine.memory_gibibytes() == whole


def test_the_disk_of_a_workspace_that_is_not_made_yet_is_known(tmp_path):
    described = machine.inspect_machine(tmp_path / "new" / "workspace")
    assert described.disk_free_gibibytes > 0 and described.cores >= 1 and described.gibibytes > 0


def test_a_cluster_is_found_where_it_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert machine.find_cluster() is None
    (tmp_path / "ray").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / machine.CLUSTER).write_text(address)
        assert machine.find_cluster() == address
    assert machine.find_cluster() is None


def test_the_folder_of_rays_sockets_has_a_short_name_on_macos(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for system, folder in (("linux", tmp_path), ("darwin", machine.Path("/tmp"))):
        monkeypatch.setattr(machine.sys, "platform", system)
        assert machine._find_ray_folder() == folder
